"""The operation of a branch: its rules and its exact cost.

An op is a frozen description. The layer that computes it is in the file of the same name in
`search_space/models/layers/`, so nothing here needs torch.

B batch, N tokens (class token included), C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, NamedTuple, TypeVar

from search_space.errors import ArchitectureError
from search_space.registry import Registry
from search_space.size import Size, area


class Cost(NamedTuple):
    """Trainable parameters, and multiply-accumulates (MACs) for one image."""

    params: int
    macs: int

    def plus(self, *others: Cost) -> Cost:
        """The sum of these costs."""
        params, macs = self
        for other in others:
            params += other[0]
            macs += other[1]
        return Cost(params, macs)

    def times(self, count: int) -> Cost:
        """This cost, `count` times."""
        return Cost(self.params * count, self.macs * count)


class TokenShape(NamedTuple):
    """The tokens that a stage works on: a map of `dim` channels, and optionally a class token.

    Attributes:
        grid: Side of the map if it is a square, else its height and width; see `search_space.size`.
        dim: C, the number of channels.
        class_token: Whether a class token precedes the others.
    """

    grid: Size
    dim: int
    class_token: bool = False

    @property
    def height(self) -> int:
        """Rows of the map."""
        return self.grid if isinstance(self.grid, int) else self.grid[0]

    @property
    def width(self) -> int:
        """Columns of the map."""
        return self.grid if isinstance(self.grid, int) else self.grid[1]

    @property
    def tokens(self) -> int:
        """N, including the class token."""
        return area(self.grid) + self.class_token


EXAMPLE_SHAPE = TokenShape(4, 8)
"""The tokens on which the examples of every op and mixer work: a grid of 4 x 4, with 8 channels."""


@dataclass(frozen=True)
class Op:
    """Base of all operations.

    Class attributes:
        kind: Its name in YAML.
        examples: Settings of a few members, which the contract tests run; they must work on EXAMPLE_SHAPE.
        layer: The module that registers the layer, imported when a model is built. Empty for the ops of this package,
            and if the module that registers the op also registers its layer.
        mixes_tokens: Whether information flows between tokens.
        fixed_input_size: Whether its weights or settings fit only one number of tokens.
    """

    kind: ClassVar[str]
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)
    layer: ClassVar[str] = ""
    mixes_tokens: ClassVar[bool] = True
    fixed_input_size: ClassVar[bool] = True

    def check(self, shape: TokenShape) -> None:
        """Raise ArchitectureError if this op breaks a rule at `shape`, with the rule."""

    def cost(self, shape: TokenShape) -> Cost:
        """Exact cost at `shape`, without the norm before it."""
        raise NotImplementedError

    def steps(self, shape: TokenShape) -> tuple[str, ...]:
        """What it does at `shape`, step by step, in a few words each, for diagrams."""
        raise NotImplementedError

    def at(self, shape: TokenShape, other: TokenShape, over_tokens: bool = False) -> Op:
        """The same design on another grid.

        Args:
            shape: The token shape that this op was made for.
            other: The token shape of the result; the channels are the same.
            over_tokens: Whether the norm before it normalises over the tokens, as in FF-only.
        """
        return self

    @property
    def deployed(self) -> Op:
        """The op that computes the same function at inference: itself, unless training uses more branches."""
        return self

    def settings(self) -> dict[str, Any]:
        """Its settings by name, as in YAML.

        Settings at their default are omitted, so that an op can gain a setting without changing existing hashes.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            field.name: list(values[field.name]) if isinstance(values[field.name], tuple) else values[field.name]
            for field in fields(self)
            if field.default is MISSING or values[field.name] != field.default
        }


OPS: Registry[type[Op]] = Registry("op", ArchitectureError)
_OpClass = TypeVar("_OpClass", bound=type[Op])


def register_op(kind: str) -> Callable[[_OpClass], _OpClass]:
    """Class decorator that registers an op by its name in YAML; a name that is taken is refused."""

    def register(op: _OpClass) -> _OpClass:
        OPS.add(kind, op)
        op.kind = kind
        return op

    return register


def require(holds: bool, rule: str) -> None:
    """Raise ArchitectureError(`rule`) unless the condition holds."""
    if not holds:
        raise ArchitectureError(rule)


def linear(inputs: int, outputs: int, positions: int, bias: bool = True) -> Cost:
    """Cost of a linear layer applied at `positions` positions."""
    return Cost(inputs * outputs + (outputs if bias else 0), inputs * outputs * positions)


def convolution(side: int, in_dim: int, shape: TokenShape, bn_relu: bool) -> Cost:
    """Cost of a convolution of size = stride = `side` that produces `shape`, with a bias or a BatchNorm."""
    inputs = side * side * in_dim
    params = inputs * shape.dim + (2 * shape.dim if bn_relu else shape.dim)
    return Cost(params, inputs * shape.dim * area(shape.grid))

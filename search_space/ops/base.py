"""What a branch's operation has to say of itself: its rules and its exact cost.

An op is a frozen description. How it is computed stands in `search_space/models/layers/`, in the file of the same
name, so that nothing here needs torch.

B batch, N tokens (class token included), C channels.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

from search_space.errors import ArchitectureError


class Cost(NamedTuple):
    """Trainable parameters, and multiply-accumulates (MACs) for one image."""

    params: int
    macs: int

    def plus(self, other: Cost) -> Cost:
        """The sum of both."""
        return Cost(self.params + other.params, self.macs + other.macs)

    def times(self, count: int) -> Cost:
        """The cost of `count` of them."""
        return Cost(self.params * count, self.macs * count)


class TokenShape(NamedTuple):
    """The tokens a stage works on: a `grid` x `grid` map of `dim` channels, and perhaps a class token."""

    grid: int
    dim: int
    class_token: bool = False

    @property
    def tokens(self) -> int:
        """N, the class token included."""
        return self.grid * self.grid + self.class_token


@dataclass(frozen=True)
class Op:
    """Base of all operations.

    Class attributes:
        kind: Its name in YAML.
        mixes_tokens: Whether information moves between tokens.
        fixed_input_size: Whether its weights have the number of tokens baked in.
    """

    kind: ClassVar[str]
    mixes_tokens: ClassVar[bool] = True
    fixed_input_size: ClassVar[bool] = True

    def check(self, shape: TokenShape) -> None:
        """Raise ArchitectureError with the rule that this op breaks at `shape`, if it breaks one."""

    def cost(self, shape: TokenShape) -> Cost:
        """Exact cost at `shape`, without the norm in front."""
        raise NotImplementedError

    def steps(self, shape: TokenShape) -> tuple[str, ...]:
        """What it does at `shape`, step by step, in a few words each: for diagrams."""
        raise NotImplementedError

    def at(self, shape: TokenShape, other: TokenShape, over_tokens: bool = False) -> Op:
        """The same op, as it was meant at `shape`, on another grid (`other` has the same channels).

        `over_tokens` says whether the norm in front of it runs over the tokens, as FF-only's.
        """
        return self

    @property
    def deployed(self) -> Op:
        """The op that computes the same function at inference; another one only where training has more branches."""
        return self

    def settings(self) -> dict[str, Any]:
        """Its settings by name, as they stand in YAML.

        Those at their default are left out, so that an op that gains a setting leaves the hashes as they are.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            field.name: list(values[field.name]) if isinstance(values[field.name], tuple) else values[field.name]
            for field in fields(self)
            if field.default is MISSING or values[field.name] != field.default
        }


OPS: dict[str, type[Op]] = {}
_OpClass = TypeVar("_OpClass", bound=type[Op])


def register_op(kind: str) -> Callable[[_OpClass], _OpClass]:
    """Class decorator that makes an op known by its name in YAML; refuses duplicates."""

    def register(op: _OpClass) -> _OpClass:
        if kind in OPS:
            raise ValueError(f"an op named {kind!r} is registered already")
        op.kind = kind
        OPS[kind] = op
        return op

    return register


class Mix(NamedTuple):
    """How a token mixer's choice becomes a residual branch.

    Attributes:
        op: The operation.
        norm_axis: What the norm in front of it runs over.
        eps: Epsilon of that norm (and of the other norms of the block) in the published code.
    """

    op: Op
    norm_axis: Literal["channel", "token"] = "channel"
    eps: float = 1e-6


class Mixer(NamedTuple):
    """A token mixer as search spaces name it: the settings of its own, and what they make of a shape.

    A space may leave out a setting for which `make` has a default.
    """

    settings: tuple[str, ...]
    make: Callable[..., Mix]

    @property
    def required(self) -> tuple[str, ...]:
        """The settings that a space has to give choices for."""
        parameters = inspect.signature(self.make).parameters
        return tuple(name for name in self.settings if parameters[name].default is inspect.Parameter.empty)


MIXERS: dict[str, Mixer] = {}
_Make = TypeVar("_Make", bound=Callable[..., Mix])


def register_mixer(name: str, *settings: str) -> Callable[[_Make], _Make]:
    """Decorator: `make(shape, **settings)` is the token mixer `name` of search spaces; refuses duplicates."""

    def register(make: _Make) -> _Make:
        if name in MIXERS:
            raise ValueError(f"a token mixer named {name!r} is registered already")
        MIXERS[name] = Mixer(settings, make)
        return make

    return register


def require(holds: bool, rule: str) -> None:
    """Raise ArchitectureError(`rule`) unless it holds."""
    if not holds:
        raise ArchitectureError(rule)


def linear(inputs: int, outputs: int, positions: int, bias: bool = True) -> Cost:
    """Cost of a linear layer applied at `positions` places."""
    return Cost(inputs * outputs + (outputs if bias else 0), inputs * outputs * positions)

"""The parts of an architecture: residual branches, and stages of equal blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, NamedTuple

from search_space.errors import ArchitectureError, UnknownOpError, allowed, brief
from search_space.ops import OPS, Cost, Op, TokenShape
from search_space.ops.base import require
from search_space.size import Size, divided, divides, shown
from search_space.yaml_fields import read_fields
from search_space.yaml_source import KeyPath, Source

Norm = Literal["layernorm", "affine", "batchnorm", "none"]
Downsample = Literal["none", "conv1", "conv2", "conv2_bn_relu"]
DEFAULT_EPS = 1e-6
NORMS_WITH_EPS = ("layernorm", "batchnorm")


@dataclass(frozen=True)
class Branch:
    """x + DropPath(layer_scale * op(norm(x))).

    Attributes:
        op: What the branch computes.
        norm: Normalisation before it; "affine" is a learned scale and shift (ResMLP).
        norm_axis: What a layernorm or affine normalises over: the C channels of a token, or the N tokens of a channel.
        eps: Epsilon of a layernorm or batchnorm.
        layer_scale: Initial value of a learned factor per channel, or None for no such factor.
    """

    op: Op
    norm: Norm = "layernorm"
    norm_axis: Literal["channel", "token"] = "channel"
    eps: float = DEFAULT_EPS
    layer_scale: float | None = None

    def __post_init__(self) -> None:
        require(
            self.norm != "batchnorm" or self.norm_axis == "channel",
            "batchnorm runs over channels; norm_axis: token goes with layernorm or affine",
        )
        require(
            self.layer_scale is None or 0 < self.layer_scale <= 1,
            f"layer_scale must be in (0, 1]; it is {self.layer_scale}",
        )
        require(0 < self.eps <= 0.1, f"eps must be in (0, 0.1]; it is {self.eps}")
        object.__setattr__(self, "eps", float(self.eps) if self.norm in NORMS_WITH_EPS else DEFAULT_EPS)
        if self.layer_scale is not None:
            object.__setattr__(self, "layer_scale", float(self.layer_scale))
        if self.norm == "none":
            object.__setattr__(self, "norm_axis", "channel")

    @property
    def deployed(self) -> Branch:
        """The branch that computes the same function at inference."""
        return self if self.op.deployed is self.op else replace(self, op=self.op.deployed)

    def at(self, shape: TokenShape, other: TokenShape) -> Branch:
        """The same design on another grid; `shape` is the token shape that this branch was made for."""
        return replace(self, op=self.op.at(shape, other, over_tokens=self.norm_axis == "token"))

    def cost(self, shape: TokenShape) -> Cost:
        """Exact cost of norm, op and layer scale at `shape`."""
        params, macs = self.op.cost(shape)
        if self.norm != "none":
            params += 2 * (shape.dim if self.norm_axis == "channel" else shape.tokens)
        if self.layer_scale is not None:
            params += shape.dim
        return Cost(params, macs)

    def to_dict(self) -> dict[str, Any]:
        """All active settings, as plain data."""
        data: dict[str, Any] = {"op": self.op.kind, **self.op.settings(), "norm": self.norm}
        if self.norm != "none":
            data["norm_axis"] = self.norm_axis
        if self.norm in NORMS_WITH_EPS:
            data["eps"] = self.eps
        data["layer_scale"] = self.layer_scale
        return data


@dataclass(frozen=True)
class Stage:
    """`depth` equal blocks on one grid.

    Attributes:
        depth: Number of blocks.
        dim: C, the number of channels.
        block: The residual branches of a block, in order.
        downsample: The layer at its entrance: "none"; "conv1", a 1 x 1 convolution to the new width; "conv2", a 2 x 2
            convolution of stride 2; or "conv2_bn_relu", the same without bias, with BatchNorm and ReLU.
    """

    depth: int
    dim: int
    block: tuple[Branch, ...]
    downsample: Downsample = "none"

    def __post_init__(self) -> None:
        object.__setattr__(self, "block", tuple(self.block))

    @property
    def stride(self) -> int:
        """The factor by which the stage shrinks the sides of the grid."""
        return 1 if self.downsample in ("none", "conv1") else 2

    def to_dict(self) -> dict[str, Any]:
        """All settings, as plain data; `read_stage` reads them back."""
        block = [branch.to_dict() for branch in self.block]
        return {"depth": self.depth, "dim": self.dim, "downsample": self.downsample, "block": block}


class Part(NamedTuple):
    """A part of an architecture and its cost; the costs of all parts add up to that of the architecture.

    Attributes:
        kind: "stem", "class_token", "position", "downsample", "branch", "norm" or "head".
        params: Trainable parameters, summed over all equal blocks.
        macs: MACs for one image, likewise.
        stage: Index of its stage; -1 if it is outside all stages.
        branch: Index of the branch in its block; -1 if it is not a branch.
    """

    kind: str
    params: int
    macs: int
    stage: int = -1
    branch: int = -1


def check_stages(stages: Sequence[Stage], grid: Size, class_token: bool) -> None:
    """Raise ArchitectureError unless these stages fit each other and the grid of tokens before the first of them."""
    dim = stages[0].dim
    for index, stage in enumerate(stages):
        at = f"stage {index + 1}: "
        require(stage.depth >= 1, f"{at}depth must be at least 1; it is {stage.depth}")
        require(stage.dim >= 1, f"{at}dim must be at least 1; it is {stage.dim}")
        require(len(stage.block) >= 1, f"{at}a block needs at least one branch")
        require(
            not class_token or stage.downsample == "none",
            f"{at}a class token cannot pass through downsampling",
        )
        require(
            stage.dim == dim or stage.downsample != "none",
            f"{at}dim changes from {dim} to {stage.dim}, which needs a downsample other than none",
        )
        require(divides(stage.stride, grid), f"{at}a grid of {shown(grid)} tokens cannot be halved")
        grid = divided(grid, stage.stride)
        dim = stage.dim
        shape = TokenShape(grid, dim, class_token)
        for number, branch in enumerate(stage.block):
            try:
                branch.op.check(shape)
            except ArchitectureError as error:
                raise ArchitectureError(f"{at}branch {number + 1}: {error}") from None


def read_stage(source: Source, path: KeyPath) -> Stage:
    """The stage that the mapping at `path` describes.

    Raises:
        NasError: (of the error class of the source) If a key or value is not allowed.
    """
    source.keys(path, [field.name for field in fields(Stage)])
    values = read_fields(source, path, Stage, skip=("block",))
    source.typed((*path, "block"), list, "a list of branches")
    count = len(source.at((*path, "block")))
    return Stage(block=tuple(_read_branch(source, (*path, "block", index)) for index in range(count)), **values)


def _read_branch(source: Source, path: KeyPath) -> Branch:
    mapping = source.typed(path, dict, "a mapping with an op")
    kind = mapping.get("op")
    if not isinstance(kind, str) or kind not in OPS:
        place = (*path, "op") if "op" in mapping else path
        raise UnknownOpError(str(source.fail(place, f"is {brief(kind)}, not an op; {allowed(kind, OPS)}")))
    op, own = OPS[kind], [field.name for field in fields(Branch)]
    source.keys(path, [*own, *(field.name for field in fields(op))])
    values, settings = read_fields(source, path, Branch, skip=("op",)), read_fields(source, path, op)
    try:
        return Branch(op=op(**settings), **values)
    except ArchitectureError as error:
        raise source.fail(path, str(error)) from None

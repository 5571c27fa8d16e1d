"""`Architecture`: one point of the block space, as an immutable value.

A block is an ordered list of residual branches, x <- x + DropPath(gamma * op(norm(x))), not a pair of a token mixer
and a channel mixer: gMLP has one branch, FF-only puts the channel branch first.

An Architecture is canonical from the moment it exists: settings that change nothing (an epsilon where there is no norm)
are reset, and neighbouring stages that are one stage in fact are merged. So two descriptions of the same network are
equal, and have the same `hash`. One that cannot exist raises ArchitectureError instead of existing.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import yaml

from search_space.errors import ArchitectureError, allowed, brief
from search_space.ops import OPS, Cost, Op, TokenShape
from search_space.ops.base import require
from search_space.yaml_source import KeyPath, Source, read_yaml, read_yaml_file

Norm = Literal["layernorm", "affine", "batchnorm", "none"]
Downsample = Literal["none", "conv1", "conv2", "conv2_bn_relu"]
DEFAULT_EPS = 1e-6
LARGEST, DEEPEST = 10**7, 10**3
"""The largest whole number that a file may have, and the most blocks of an architecture."""
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_NORMS_WITH_EPS = ("layernorm", "batchnorm")


@dataclass(frozen=True)
class Branch:
    """x + DropPath(layer_scale * op(norm(x))).

    Attributes:
        op: What the branch computes.
        norm: Normalisation in front of it; "affine" is a learned scale and shift (ResMLP).
        norm_axis: What a layernorm or affine runs over: the C channels of a token, or the N tokens of a channel.
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
            f"layer_scale has to lie in (0, 1]; it is {self.layer_scale}",
        )
        require(0 < self.eps <= 0.1, f"eps has to lie in (0, 0.1]; it is {self.eps}")
        object.__setattr__(self, "eps", float(self.eps) if self.norm in _NORMS_WITH_EPS else DEFAULT_EPS)
        if self.layer_scale is not None:
            object.__setattr__(self, "layer_scale", float(self.layer_scale))
        if self.norm == "none":
            object.__setattr__(self, "norm_axis", "channel")

    @property
    def deployed(self) -> Branch:
        """The branch that computes the same function at inference."""
        return self if self.op.deployed is self.op else replace(self, op=self.op.deployed)

    def at(self, shape: TokenShape, other: TokenShape) -> Branch:
        """The same branch, as it was meant at `shape`, on another grid."""
        return replace(self, op=self.op.at(shape, other, over_tokens=self.norm_axis == "token"))

    def cost(self, shape: TokenShape) -> Cost:
        """Exact cost of norm, op and layer scale at `shape`."""
        params, macs = self.op.cost(shape)
        if self.norm != "none":
            params += 2 * (shape.dim if self.norm_axis == "channel" else shape.tokens)
        if self.layer_scale is not None:
            params += shape.dim
        return Cost(params, macs)


@dataclass(frozen=True)
class Stage:
    """`depth` equal blocks on one grid.

    Attributes:
        depth: Number of blocks.
        dim: C, the number of channels.
        block: The residual branches of a block, in order.
        downsample: How the stage is entered: "none"; "conv1", a 1 x 1 convolution to the new width; "conv2", a
            2 x 2 convolution of stride 2; or "conv2_bn_relu", the same without bias, with BatchNorm and ReLU.
    """

    depth: int
    dim: int
    block: tuple[Branch, ...]
    downsample: Downsample = "none"

    def __post_init__(self) -> None:
        object.__setattr__(self, "block", tuple(self.block))

    @property
    def stride(self) -> int:
        """The factor by which the stage shrinks the side of the grid."""
        return 1 if self.downsample in ("none", "conv1") else 2


@dataclass(frozen=True)
class Architecture:
    """A complete network, from patches to class scores.

    Attributes:
        image_size: Height and width of the (square) input, in pixels.
        patch: Side of a patch; divides `image_size`.
        stages: The body.
        in_channels: Channels of the image.
        classes: Number of classes.
        stem: How patches become tokens: "conv", a convolution of size and stride `patch`; or "conv_bn_relu", the same
            without bias, with BatchNorm and ReLU.
        class_token: Whether a learned token is put in front of the patch tokens.
        position: "learned" adds a learned embedding to every token.
        position_grid: Side of the grid of learned embeddings where it is not the grid of tokens: they are resized
            bilinearly in every forward pass.
        pooling: What the head sees: the mean of all tokens ("gap") or the class token.
        final_norm: Normalisation between the body and the head.
        final_eps: Its epsilon.
        norm_after_pooling: Whether it comes after the pooling rather than before.
        drop_path: Rate of stochastic depth (https://arxiv.org/abs/1603.09382).
        drop_path_schedule: "linear" grows from 0 to `drop_path` over the blocks; "constant" does not.

    Raises:
        ArchitectureError: If it breaks a rule of the block space.
    """

    image_size: int
    patch: int
    stages: tuple[Stage, ...]
    in_channels: int = 3
    classes: int = 1000
    stem: Literal["conv", "conv_bn_relu"] = "conv"
    class_token: bool = False
    position: Literal["none", "learned"] = "none"
    position_grid: int | None = None
    pooling: Literal["gap", "class_token"] = "gap"
    final_norm: Norm = "layernorm"
    final_eps: float = DEFAULT_EPS
    norm_after_pooling: bool = False
    drop_path: float = 0.0
    drop_path_schedule: Literal["linear", "constant"] = "linear"

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(self.stages))
        self._check()
        for name, value in self._canonical():
            object.__setattr__(self, name, value)

    # What it is made of.

    @property
    def grid(self) -> int:
        """Side of the token grid that the first stage works on."""
        return self.image_size // self.patch

    @property
    def depth(self) -> int:
        """Number of blocks in all stages."""
        return sum(stage.depth for stage in self.stages)

    def shapes(self) -> Iterator[tuple[Stage, TokenShape]]:
        """Each stage with the tokens it works on."""
        grid = self.grid
        for stage in self.stages:
            grid //= stage.stride
            yield stage, TokenShape(grid, stage.dim, self.class_token)

    @property
    def fixed_input_size(self) -> bool:
        """Whether weights that mix tokens have the number of tokens baked in: all mixers but attention.

        Learned positions have it too, but they can be interpolated.
        """
        return any(
            branch.op.fixed_input_size or (branch.norm != "none" and branch.norm_axis == "token")
            for stage in self.stages
            for branch in stage.block
        )

    @property
    def any_image_size(self) -> bool:
        """Whether a model takes images of other sizes as it is."""
        return not self.fixed_input_size and self.position == "none"

    @property
    def image_sizes(self) -> str:
        """Which image sizes its weights are good for, in words."""
        if self.fixed_input_size:
            return "this one only: the weights that mix tokens fit this grid"
        return (
            "any that the patch divides" if self.any_image_size else "others too, once the positions are interpolated"
        )

    # What it costs.

    @cached_property
    def cost(self) -> Cost:
        """Trainable parameters and MACs for one image, in closed form; norms and activations count no MACs."""
        first, last = self.stages[0].dim, self.stages[-1].dim
        pixels = self.patch * self.patch * self.in_channels
        params = pixels * first + (first if self.stem == "conv" else 2 * first) + (first if self.class_token else 0)
        macs = self.grid * self.grid * pixels * first
        if self.position == "learned":
            params += ((self.position_grid or self.grid) ** 2 + self.class_token) * first
        dim = first
        for stage, shape in self.shapes():
            if stage.downsample != "none":
                taps = stage.stride**2
                params += taps * dim * stage.dim + (2 if stage.downsample == "conv2_bn_relu" else 1) * stage.dim
                macs += taps * dim * stage.dim * shape.grid * shape.grid
            for branch in stage.block:
                cost = branch.cost(shape)
                params += stage.depth * cost.params
                macs += stage.depth * cost.macs
            dim = stage.dim
        if self.final_norm != "none":
            params += 2 * last
        return Cost(params + last * self.classes + self.classes, macs + last * self.classes)

    @property
    def params(self) -> int:
        """Number of trainable parameters."""
        return self.cost.params

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one forward pass for one image."""
        return self.cost.macs

    # What it becomes.

    @cached_property
    def deployed(self) -> Architecture:
        """The architecture that is shipped: the same function with the training branches of RepMLP merged."""
        if all(branch.op.deployed is branch.op for stage in self.stages for branch in stage.block):
            return self
        return self._with_branches(lambda branch, shape: branch.deployed)

    def at(self, image_size: int) -> Architecture:
        """The same design for images of another size, with what depends on the number of tokens following it.

        Raises:
            ArchitectureError: If there is none, such as when the patch does not divide the image.
        """
        side = image_size // self.patch

        def moved(branch: Branch, shape: TokenShape) -> Branch:
            return branch.at(shape, shape._replace(grid=shape.grid * side // self.grid))

        return self._with_branches(moved, image_size=image_size)

    def _with_branches(self, change: Callable[[Branch, TokenShape], Branch], **changes: Any) -> Architecture:
        """A copy with every branch replaced by `change(branch, shape)`, and some fields changed."""
        stages = tuple(
            replace(stage, block=tuple(change(branch, shape) for branch in stage.block))
            for stage, shape in self.shapes()
        )
        return replace(self, stages=stages, **changes)

    # How it is written down.

    @cached_property
    def hash(self) -> str:
        """16 hexadecimal digits that are equal for equal architectures, on every machine and Python version."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Everything that is active, as plain data."""
        data = {field.name: getattr(self, field.name) for field in fields(self)}
        data["stages"] = [
            {
                "depth": stage.depth,
                "dim": stage.dim,
                "downsample": stage.downsample,
                "block": [_branch_to_dict(branch) for branch in stage.block],
            }
            for stage in self.stages
        ]
        if self.final_norm not in _NORMS_WITH_EPS:
            del data["final_eps"]
        if self.drop_path == 0:
            del data["drop_path_schedule"]
        if self.position_grid is None:
            del data["position_grid"]
        if self.stem == "conv":
            del data["stem"]
        return data

    def to_yaml(self) -> str:
        """The architecture as YAML; `from_yaml` gives an equal one back."""
        return yaml.dump(self.to_dict(), Dumper=_DUMPER, sort_keys=False, default_flow_style=None, width=110)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Architecture:
        """The architecture that `to_dict` describes.

        Raises:
            ArchitectureError: If a key or value is not allowed, naming it.
        """
        try:
            text = json.dumps(data)
        except (TypeError, ValueError) as error:
            raise ArchitectureError(f"an architecture is made of plain data: {error}") from None
        return cls.from_yaml(text, name="architecture")

    @classmethod
    def from_yaml(cls, text: str, name: str = "<text>") -> Architecture:
        """Read an architecture from YAML text.

        Raises:
            ArchitectureError: If it is not one, with line and key.
        """
        return _read_architecture(read_yaml(text, name, ArchitectureError))

    @classmethod
    def from_yaml_file(cls, path: str | Path) -> Architecture:
        """Read an architecture from a YAML file.

        Raises:
            ArchitectureError: If it cannot be read or is not one, with line and key.
        """
        return _read_architecture(read_yaml_file(Path(path), ArchitectureError))

    # Rules and canonical form.

    def _check(self) -> None:
        for name in ("image_size", "patch", "in_channels", "classes"):
            require(getattr(self, name) >= 1, f"{name} has to be at least 1; it is {getattr(self, name)}")
        require(
            self.image_size % self.patch == 0,
            f"the patch has to divide the image; image_size is {self.image_size}, patch is {self.patch}",
        )
        require(
            self.pooling != "class_token" or self.class_token,
            "pooling: class_token needs class_token: true",
        )
        require(
            self.position_grid is None or self.position_grid >= 1,
            f"position_grid has to be at least 1; it is {self.position_grid}",
        )
        require(0 <= self.drop_path < 1, f"drop_path has to lie in [0, 1); it is {self.drop_path}")
        require(0 < self.final_eps <= 0.1, f"final_eps has to lie in (0, 0.1]; it is {self.final_eps}")
        require(len(self.stages) >= 1, "an architecture needs at least one stage")
        require(self.depth <= DEEPEST, f"there may be {DEEPEST:,} blocks at most; there are {self.depth:,}")
        require(self.stages[0].downsample == "none", "the first stage cannot downsample; use a larger patch")
        grid, dim = self.grid, self.stages[0].dim
        for index, stage in enumerate(self.stages):
            at = f"stage {index + 1}: "
            require(stage.depth >= 1, f"{at}depth has to be at least 1; it is {stage.depth}")
            require(stage.dim >= 1, f"{at}dim has to be at least 1; it is {stage.dim}")
            require(len(stage.block) >= 1, f"{at}a block needs at least one branch")
            require(
                not self.class_token or stage.downsample == "none",
                f"{at}a class token cannot pass through downsampling",
            )
            require(
                stage.dim == dim or stage.downsample != "none",
                f"{at}dim changes from {dim} to {stage.dim}, which needs a downsample other than none",
            )
            require(grid % stage.stride == 0, f"{at}a grid of {grid} x {grid} tokens cannot be halved")
            grid //= stage.stride
            dim = stage.dim
            shape = TokenShape(grid, dim, self.class_token)
            for number, branch in enumerate(stage.block):
                try:
                    branch.op.check(shape)
                except ArchitectureError as error:
                    raise ArchitectureError(f"{at}branch {number + 1}: {error}") from None

    def _canonical(self) -> Iterator[tuple[str, Any]]:
        """Canonical values of the fields that may not have been given so."""
        useless = self.drop_path_schedule == "linear" and self.depth == 1  # the first block is never dropped
        yield "drop_path", 0.0 if useless else float(self.drop_path) + 0.0  # -0.0 is 0.0
        yield "final_eps", float(self.final_eps) if self.final_norm in _NORMS_WITH_EPS else DEFAULT_EPS
        one_token = self.pooling == "class_token" and self.final_norm == "layernorm"
        commutes = one_token or self.final_norm in ("affine", "none")
        if self.norm_after_pooling and commutes:
            yield "norm_after_pooling", False
        if self.drop_path == 0 and self.drop_path_schedule != "linear":
            yield "drop_path_schedule", "linear"
        if self.position == "none" or self.position_grid == self.grid:
            yield "position_grid", None
        merged: list[Stage] = []
        for stage in self.stages:
            if merged and stage.downsample == "none" and stage.block == merged[-1].block:
                merged[-1] = replace(merged[-1], depth=merged[-1].depth + stage.depth)
            else:
                merged.append(stage)
        if len(merged) < len(self.stages):
            yield "stages", tuple(merged)


def _branch_to_dict(branch: Branch) -> dict[str, Any]:
    data: dict[str, Any] = {"op": branch.op.kind, **branch.op.settings(), "norm": branch.norm}
    if branch.norm != "none":
        data["norm_axis"] = branch.norm_axis
    if branch.norm in _NORMS_WITH_EPS:
        data["eps"] = branch.eps
    data["layer_scale"] = branch.layer_scale
    return data


# Reading: every value is checked against the type of its dataclass field, so a new field or op needs nothing here.


def _read_architecture(source: Source) -> Architecture:
    source.keys((), [field.name for field in fields(Architecture)])
    values = _read_fields(source, (), Architecture, skip=("stages",))
    source.typed(("stages",), list, "a list of stages")
    stages = tuple(_read_stage(source, ("stages", index)) for index in range(len(source.at(("stages",)))))
    try:
        return Architecture(stages=stages, **values)
    except ArchitectureError as error:
        raise ArchitectureError(f"{source.name}: {error}") from None


def _read_stage(source: Source, path: KeyPath) -> Stage:
    source.keys(path, [field.name for field in fields(Stage)])
    values = _read_fields(source, path, Stage, skip=("block",))
    source.typed((*path, "block"), list, "a list of branches")
    count = len(source.at((*path, "block")))
    return Stage(block=tuple(_read_branch(source, (*path, "block", index)) for index in range(count)), **values)


def _read_branch(source: Source, path: KeyPath) -> Branch:
    mapping = source.typed(path, dict, "a mapping with an op")
    kind = mapping.get("op")
    if not isinstance(kind, str) or kind not in OPS:
        raise source.fail((*path, "op") if "op" in mapping else path, f"is {brief(kind)}, no op; {allowed(kind, OPS)}")
    op, own = OPS[kind], [field.name for field in fields(Branch)]
    source.keys(path, [*own, *(field.name for field in fields(op))])
    values, settings = _read_fields(source, path, Branch, skip=("op",)), _read_fields(source, path, op)
    try:
        return Branch(op=op(**settings), **values)
    except ArchitectureError as error:
        raise source.fail(path, str(error)) from None


def _read_fields(source: Source, path: KeyPath, cls: type, skip: tuple[str, ...] = ()) -> dict[str, Any]:
    mapping, hints = source.at(path), _hints(cls)
    values: dict[str, Any] = {}
    for field in fields(cls):
        if field.name in mapping and field.name not in skip:
            values[field.name] = _read_value(source, (*path, field.name), hints[field.name])
        elif field.default is MISSING and field.name not in mapping:
            raise source.fail(path, f"lacks the key {field.name!r}")
    return values


_hints = cache(get_type_hints)


def _read_value(source: Source, path: KeyPath, hint: Any) -> Any:
    options = get_args(hint)
    if options and all(isinstance(option, str) for option in options):  # Literal
        value = source.at(path)
        if value not in options:
            raise source.fail(path, f"is {brief(value)}; {allowed(value, options)}")
        return value
    if type(None) in options:
        if source.at(path) is None:
            return None
        (hint,) = (option for option in options if option is not type(None))
    if hint == tuple[int, ...]:
        count = len(source.typed(path, list, "a list of whole numbers"))
        return tuple(_read_whole(source, (*path, index)) for index in range(count))
    if hint is bool:
        return source.typed(path, bool, "true or false")
    if hint is int:
        return _read_whole(source, path)
    value = source.typed(path, (int, float), "a number")
    if isinstance(value, int):
        return float(_read_whole(source, path))
    if not math.isfinite(value):
        raise source.fail(path, f"is {value}; allowed: a finite number")
    return value


def _read_whole(source: Source, path: KeyPath) -> int:
    value: int = source.typed(path, int, "a whole number")
    if abs(value) > LARGEST:
        raise source.fail(path, f"is {brief(value)}; allowed: whole numbers up to {LARGEST:,}")
    return value

"""`Architecture`: one point of the block space, as an immutable value.

A block is an ordered list of residual branches, x <- x + DropPath(gamma * op(norm(x))), not a pair of a token mixer
and a channel mixer: gMLP has one branch, FF-only puts the channel branch first.

An Architecture is always canonical: settings without effect (such as an epsilon where there is no norm) are reset, and
neighbouring stages with the same block are merged. Two descriptions of the same network are therefore equal and have
the same `hash`. A description that breaks a rule raises ArchitectureError.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml

from search_space.block import (
    DEFAULT_EPS,
    NORMS_WITH_EPS,
    Branch,
    Downsample,
    Norm,
    Part,
    Stage,
    check_stages,
    read_stage,
)
from search_space.errors import ArchitectureError
from search_space.ops import Cost, TokenShape
from search_space.ops.base import convolution, linear, require
from search_space.size import Size, area, canonical, divided, divides, plain, sides
from search_space.yaml_fields import LARGEST, read_fields
from search_space.yaml_source import Source, read_yaml, read_yaml_file

DEEPEST = 10**3
"""Maximum number of blocks in an architecture (arbitrary)."""
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@dataclass(frozen=True)
class Architecture:
    """A complete network, from patches to class scores.

    Attributes:
        image_size: Side of the input in pixels if it is a square, else its height and width.
        patch: Side of a patch; divides height and width.
        stages: The body.
        in_channels: Channels of the image.
        classes: Number of classes.
        stem: How patches become tokens: "conv", a convolution of size and stride `patch`; or "conv_bn_relu", the same
            without bias, with BatchNorm and ReLU.
        class_token: Whether a learned token is put in front of the patch tokens.
        position: "learned" adds a learned embedding to every token.
        position_grid: Side (or height and width) of the grid of learned embeddings if it differs from the grid of
            tokens. They are then resized bilinearly in every forward pass.
        pooling: What the head sees: the mean of all tokens ("gap") or the class token.
        final_norm: Normalisation between the body and the head.
        final_eps: Its epsilon.
        norm_after_pooling: Whether that norm follows the pooling instead of preceding it.
        drop_path: Rate of stochastic depth (https://arxiv.org/abs/1603.09382).
        drop_path_schedule: "linear" grows from 0 to `drop_path` over the blocks; "constant" does not.

    Raises:
        ArchitectureError: If it breaks a rule of the block space.
    """

    image_size: Size
    patch: int
    stages: tuple[Stage, ...]
    in_channels: int = 3
    classes: int = 1000
    stem: Literal["conv", "conv_bn_relu"] = "conv"
    class_token: bool = False
    position: Literal["none", "learned"] = "none"
    position_grid: Size | None = None
    pooling: Literal["gap", "class_token"] = "gap"
    final_norm: Norm = "layernorm"
    final_eps: float = DEFAULT_EPS
    norm_after_pooling: bool = False
    drop_path: float = 0.0
    drop_path_schedule: Literal["linear", "constant"] = "linear"

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(self.stages))
        object.__setattr__(self, "image_size", canonical(self.image_size))
        if self.position_grid is not None:
            object.__setattr__(self, "position_grid", canonical(self.position_grid))
        self._check()
        for name, value in self._canonical():
            object.__setattr__(self, name, value)

    # Structure.

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return (self.in_channels, *sides(self.image_size))

    @property
    def grid(self) -> Size:
        """Side (or height and width) of the token grid that the first stage works on."""
        return divided(self.image_size, self.patch)

    @property
    def depth(self) -> int:
        """Number of blocks in all stages."""
        return sum(stage.depth for stage in self.stages)

    def shapes(self) -> Iterator[tuple[Stage, TokenShape]]:
        """Each stage with the tokens it works on."""
        grid = self.grid
        for stage in self.stages:
            grid = divided(grid, stage.stride)
            yield stage, TokenShape(grid, stage.dim, self.class_token)

    @property
    def fixed_input_size(self) -> bool:
        """Whether the weights that mix tokens fit only one number of tokens, as in all mixers except attention.

        Learned positions also fit only one number of tokens, but they can be interpolated.
        """
        return any(
            branch.op.fixed_input_size or (branch.norm != "none" and branch.norm_axis == "token")
            for stage in self.stages
            for branch in stage.block
        )

    @property
    def any_image_size(self) -> bool:
        """Whether a model accepts images of other sizes unchanged."""
        return not self.fixed_input_size and self.position == "none"

    @property
    def image_sizes(self) -> str:
        """Which image sizes its weights fit, in words."""
        if self.fixed_input_size:
            return "this one only: the weights that mix tokens fit this grid"
        return (
            "any that the patch divides" if self.any_image_size else "others too, once the positions are interpolated"
        )

    # Cost.

    def parts(self) -> tuple[Part, ...]:
        """Its parts in forward order; norms and activations count no MACs."""
        return tuple(map(Part._make, self._parts()))

    @cached_property
    def cost(self) -> Cost:
        """Trainable parameters and MACs for one image, in closed form: the sum over `parts`."""
        params = macs = 0
        for _, more_params, more_macs, _, _ in self._parts():
            params += more_params
            macs += more_macs
        return Cost(params, macs)

    def _parts(self) -> Iterator[tuple[str, int, int, int, int]]:
        """The fields of `parts`, as plain tuples for speed."""
        first, last = self.stages[0].dim, self.stages[-1].dim
        shape = TokenShape(self.grid, first, self.class_token)
        yield "stem", *convolution(self.patch, self.in_channels, shape, self.stem == "conv_bn_relu"), -1, -1
        if self.class_token:
            yield "class_token", first, 0, -1, -1
        if self.position == "learned":
            yield "position", (area(self.position_grid or self.grid) + self.class_token) * first, 0, -1, -1
        dim = first
        for index, (stage, shape) in enumerate(self.shapes()):
            if stage.downsample != "none":
                bn_relu = stage.downsample == "conv2_bn_relu"
                yield "downsample", *convolution(stage.stride, dim, shape, bn_relu), index, -1
            for number, branch in enumerate(stage.block):
                params, macs = branch.cost(shape)
                yield "branch", stage.depth * params, stage.depth * macs, index, number
            dim = stage.dim
        if self.final_norm != "none":
            yield "norm", 2 * last, 0, -1, -1
        yield "head", *linear(last, self.classes, 1), -1, -1

    @property
    def params(self) -> int:
        """Number of trainable parameters."""
        return self.cost.params

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one forward pass for one image."""
        return self.cost.macs

    # Other forms.

    @cached_property
    def deployed(self) -> Architecture:
        """The architecture that is deployed: the same function, with the training branches of RepMLP merged."""
        if all(branch.op.deployed is branch.op for stage in self.stages for branch in stage.block):
            return self
        return self._with_branches(lambda branch, shape: branch.deployed)

    def at(self, image_size: Size) -> Architecture:
        """The same design for images of another size; whatever depends on the number of tokens is adapted.

        Raises:
            ArchitectureError: If the design is impossible at that size, for example because the patch does not divide
                it.
        """
        before, after = sides(self.grid), sides(divided(image_size, self.patch))

        def moved(branch: Branch, shape: TokenShape) -> Branch:
            old = (shape.height, shape.width)
            height, width = (side * new // first for side, new, first in zip(old, after, before, strict=True))
            return branch.at(shape, shape._replace(grid=canonical((height, width))))

        return self._with_branches(moved, image_size=image_size)

    def _with_branches(self, change: Callable[[Branch, TokenShape], Branch], **changes: Any) -> Architecture:
        """A copy with every branch replaced by `change(branch, shape)` and some fields changed."""
        stages = tuple(
            replace(stage, block=tuple(change(branch, shape) for branch in stage.block))
            for stage, shape in self.shapes()
        )
        return replace(self, stages=stages, **changes)

    # As data.

    @cached_property
    def hash(self) -> str:
        """16 hexadecimal digits that are equal for equal architectures, on every machine and Python version."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """All active settings, as plain data."""
        data = {field.name: getattr(self, field.name) for field in fields(self)}
        data["image_size"] = plain(self.image_size)
        data["stages"] = [stage.to_dict() for stage in self.stages]
        if self.final_norm not in NORMS_WITH_EPS:
            del data["final_eps"]
        if self.drop_path == 0:
            del data["drop_path_schedule"]
        if self.position_grid is None:
            del data["position_grid"]
        else:
            data["position_grid"] = plain(self.position_grid)
        if self.stem == "conv":
            del data["stem"]
        return data

    def to_yaml(self) -> str:
        """The architecture as YAML; `from_yaml` reads it back."""
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
            ArchitectureError: If the text does not describe one, with line and key.
        """
        return _read_architecture(read_yaml(text, name, ArchitectureError))

    @classmethod
    def from_yaml_file(cls, path: str | Path) -> Architecture:
        """Read an architecture from a YAML file.

        Raises:
            ArchitectureError: If the file cannot be read or does not describe one, with line and key.
        """
        return _read_architecture(read_yaml_file(Path(path), ArchitectureError))

    # Rules and canonical form.

    def _check(self) -> None:
        for name in ("image_size", "patch", "in_channels", "classes"):
            value = getattr(self, name)
            require(min(sides(value)) >= 1, f"{name} must be at least 1; it is {plain(value)}")
        require(
            divides(self.patch, self.image_size),
            f"the patch must divide the image; image_size is {plain(self.image_size)}, patch is {self.patch}",
        )
        require(
            self.pooling != "class_token" or self.class_token,
            "pooling: class_token needs class_token: true",
        )
        require(
            self.position_grid is None or min(sides(self.position_grid)) >= 1,
            f"position_grid must be at least 1; it is {self.position_grid}",
        )
        require(0 <= self.drop_path < 1, f"drop_path must be in [0, 1); it is {self.drop_path}")
        require(0 < self.final_eps <= 0.1, f"final_eps must be in (0, 0.1]; it is {self.final_eps}")
        require(len(self.stages) >= 1, "an architecture needs at least one stage")
        require(self.depth <= DEEPEST, f"an architecture may have at most {DEEPEST:,} blocks; it has {self.depth:,}")
        require(self.stages[0].downsample == "none", "the first stage cannot downsample; use a larger patch")
        check_stages(self.stages, self.grid, self.class_token)

    def _canonical(self) -> Iterator[tuple[str, Any]]:
        """Canonical values for the fields that may differ from them."""
        useless = self.drop_path_schedule == "linear" and self.depth == 1  # the first block is never dropped
        yield "drop_path", 0.0 if useless else float(self.drop_path) + 0.0  # -0.0 is 0.0
        yield "final_eps", float(self.final_eps) if self.final_norm in NORMS_WITH_EPS else DEFAULT_EPS
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


def _read_architecture(source: Source) -> Architecture:
    source.keys((), [field.name for field in fields(Architecture)])
    values = read_fields(source, (), Architecture, skip=("stages",))
    source.typed(("stages",), list, "a list of stages")
    stages = tuple(read_stage(source, ("stages", index)) for index in range(len(source.at(("stages",)))))
    try:
        return Architecture(stages=stages, **values)
    except ArchitectureError as error:
        raise ArchitectureError(f"{source.name}: {error}") from None


__all__ = ["DEEPEST", "LARGEST", "Architecture", "Branch", "Downsample", "Norm", "Part", "Stage"]

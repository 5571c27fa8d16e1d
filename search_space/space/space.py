"""`SearchSpace`: a set of architectures for one image size, described by named axes.

A point of the space is written in two ways: as an `Architecture`, and as its parameters, a mapping from axis to choice
(``patch``, ``dim``, ``stage1.mixer``, ``stage2.depth``, ...) that holds the active axes only. `decode` and `encode`
lead from one to the other and are inverse to each other: every architecture of the space has exactly one description.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from search_space.architecture import Architecture, Downsample, Stage
from search_space.errors import NasError, SpaceError, allowed
from search_space.ops import Cost, TokenShape
from search_space.space import counting, moves
from search_space.space.bounds import check_bounds
from search_space.space.definition import SpaceDefinition, Value, list_definitions, load_definition, parse_definition
from search_space.space.options import Context, Option, Options, can_downsample, downsampled
from search_space.units import format_count

Params = dict[str, Value]


@dataclass(frozen=True)
class Axis:
    """A named choice.

    Attributes:
        name: Such as ``dim`` or ``stage1.mixer``.
        values: What can be chosen.
    """

    name: str
    values: tuple[Value, ...]

    @property
    def step(self) -> int | None:
        """The distance of neighbouring values if they are evenly spaced whole numbers, else None."""
        if len(self.values) < 2 or not all(type(value) is int for value in self.values):
            return None
        numbers = [value for value in self.values if isinstance(value, int)]
        steps = {high - low for low, high in itertools.pairwise(numbers)}
        return steps.pop() if len(steps) == 1 and min(steps) > 0 else None


class Limits(NamedTuple):
    """Upper limits on exact cost, as deployed; None for none."""

    max_params: int | None = None
    max_macs: int | None = None

    def allow(self, cost: Cost) -> bool:
        """Whether an architecture of this cost is within them."""
        return (self.max_params is None or cost.params <= self.max_params) and (
            self.max_macs is None or cost.macs <= self.max_macs
        )

    def __str__(self) -> str:
        parts = [
            f"{format_count(limit)} {what}"
            for limit, what in ((self.max_params, "parameters"), (self.max_macs, "MACs"))
            if limit is not None
        ]
        return " and ".join(parts) or "no limit"


class SearchSpace:
    """A search space bound to images of one size.

    Attributes:
        definition: The file it comes from.
        image_size: Side of the images in pixels.
        in_channels: Channels of the images.
        classes: Number of classes.
        limits: The default limits, by the scale of the data.
        net_axes: Choices of the whole network.
        stage_axes: Choices of a stage, without the prefix ``stage1.`` and so on.
    """

    def __init__(
        self, definition: SpaceDefinition, *, image_size: int, in_channels: int = 3, classes: int = 1000
    ) -> None:
        if image_size < 1 or in_channels < 1 or classes < 2:
            raise SpaceError(
                f"a space needs an image_size and in_channels of at least 1 and classes of at least 2; "
                f"they are {image_size}, {in_channels} and {classes}"
            )
        self.definition = definition
        self.image_size, self.in_channels, self.classes = image_size, in_channels, classes
        scale = definition.scale(image_size)
        self.limits = Limits(max_params=scale.max_params)
        fewest, most = scale.tokens
        patches = [patch for patch in definition.net["patch"] if isinstance(patch, int) and image_size % patch == 0]
        patches = [patch for patch in patches if fewest <= (image_size // patch) ** 2 <= most]
        if not patches:
            raise SpaceError(
                f"no patch of the space {definition.name!r} divides an image of {image_size} x {image_size} pixels "
                f"into {fewest} to {most} tokens; patches: {', '.join(map(str, definition.net['patch']))}"
            )
        net = {"patch": tuple(patches), "dim": scale.dim, **{k: v for k, v in definition.net.items() if k != "patch"}}
        self.net_axes = tuple(Axis(name, values) for name, values in net.items())
        self.stage_axes = tuple(Axis(name, values) for name, values in _stage_axes(definition, scale.depth).items())
        self.max_stages = max(value for value in definition.net["stages"] if isinstance(value, int))
        self._options: dict[Context, Options] = {}
        check_bounds(self)

    @property
    def name(self) -> str:
        """Name of the definition."""
        return self.definition.name

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """All axes, those of later stages included; which of them are active depends on the others."""
        stages = range(1, self.max_stages + 1)
        return self.net_axes + tuple(
            Axis(f"stage{number}.{axis.name}", axis.values)
            for number in stages
            for axis in self.stage_axes
            if not (number == 1 and axis.name == "downsample")
        )

    def axis(self, name: str) -> Axis:
        """The axis of this name."""
        return self._axes_by_name[name]

    @cached_property
    def _axes_by_name(self) -> dict[str, Axis]:
        return {axis.name: axis for axis in self.axes}

    def options(self, context: Context) -> Options:
        """The blocks that a stage in this context may consist of."""
        if context not in self._options:
            self._options[context] = Options(self.definition, context)
        return self._options[context]

    # Between architectures and parameters.

    def decode(self, params: Mapping[str, Any]) -> Architecture:
        """The architecture that parameters describe; inactive ones are ignored.

        Raises:
            SpaceError: If an active parameter is missing, not among the choices, or not possible beside the others.
        """
        params = {**params, **{axis.name: self._choice(params, axis.name) for axis in self.net_axes}}
        stages: list[Stage] = []
        shape = self.first_shape(params)
        previous: Option | None = None
        for number in range(1, params["stages"] + 1):
            downsample: Downsample = self._choice(params, f"stage{number}.downsample") if number > 1 else "none"
            if downsample == "conv2":
                downsample = "conv2_bn_relu" if params.get("conv_bn") else "conv2"
                if not can_downsample(shape):
                    raise SpaceError(f"stage{number}.downsample is conv2, but {_why_no_downsampling(shape)}")
                shape = downsampled(shape)
            options = self.options(self.context(params, shape))
            settings = {key: self._choice(params, f"stage{number}.{key}") for key in self._active(params, number)}
            option = options.by_settings.get(tuple(settings.values()))
            if option is None:
                raise SpaceError(f"stage {number} cannot be {_show(settings)} on {_show_shape(shape)}")
            if previous is not None and downsample == "none" and option.block == previous.block:
                raise SpaceError(f"stage {number} repeats stage {number - 1}; one deeper stage says the same")
            depth = self._choice(params, f"stage{number}.depth")
            stages.append(Stage(depth, shape.dim, option.block, downsample))
            previous = option
        if params["drop_path"] and sum(stage.depth for stage in stages) == 1:
            raise SpaceError(
                f"drop_path is {params['drop_path']}, but the first block is never dropped and has no other"
            )
        return self.architecture(params, stages)

    def architecture(self, params: Mapping[str, Any], stages: list[Stage]) -> Architecture:
        """The architecture with these choices of the whole network and these stages, in the space or not."""
        class_token = params["pooling"] == "class_token"
        return Architecture(
            image_size=self.image_size,
            patch=params["patch"],
            stages=tuple(stages),
            in_channels=self.in_channels,
            classes=self.classes,
            stem="conv_bn_relu" if params.get("conv_bn") else "conv",
            class_token=class_token,
            position=params["position"],
            pooling=params["pooling"],
            final_norm=params["norm"],
            final_eps=stages[-1].block[-1].eps,
            drop_path=params["drop_path"],
        )

    def encode(self, architecture: Architecture) -> Params:
        """The parameters of an architecture of this space; inverse of `decode`.

        Raises:
            SpaceError: If it does not lie in the space, saying why.
        """
        first = architecture.stages[0]
        layer_scale = first.block[0].layer_scale
        params: Params = {
            "patch": architecture.patch,
            "dim": first.dim,
            "pooling": architecture.pooling,
            "position": architecture.position,
            "norm": architecture.final_norm,
            "layer_scale": layer_scale,
            "drop_path": architecture.drop_path,
            "conv_bn": architecture.stem == "conv_bn_relu",
            "stages": len(architecture.stages),
        }
        params = {name: value for name, value in params.items() if name in self._axes_by_name}
        for name in params:
            self._choice(params, name)
        for number, (stage, shape) in enumerate(architecture.shapes(), start=1):
            option = self.options(self.context(params, shape)).by_block.get(stage.block)
            if option is None:
                raise SpaceError(f"the block of stage {number} is not one of the space {self.name!r}")
            here: Params = {"downsample": "conv2" if stage.stride == 2 else stage.downsample} if number > 1 else {}
            here |= {"depth": stage.depth, **option.settings}
            params |= {f"stage{number}.{key}": value for key, value in here.items()}
        if self.decode(params) != architecture:
            raise SpaceError(f"it differs from every architecture of the space {self.name!r} in a fixed setting")
        return params

    def __contains__(self, architecture: object) -> bool:
        try:
            return isinstance(architecture, Architecture) and bool(self.encode(architecture))
        except NasError:
            return False

    def complete(self, params: Mapping[str, Any], rng: random.Random, limits: Limits | None = None) -> Architecture:
        """The feasible architecture nearest to `params`, a choice on every axis: see `moves.repair`."""
        return moves.repair(self, params, rng, limits or Limits())

    # Sampling and moving about.

    @property
    def size(self) -> int:
        """Exact number of distinct architectures, without regard to limits."""
        return counting.count(self)

    def cost_range(self) -> tuple[Cost, Cost]:
        """The least and the most that parameters and MACs can come to, exactly (each for itself)."""
        return counting.cost_range(self)

    def sample(self, rng: random.Random, limits: Limits | None = None) -> Architecture:
        """Draw uniformly among the architectures within `limits` (none by default).

        Raises:
            SpaceError: If no architecture is within them.
        """
        return counting.sample(self, rng, limits or Limits())

    def draw(self, rng: random.Random, limits: Limits | None = None) -> Architecture:
        """Draw uniformly on every axis and make that feasible; small architectures come up more often than by `sample`.

        Raises:
            SpaceError: If no architecture is within the limits.
        """
        return self.complete({axis.name: rng.choice(axis.values) for axis in self.axes}, rng, limits)

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """All architectures of the space that differ from this one by one step on one axis, without repeats.

        Raises:
            SpaceError: If it does not lie in the space.
        """
        return moves.neighbours(self, architecture)

    def mutate(self, architecture: Architecture, rng: random.Random, limits: Limits | None = None) -> Architecture:
        """A random neighbour within `limits`: first an axis is drawn, then a step on it.

        Raises:
            SpaceError: If it does not lie in the space.
        """
        return moves.mutate(self, architecture, rng, limits or Limits())

    def check_limits(self, limits: Limits) -> None:
        """Raise SpaceError, naming the smallest there is, if a limit is below everything in the space."""
        least = counting.least_cost(self)
        for limit, smallest, what in (
            (limits.max_params, least.params, "parameters"),
            (limits.max_macs, least.macs, "MACs"),
        ):
            if limit is not None and limit < smallest:
                raise SpaceError(
                    f"no architecture of the space {self.name!r} has at most {limit:,} {what} for images of "
                    f"{self.image_size} x {self.image_size}; the smallest has {smallest:,}"
                )

    # Identity.

    def to_dict(self) -> dict[str, Any]:
        """Everything that decides which architectures are in the space, as plain data."""
        return {
            "name": self.name,
            "image_size": self.image_size,
            "in_channels": self.in_channels,
            "classes": self.classes,
            "axes": {axis.name: list(axis.values) for axis in (*self.net_axes, *self.stage_axes)},
            "mixers": {
                mixer: {key: list(values) for key, values in own.items()}
                for mixer, own in self.definition.mixers.items()
            },
        }

    @property
    def hash(self) -> str:
        """16 hexadecimal digits that are equal for spaces with the same architectures and axes."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    # Used by the modules that count and move.

    def first_shape(self, params: Mapping[str, Any]) -> TokenShape:
        """The tokens of the first stage."""
        return TokenShape(self.image_size // params["patch"], params["dim"], params["pooling"] == "class_token")

    def context(self, params: Mapping[str, Any], shape: TokenShape) -> Context:
        """The context of a stage on `shape`."""
        return Context(shape, params["norm"], params["layer_scale"], params.get("conv_bn", False))

    def _active(self, params: Mapping[str, Any], number: int) -> list[str]:
        mixer = self._choice(params, f"stage{number}.mixer")
        ratio = self._choice(params, f"stage{number}.channel_ratio")
        order = ["order"] if mixer != "none" and ratio else []
        return ["mixer", *self.definition.mixers[mixer], "channel_ratio", *order]

    def _choice(self, params: Mapping[str, Any], name: str) -> Any:
        values = self.axis(name).values
        if name not in params:
            raise SpaceError(f"the parameter {name} is missing; {allowed('', values)}")
        if params[name] not in values:
            raise SpaceError(f"{name} is {params[name]!r}; {allowed(params[name], values)}")
        return values[values.index(params[name])]  # 64.0 and 64 are one choice


def mixers_of(params: Mapping[str, Any]) -> str:
    """The token mixers of the stages of an architecture, from its parameters: ``mlp``, ``mlp+attention``, ..."""
    return "+".join(str(params[f"stage{number}.mixer"]) for number in range(1, params["stages"] + 1))


def load_space(name_or_path: str | Path, *, image_size: int, in_channels: int = 3, classes: int = 1000) -> SearchSpace:
    """Load a search space by name or path, bound to a size of images.

    Raises:
        SpaceError: If there is no such space, its file is wrong, or it has nothing for such images.
    """
    return SearchSpace(load_definition(name_or_path), image_size=image_size, in_channels=in_channels, classes=classes)


def parse_space(text: str, *, image_size: int, in_channels: int = 3, classes: int = 1000) -> SearchSpace:
    """The same from YAML text."""
    return SearchSpace(parse_definition(text), image_size=image_size, in_channels=in_channels, classes=classes)


def list_spaces() -> list[str]:
    """Names of the spaces that ship with the package."""
    return list_definitions()


def _stage_axes(definition: SpaceDefinition, depth: tuple[int, ...]) -> dict[str, tuple[Value, ...]]:
    axes: dict[str, tuple[Value, ...]] = {
        "downsample": definition.stage["downsample"],
        "depth": depth,
        "mixer": tuple(definition.mixers),
    }
    for own in definition.mixers.values():
        axes |= own
    return {**axes, "channel_ratio": definition.stage["channel_ratio"], "order": definition.stage["order"]}


def _why_no_downsampling(shape: TokenShape) -> str:
    if shape.class_token:
        return "a class token cannot pass through downsampling"
    return f"a grid of {shape.grid} x {shape.grid} tokens cannot be halved"


def _show(settings: Mapping[str, Value]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in settings.items())


def _show_shape(shape: TokenShape) -> str:
    token = " and a class token" if shape.class_token else ""
    return f"a grid of {shape.grid} x {shape.grid}{token} with {shape.dim} channels"


__all__ = ["Axis", "Limits", "SearchSpace", "list_spaces", "load_space", "parse_space"]

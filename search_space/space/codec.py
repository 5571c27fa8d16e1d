"""From parameters to architectures and back.

A point of a space is written in two ways: as an `Architecture`, and as its parameters, a mapping from axis to choice
(``patch``, ``dim``, ``stage1.mixer``, ``stage2.depth``, ...) that holds only the active axes. `decode` and `encode` are
inverses: every architecture of the space has exactly one description.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from search_space.architecture import Architecture, Downsample, Stage
from search_space.errors import SpaceError, allowed
from search_space.ops import TokenShape
from search_space.size import Size, area, canonical, divided, divides, plain, shown, sides
from search_space.space.axes import Axis, Limits, Params, Value
from search_space.space.definition import SpaceDefinition
from search_space.space.options import Context, Option, Options, can_downsample, downsampled


class Codec:
    """The axes of a space, bound to one image size, and what their choices mean.

    Attributes:
        definition: The space's file.
        image_size: Side of the images in pixels if they are squares, else their height and width.
        in_channels: Channels of the images.
        classes: Number of classes.
        limits: The default limits for images of this size.
        net_axes: Choices for the whole network.
        stage_axes: Choices for a stage, without the prefix (``stage1.`` and so on).
        max_stages: The largest number of stages.
    """

    def __init__(
        self, definition: SpaceDefinition, *, image_size: Size, in_channels: int = 3, classes: int = 1000
    ) -> None:
        image_size = canonical(image_size)
        if min(sides(image_size)) < 1 or in_channels < 1 or classes < 2:
            raise SpaceError(
                f"a space needs an image_size and in_channels of at least 1 and classes of at least 2; "
                f"they are {plain(image_size)}, {in_channels} and {classes}"
            )
        self.definition = definition
        self.image_size, self.in_channels, self.classes = image_size, in_channels, classes
        scale = definition.scale(image_size)
        self.limits = Limits(max_params=scale.max_params)
        fewest, most = scale.tokens
        patches = [patch for patch in definition.net["patch"] if isinstance(patch, int) and divides(patch, image_size)]
        patches = [patch for patch in patches if fewest <= area(divided(image_size, patch)) <= most]
        if not patches:
            raise SpaceError(
                f"no patch of the space {definition.name!r} divides an image of {shown(image_size)} pixels "
                f"into {fewest} to {most} tokens; patches: {', '.join(map(str, definition.net['patch']))}"
            )
        net = {"patch": tuple(patches), "dim": scale.dim, **{k: v for k, v in definition.net.items() if k != "patch"}}
        self.net_axes = tuple(Axis(name, values) for name, values in net.items())
        self.stage_axes = tuple(Axis(name, values) for name, values in _stage_axes(definition, scale.depth).items())
        self.max_stages = max(value for value in definition.net["stages"] if isinstance(value, int))
        self._options: dict[Context, Options] = {}

    @property
    def name(self) -> str:
        """Name of the definition."""
        return self.definition.name

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """All axes, including those of later stages; which of them are active depends on the others."""
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

    # Blocks of a stage.

    def first_shape(self, params: Mapping[str, Any]) -> TokenShape:
        """The token shape of the first stage."""
        grid = divided(self.image_size, params["patch"])
        return TokenShape(grid, params["dim"], params["pooling"] == "class_token")

    def context(self, params: Mapping[str, Any], shape: TokenShape) -> Context:
        """The context of a stage at `shape`."""
        return Context(shape, params["norm"], params["layer_scale"], params.get("conv_bn", False))

    def options(self, context: Context) -> Options:
        """The blocks that a stage in this context may consist of."""
        if context not in self._options:
            self._options[context] = Options(self.definition, context)
        return self._options[context]

    # Decoding and encoding.

    def decode(self, params: Mapping[str, Any]) -> Architecture:
        """The architecture that parameters describe; inactive parameters are ignored.

        Raises:
            SpaceError: If an active parameter is missing, not among the choices, or incompatible with the others.
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
        """The architecture with these choices for the whole network and these stages, whether or not it is in the
        space.
        """
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
            SpaceError: If the architecture is not in the space, with the reason.
        """
        first = architecture.stages[0]
        params: Params = {
            "patch": architecture.patch,
            "dim": first.dim,
            "pooling": architecture.pooling,
            "position": architecture.position,
            "norm": architecture.final_norm,
            "layer_scale": first.block[0].layer_scale,
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


def _stage_axes(definition: SpaceDefinition, depth: tuple[int, ...]) -> dict[str, tuple[Value, ...]]:
    axes: dict[str, tuple[Value, ...]] = {
        "downsample": definition.stage["downsample"],
        "depth": depth,
        "mixer": tuple(definition.mixers),
    }
    for own in definition.mixers.values():
        for setting, values in own.items():  # mixers may share a setting's name; each keeps its own choices
            axes[setting] = tuple(dict.fromkeys((*axes.get(setting, ()), *values)))
    return {**axes, "channel_ratio": definition.stage["channel_ratio"], "order": definition.stage["order"]}


def _why_no_downsampling(shape: TokenShape) -> str:
    if shape.class_token:
        return "a class token cannot pass through downsampling"
    return f"a grid of {shown(shape.grid)} tokens cannot be halved"


def _show(settings: Mapping[str, Value]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in settings.items())


def _show_shape(shape: TokenShape) -> str:
    token = " and a class token" if shape.class_token else ""
    return f"a grid of {shown(shape.grid)}{token} with {shape.dim} channels"

"""The YAML file of a search space, read and checked, before it is bound to an image size."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from search_space.architecture import Norm
from search_space.errors import SpaceError, allowed, brief
from search_space.ops import MIXERS
from search_space.ops.mixer import Value, is_whole
from search_space.paths import user_path
from search_space.size import Size, area, shown
from search_space.units import parse_count
from search_space.yaml_source import KeyPath, Source, read_yaml, read_yaml_file

MOST_CHOICES = 1000
"""Maximum number of choices on an axis (arbitrary)."""
MOST_SCALES = 100
"""Maximum number of scales of a space (arbitrary)."""
MOST_STAGES = 8
"""Maximum number of stages of a network (arbitrary; no published model of the family has more than 4)."""
SPACES = Path(__file__).parents[1] / "spaces"


@dataclass(frozen=True)
class Scale:
    """What a space allows for images up to a size.

    Attributes:
        image_size: Side of the largest images that it applies to; others count as the square of the same area.
        tokens: Minimum and maximum number of patch tokens.
        dim: Widths of the first stage.
        depth: Numbers of blocks of a stage.
        max_params: The default limit on parameters.
    """

    image_size: int
    tokens: tuple[int, int]
    dim: tuple[int, ...]
    depth: tuple[int, ...]
    max_params: int


@dataclass(frozen=True)
class SpaceDefinition:
    """A checked search-space file.

    Attributes:
        name: Its name.
        summary: One sentence that describes it.
        net: Choices for the whole network by axis.
        stage: Choices for every stage by axis, except the mixers.
        mixers: Token mixers, each with the choices for its own settings.
        scales: What depends on the image size, in ascending order of size.
    """

    name: str
    summary: str
    net: dict[str, tuple[Value, ...]]
    stage: dict[str, tuple[Value, ...]]
    mixers: dict[str, dict[str, tuple[Value, ...]]]
    scales: tuple[Scale, ...]

    def scale(self, image_size: Size) -> Scale:
        """What applies to images of this size.

        Raises:
            SpaceError: If the images are larger than the space allows.
        """
        for scale in self.scales:
            if area(image_size) <= area(scale.image_size):
                return scale
        raise SpaceError(
            f"images of {shown(image_size)} are larger than the space {self.name!r} allows; "
            f"allowed: up to {self.scales[-1].image_size}"
        )


def list_definitions() -> list[str]:
    """Names of the built-in spaces."""
    return sorted(path.stem for path in SPACES.glob("*.yaml"))


def load_definition(name_or_path: str | Path) -> SpaceDefinition:
    """Load a built-in space by name or any space by path.

    Raises:
        SpaceError: If there is no such space, or its file is invalid (names file, line and key).
    """
    text = str(name_or_path)
    path = SPACES / f"{text}.yaml"
    if text not in list_definitions():
        path = user_path(text, "the search space", SpaceError)
        if path.suffix not in (".yaml", ".yml") and not os.path.exists(path):  # noqa: PTH110 (never raises)
            raise SpaceError(
                f"there is no search space {brief(text, 200)}; {allowed(text, [*list_definitions(), 'FILE.yaml'])}"
            )
    return _read(read_yaml_file(path, SpaceError))


def parse_definition(text: str, name: str = "<text>") -> SpaceDefinition:
    """Read a space from YAML text.

    Raises:
        SpaceError: If it is invalid; names line and key.
    """
    return _read(read_yaml(text, name, SpaceError))


def _fraction(value: Value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1  # False for NaN, too


_NET: dict[str, tuple[Callable[[Value], bool], str]] = {
    "patch": (lambda value: is_whole(value, 1), "sides of a patch in pixels"),
    "pooling": (lambda value: value in ("gap", "class_token"), "gap, class_token"),
    "position": (lambda value: value in ("none", "learned"), "none, learned"),
    "norm": (lambda value: value in get_args(Norm), ", ".join(get_args(Norm))),
    "layer_scale": (lambda value: value == "none" or (_fraction(value) and value != 0), "none, numbers in (0, 1)"),
    "drop_path": (_fraction, "rates in [0, 1)"),
    "conv_bn": (lambda value: isinstance(value, bool), "true, false"),
    "stages": (
        lambda value: is_whole(value, 1) and isinstance(value, int) and value <= MOST_STAGES,
        f"whole numbers from 1 to {MOST_STAGES}",
    ),
}
_STAGE: dict[str, tuple[Callable[[Value], bool], str]] = {
    "downsample": (lambda value: value in ("none", "conv2"), "none, conv2"),
    "channel_ratio": (lambda value: is_whole(value, 0), "whole numbers from 0"),
    "order": (lambda value: value in ("token_first", "channel_first"), "token_first, channel_first"),
}

OPTIONAL = {"conv_bn": False}
"""Axes of the network that a space may omit, and the value that then applies."""


def _read(source: Source) -> SpaceDefinition:
    source.keys((), ("name", "summary", "net", "stage", "scales"), ("name", "net", "stage", "scales"))
    name = source.typed(("name",), str, "a word")
    if not name.replace("_", "").replace("-", "").isalnum():
        raise source.fail(("name",), f"is {brief(name)}; allowed: letters, digits, '_' and '-'")
    summary = source.typed(("summary",), str, "a sentence") if "summary" in source.data else ""
    given = source.keys(("net",), _NET, [axis for axis in _NET if axis not in OPTIONAL])
    net = {axis: _choices(source, ("net", axis), *rule) for axis, rule in _NET.items() if axis in given}
    net["layer_scale"] = tuple(None if value == "none" else value for value in net["layer_scale"])
    net["drop_path"] = tuple(float(value) for value in net["drop_path"] if isinstance(value, (int, float)))
    source.keys(("stage",), (*_STAGE, "mixer"), (*_STAGE, "mixer"))
    stage = {axis: _choices(source, ("stage", axis), *rule) for axis, rule in _STAGE.items()}
    source.typed(("scales",), list, "a list of scales, in ascending order of image_size")
    scales = tuple(_read_scale(source, ("scales", index)) for index in range(len(source.at(("scales",)))))
    sizes = [scale.image_size for scale in scales]
    if not 1 <= len(sizes) <= MOST_SCALES or sizes != sorted(set(sizes)):
        raise source.fail(
            ("scales",), f"must name at least one scale, and {MOST_SCALES} at most, in ascending order of image_size"
        )
    return SpaceDefinition(name, summary.strip(), net, stage, _read_mixers(source), scales)


def _read_mixers(source: Source) -> dict[str, dict[str, tuple[Value, ...]]]:
    path: KeyPath = ("stage", "mixer")
    names = [*MIXERS, "none"]
    mixers: dict[str, dict[str, tuple[Value, ...]]] = {}
    for name in source.keys(path, names):
        settings = MIXERS[name].settings() if name != "none" else {}
        own = source.keys((*path, name), settings, [key for key, setting in settings.items() if setting.required])
        mixers[name] = {
            key: _choices(source, (*path, name, key), setting.valid, setting.describe)
            for key, setting in settings.items()
            if key in own
        }
    if not mixers:
        raise source.fail(path, f"must name at least one token mixer; {allowed('', names)}")
    return mixers


def _read_scale(source: Source, path: KeyPath) -> Scale:
    keys = ("image_size", "tokens", "dim", "depth", "max_params")
    source.keys(path, keys, keys)
    whole = "whole numbers from 1"
    tokens = source.at((*path, "tokens"))
    pair = isinstance(tokens, list) and len(tokens) == 2 and all(is_whole(value, 1) for value in tokens)
    if not pair or tokens[0] > tokens[1]:
        raise source.fail((*path, "tokens"), f"is {brief(tokens)}; allowed: the fewest and the most, such as [16, 256]")
    size = source.at((*path, "image_size"))
    if not is_whole(size, 1):
        raise source.fail((*path, "image_size"), f"is {brief(size)}; allowed: a whole number of pixels from 1")
    dim = _choices(source, (*path, "dim"), lambda value: is_whole(value, 1), whole)
    depth = _choices(source, (*path, "depth"), lambda value: is_whole(value, 1), whole)
    limit = source.convert((*path, "max_params"), lambda value: parse_count(value, "the limit"))
    return Scale(size, (tokens[0], tokens[1]), _ints(dim), _ints(depth), limit)


def _choices(source: Source, path: KeyPath, valid: Callable[[Value], bool], describe: str) -> tuple[Value, ...]:
    """A list of choices, or the range ``{from: A, to: B, step: S}`` (step 1 by default)."""
    value = source.at(path)
    if isinstance(value, dict):
        source.keys(path, ("from", "to", "step"), ("from", "to"))
        low, high = (source.typed((*path, key), int, "a whole number") for key in ("from", "to"))
        step = source.typed((*path, "step"), int, "a whole number") if "step" in value else 1
        if not (step >= 1 and low <= high and (high - low) // step < MOST_CHOICES):
            raise source.fail(
                path, f"is {brief(value)}; allowed: from <= to, a step of 1 or more, {MOST_CHOICES:,} values at most"
            )
        value = list(range(low, high + 1, step))
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_CHOICES:
        raise source.fail(path, f"is {brief(value)}; allowed: a list of {describe}, {MOST_CHOICES:,} at most")
    for index, item in enumerate(value):
        if isinstance(item, (dict, list)) or not valid(item):
            raise source.fail(
                (*path, index) if isinstance(source.at(path), list) else path, f"is {brief(item)}; allowed: {describe}"
            )
        if item in value[:index]:
            raise source.fail((*path, index), f"names {brief(item)} twice")
    return tuple(value)


def _ints(values: Iterable[Value]) -> tuple[int, ...]:
    return tuple(sorted(value for value in values if isinstance(value, int)))

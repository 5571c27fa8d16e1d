"""`SearchSpace`: a set of architectures for one image size, described by named axes."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from search_space.architecture import Architecture
from search_space.errors import NasError
from search_space.ops import Cost
from search_space.size import Size, plain
from search_space.space.axes import Limits
from search_space.space.bounds import check_bounds
from search_space.space.codec import Codec
from search_space.space.counting import Counter
from search_space.space.definition import SpaceDefinition, list_definitions, load_definition, parse_definition
from search_space.space.extremes import Extremes
from search_space.space.moves import Moves

MAX_DRAWS = 5000
"""Draws before `SearchSpace.sample` gives up on meeting tight limits by chance (arbitrary)."""


class SearchSpace(Codec):
    """A search space bound to one image size.

    Axes, decoding and encoding come from `Codec`. Counts are computed when they are first needed.

    Raises:
        SpaceError: If the space has nothing for such images, or is too large to work with.
    """

    def __init__(
        self, definition: SpaceDefinition, *, image_size: Size, in_channels: int = 3, classes: int = 1000
    ) -> None:
        super().__init__(definition, image_size=image_size, in_channels=in_channels, classes=classes)
        check_bounds(self)

    @cached_property
    def _counter(self) -> Counter:
        return Counter(self)

    @cached_property
    def _extremes(self) -> Extremes:
        return Extremes(self, self._counter)

    @cached_property
    def _moves(self) -> Moves:
        return Moves(self, self._counter, self._extremes)

    def __contains__(self, architecture: object) -> bool:
        try:
            return isinstance(architecture, Architecture) and bool(self.encode(architecture))
        except NasError:
            return False

    # Size and cost.

    @property
    def size(self) -> int:
        """Exact number of distinct architectures, regardless of limits."""
        return self._counter.size

    def cost_range(self) -> tuple[Cost, Cost]:
        """The exact minimum and maximum of parameters and MACs over all architectures, each on its own."""
        return self._extremes.least, self._extremes.most

    def check_limits(self, limits: Limits) -> None:
        """Refuse limits that leave no architecture.

        Raises:
            SpaceError: If a limit is below everything in the space; names the smallest possible cost.
        """
        self._extremes.check(limits)

    def smallest(self, limits: Limits | None = None) -> Architecture:
        """A smallest architecture within `limits`.

        Raises:
            SpaceError: If no architecture is within them.
        """
        return self._extremes.smallest(limits or Limits())

    # Sampling and moving.

    def sample(self, rng: random.Random, limits: Limits | None = None) -> Architecture:
        """Draw uniformly from the architectures within `limits` (none by default).

        Rejection sampling keeps the draw uniform. If limits are so tight that MAX_DRAWS in a row miss them, the last
        draw is shrunk step by step instead, which is not uniform but terminates.

        Raises:
            SpaceError: If no architecture is within the limits.
        """
        limits = limits or Limits()
        params: dict[str, Any] = {}
        for _ in range(MAX_DRAWS):
            params = self._counter.draw(rng)
            architecture = self.decode(params)
            if limits.allow(architecture.deployed.cost):
                return architecture
        self.check_limits(limits)
        return self.complete(params, rng, limits)

    def draw(self, rng: random.Random, limits: Limits | None = None) -> Architecture:
        """Draw uniformly on every axis and repair the result; small architectures are more frequent than in `sample`.

        Raises:
            SpaceError: If no architecture is within the limits.
        """
        return self.complete({axis.name: rng.choice(axis.values) for axis in self.axes}, rng, limits)

    def complete(self, params: Mapping[str, Any], rng: random.Random, limits: Limits | None = None) -> Architecture:
        """The feasible architecture nearest to `params`, a choice on every axis: see `Moves.repair`."""
        return self._moves.repair(params, rng, limits or Limits())

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """All architectures of the space that differ from this one by one step on one axis, without repeats.

        Raises:
            SpaceError: If the architecture is not in the space.
        """
        return self._moves.neighbours(architecture)

    def mutate(self, architecture: Architecture, rng: random.Random, limits: Limits | None = None) -> Architecture:
        """A random neighbour within `limits`: first an axis is drawn, then a step on it.

        Raises:
            SpaceError: If the architecture is not in the space.
        """
        return self._moves.mutate(architecture, rng, limits or Limits())

    # Identity.

    def to_dict(self) -> dict[str, Any]:
        """Everything that determines which architectures are in the space, as plain data."""
        return {
            "name": self.name,
            "image_size": plain(self.image_size),
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


def mixers_of(params: Mapping[str, Any]) -> str:
    """The token mixers of the stages of an architecture, from its parameters: ``mlp``, ``mlp+attention``, ..."""
    return "+".join(str(params[f"stage{number}.mixer"]) for number in range(1, params["stages"] + 1))


def load_space(name_or_path: str | Path, *, image_size: Size, in_channels: int = 3, classes: int = 1000) -> SearchSpace:
    """Load a search space by name or path, bound to one image size.

    Raises:
        SpaceError: If there is no such space, its file is invalid, or it has nothing for such images.
    """
    return SearchSpace(load_definition(name_or_path), image_size=image_size, in_channels=in_channels, classes=classes)


def parse_space(text: str, *, image_size: Size, in_channels: int = 3, classes: int = 1000) -> SearchSpace:
    """Like `load_space`, from YAML text."""
    return SearchSpace(parse_definition(text), image_size=image_size, in_channels=in_channels, classes=classes)


def list_spaces() -> list[str]:
    """Names of the built-in spaces."""
    return list_definitions()

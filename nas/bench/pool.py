"""The architectures of a table's band as a search space, so that a real search can run over them.

A sampler proposes points of the whole space. A table has only about a hundred of them, so a proposal is replaced by the
nearest of those that has not been tried yet. Samplers still find good regions, but lose precision, all of them equally.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.bench.table import Entry
from search_space.architecture import Architecture
from search_space.errors import SpaceError
from search_space.space import Axis, Limits, Params, SearchSpace
from search_space.zoo.scaled import family_points

NEIGHBOURS = 10
"""Number of nearest architectures that count as neighbours. Arbitrary."""
WEIGHTS = {"mixer": 3.0, "patch": 2.0, "stages": 2.0, "dim": 2.0, "depth": 2.0, "channel_ratio": 2.0, "downsample": 2.0}
"""Weights of differences on the most important axes; 1 on all others. Arbitrary."""
HALF_THERE = 0.5
"""Distance on an axis that only one of two architectures has; the largest between two choices is 1. Arbitrary."""


class Members:
    """The architectures of a pool with their properties, shared by the pools of many runs.

    Args:
        space: The whole space.
        entries: The architectures.

    Attributes:
        space: The whole space.
        architectures: The architectures.
        choices: Their choices in the space.
        index: Their indices by hash.
        by_params: Their indices by choices.
        metric: The distance between them.
        codes: Their codes for that metric, of shape [members, axes].

    Raises:
        SpaceError: If there are none.
    """

    def __init__(self, space: SearchSpace, entries: Sequence[Entry]) -> None:
        if not entries:
            raise SpaceError("a pool needs at least one architecture")
        self.space = space
        self.architectures = tuple(entry.architecture for entry in entries)
        self.choices = tuple(dict(entry.choices) for entry in entries)
        self.index = {architecture.hash: index for index, architecture in enumerate(self.architectures)}
        self.by_params = {_key(choices): index for index, choices in enumerate(self.choices)}
        self.metric = _Metric(space.axes)
        self.codes = np.array([self.metric.code(choices) for choices in self.choices])
        self._nearest: dict[int, NDArray[np.intp]] = {}
        self._within: dict[Limits, NDArray[np.bool_]] = {}

    @cached_property
    def families(self) -> dict[str, Architecture]:
        """The hand-designed families among them, by name."""
        return family_points(Pool(self), Limits())

    def nearest(self, index: int) -> NDArray[np.intp]:
        """Indices of the NEIGHBOURS nearest members, the nearest first."""
        if index not in self._nearest:
            order = np.argsort(self.metric.distances(self.codes[index], self.codes), kind="stable")
            self._nearest[index] = order[order != index][:NEIGHBOURS]
        return self._nearest[index]

    def within(self, limits: Limits) -> NDArray[np.bool_]:
        """Which members are within limits, of shape [members]."""
        if limits not in self._within:
            self._within[limits] = np.array([limits.allow(member.deployed.cost) for member in self.architectures])
        return self._within[limits]


class Pool(SearchSpace):
    """A search space that contains only some architectures of another one.

    Its axes are those of the whole space. Only architectures that were not taken yet are drawn or proposed, until none
    are left; then duplicates are, as in every exhausted space.

    Args:
        known: The architectures.
    """

    def __init__(self, known: Members) -> None:
        space = known.space
        super().__init__(
            space.definition, image_size=space.image_size, in_channels=space.in_channels, classes=space.classes
        )
        self._known = known
        self._free = np.ones(len(known.architectures), dtype=bool)

    @property
    def members(self) -> tuple[Architecture, ...]:
        """The architectures, taken or not."""
        return self._known.architectures

    @property
    def families(self) -> dict[str, Architecture]:
        """The hand-designed families among the members, by name."""
        return self._known.families

    def take(self, architecture: Architecture) -> None:
        """Do not propose an architecture again, as it is being evaluated."""
        self._free[self.index(architecture)] = False

    def index(self, architecture: Architecture) -> int:
        """The index of an architecture among the members.

        Raises:
            SpaceError: If it is not one of them.
        """
        try:
            return self._known.index[architecture.hash]
        except KeyError:
            raise SpaceError(f"{architecture.hash} is not in the pool") from None

    # A search space.

    @property
    def size(self) -> int:
        return len(self.members)

    def decode(self, params: Mapping[str, Any]) -> Architecture:
        """The member with these choices; inactive ones are ignored.

        Raises:
            SpaceError: If there is none.
        """
        index = self._known.by_params.get(_key({name: params[name] for name in self._active_names(params)}))
        if index is None:
            raise SpaceError("the pool holds no such architecture")
        return self.members[index]

    def encode(self, architecture: Architecture) -> Params:
        return dict(self._known.choices[self.index(architecture)])

    def complete(self, params: Mapping[str, Any], rng: random.Random, limits: Limits | None = None) -> Architecture:
        """The nearest member that is left, a random one in a tie; `params` has a choice on every axis."""
        candidates = self._candidates(limits)
        wish = self._known.metric.code({name: params[name] for name in self._active_names(params)})
        distances = self._known.metric.distances(wish, self._known.codes[candidates])
        nearest = candidates[distances <= distances.min() + 1e-9]
        place: int = rng.choice(nearest.tolist())
        return self.members[place]

    def draw(self, rng: random.Random, limits: Limits | None = None) -> Architecture:
        """Draw a member that is left; all are equally likely, as the table's architectures are already a sample."""
        return self.sample(rng, limits)

    def sample(self, rng: random.Random, limits: Limits | None = None) -> Architecture:
        """Draw uniformly among the members that are left."""
        place: int = rng.choice(self._candidates(limits).tolist())
        return self.members[place]

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """The NEIGHBOURS nearest members, the nearest first, taken or not."""
        return (self.members[other] for other in self._known.nearest(self.index(architecture)))

    def mutate(self, architecture: Architecture, rng: random.Random, limits: Limits | None = None) -> Architecture:
        """A random neighbour within the limits; the architecture itself if it has none."""
        allowed = self._known.within(limits or Limits())
        found = [other for other in self.neighbours(architecture) if allowed[self._known.index[other.hash]]]
        return rng.choice(found) if found else architecture

    def check_limits(self, limits: Limits) -> None:
        """Raise SpaceError if no member is within the limits."""
        self._candidates(limits)

    # Inside.

    def _candidates(self, limits: Limits | None) -> NDArray[np.intp]:
        """Indices of the members that can be proposed: those left or, when there are none, all."""
        allowed = self._known.within(limits or Limits())
        left = np.flatnonzero(self._free & allowed)
        found = left if left.size else np.flatnonzero(allowed)
        if not found.size:
            raise SpaceError(f"no architecture of the pool is within {limits}")
        return found

    def _active_names(self, params: Mapping[str, Any]) -> Iterator[str]:
        for axis in self.net_axes:
            yield axis.name
        for number in range(1, params["stages"] + 1):
            stage = f"stage{number}."
            if number > 1:
                yield stage + "downsample"
            yield stage + "depth"
            mixer, ratio = params[stage + "mixer"], params[stage + "channel_ratio"]
            yield stage + "mixer"
            yield stage + "channel_ratio"
            for name in self.definition.mixers[mixer]:
                yield stage + name
            if mixer != "none" and ratio:
                yield stage + "order"


class _Metric:
    """The distance of architectures, summed over axes; a code is the place on every axis, NaN if inactive."""

    def __init__(self, axes: Sequence[Axis]) -> None:
        self._places = [(axis.name, {value: place for place, value in enumerate(axis.values)}) for axis in axes]
        self._weights = np.array([WEIGHTS.get(axis.name.rpartition(".")[2], 1.0) for axis in axes])
        ordered = [len(axis.values) - 1 if _is_ordered(axis) else 0 for axis in axes]
        self._ordered = np.array(ordered, dtype=bool)
        self._spans = np.maximum(np.array(ordered, dtype=float), 1.0)

    def code(self, choices: Mapping[str, Any]) -> NDArray[np.float64]:
        """The code of choices, of shape [axes]."""
        return np.array([places[choices[name]] if name in choices else np.nan for name, places in self._places])

    def distances(self, one: NDArray[np.float64], many: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distances from one code, of shape [axes], to others, of shape [n, axes]; of shape [n]."""
        gap = np.abs(many - one)
        gap = np.where(self._ordered, gap / self._spans, gap > 0)
        missing = np.isnan(many) != np.isnan(one)
        gap[np.isnan(many) | np.isnan(one)] = 0.0
        total: NDArray[np.float64] = (gap + HALF_THERE * missing) @ self._weights
        return total


def _is_ordered(axis: Axis) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in axis.values)


def _key(choices: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
    return frozenset(choices.items())

"""The architectures of a table's band as a search space, so that a real search can run over them.

A sampler proposes points of the whole space. Only some hundred of them are in a table, so a proposal becomes the
nearest of those that has not been tried yet. Samplers keep their sense of good regions; they lose precision, all of
them alike.
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
from search_space.space.space import Axis, Limits, Params, SearchSpace
from search_space.zoo.scaled import family_points

NEIGHBOURS = 10
"""How many of the nearest architectures count as neighbours. Arbitrary."""
WEIGHTS = {"mixer": 3.0, "patch": 2.0, "stages": 2.0, "dim": 2.0, "depth": 2.0, "channel_ratio": 2.0, "downsample": 2.0}
"""What a difference on an axis weighs, beside 1 for all others: these axes matter most. Arbitrary."""
HALF_THERE = 0.5
"""Distance on an axis that only one of two architectures has; the largest between two choices is 1. Arbitrary."""


class Members:
    """The architectures of a pool and what is known of them; the pools of many runs share it.

    Args:
        space: The whole space.
        entries: The architectures.

    Attributes:
        space: The whole space.
        architectures: The architectures.
        choices: Their parameters in the space.
        index: The place of each of them by hash.
        by_params: The place of each of them by parameters.
        metric: How far apart two of them are.
        codes: Their codes by that metric, of shape [members, axes].

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
        """Places of the NEIGHBOURS nearest members, the nearest first."""
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
    """A search space that holds some architectures of another one and no others.

    Its axes are those of the whole space. Only architectures that were not taken yet are drawn or proposed, until none
    are left; from then on, duplicates are, as in every space that is exhausted.

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
        """Do not propose an architecture again: it is evaluated now."""
        self._free[self.index(architecture)] = False

    def index(self, architecture: Architecture) -> int:
        """The place of an architecture among the members.

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
        """The member that parameters describe; inactive ones are ignored.

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
        """The nearest member that is left, a random one of several; `params` has a choice on every axis."""
        candidates = self._candidates(limits)
        wish = self._known.metric.code({name: params[name] for name in self._active_names(params)})
        distances = self._known.metric.distances(wish, self._known.codes[candidates])
        nearest = candidates[distances <= distances.min() + 1e-9]
        place: int = rng.choice(nearest.tolist())
        return self.members[place]

    def draw(self, rng: random.Random, limits: Limits | None = None) -> Architecture:
        """Draw a member that is left: the table's architectures were drawn already, so all are equally likely."""
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
        """Places of the members that can be proposed: those left or, once none are, all."""
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
    """How far apart two architectures are, axis by axis; a code holds the place on every axis, NaN where inactive."""

    def __init__(self, axes: Sequence[Axis]) -> None:
        self._places = [(axis.name, {value: place for place, value in enumerate(axis.values)}) for axis in axes]
        self._weights = np.array([WEIGHTS.get(axis.name.rpartition(".")[2], 1.0) for axis in axes])
        ordered = [len(axis.values) - 1 if _is_ordered(axis) else 0 for axis in axes]
        self._ordered = np.array(ordered, dtype=bool)
        self._spans = np.maximum(np.array(ordered, dtype=float), 1.0)

    def code(self, choices: Mapping[str, Any]) -> NDArray[np.float64]:
        """The places of choices on all axes, of shape [axes]."""
        return np.array([places[choices[name]] if name in choices else np.nan for name, places in self._places])

    def distances(self, one: NDArray[np.float64], many: NDArray[np.float64]) -> NDArray[np.float64]:
        """From one code of shape [axes] to many of shape [n, axes]: a tensor of shape [n]."""
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

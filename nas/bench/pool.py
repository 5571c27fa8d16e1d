"""The architectures of a table's band as a search space, so that a real search can run over them.

A sampler proposes points of the whole space. Over a table only some hundred of them have been trained, so a proposal
becomes the nearest of those that has not been tried yet. Samplers keep what they know: which regions are good. What
they lose is precision, and all of them lose it alike.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.bench.tabular import Entry
from search_space.architecture import Architecture
from search_space.errors import SpaceError
from search_space.space import Axis, Limits, Params, SearchSpace
from search_space.zoo.scaled import family_points

NEIGHBOURS = 10
"""How many of the nearest architectures count as neighbours."""
WEIGHTS = {"mixer": 3.0, "patch": 2.0, "stages": 2.0, "dim": 2.0, "depth": 2.0, "channel_ratio": 2.0, "downsample": 2.0}
"""What a difference on an axis weighs, beside 1 for all others: these decide most of what an architecture is."""
HALF_THERE = 0.5
"""The distance on an axis that only one of two architectures has; the farthest that two choices can be is 1."""


class Pool(SearchSpace):
    """A search space that holds some architectures of another one and no others.

    Its axes are those of the whole space. Only architectures that were not taken yet are drawn or proposed, until none
    are left; from then on, duplicates are, as in every space that is exhausted.

    Args:
        space: The whole space.
        entries: The architectures.

    Raises:
        SpaceError: If there are none.
    """

    def __init__(self, space: SearchSpace, entries: Sequence[Entry]) -> None:
        if not entries:
            raise SpaceError("a pool needs at least one architecture")
        self.__dict__.update(space.__dict__)  # everything that is known of the whole space holds here
        self.members = tuple(entry.architecture for entry in entries)
        self._choices = tuple(dict(entry.choices) for entry in entries)
        self._index = {architecture.hash: index for index, architecture in enumerate(self.members)}
        self._by_params = {_key(choices): index for index, choices in enumerate(self._choices)}
        self._metric = _Metric(self.axes)
        self._codes = np.array([self._metric.code(choices) for choices in self._choices])
        self._nearest: dict[int, NDArray[np.intp]] = {}
        self._allowed: dict[Limits, NDArray[np.bool_]] = {}
        self._free = np.ones(len(self.members), dtype=bool)

    @cached_property
    def families(self) -> dict[str, Architecture]:
        """The hand-designed families among the members, by name."""
        return family_points(self, Limits())

    def fresh(self) -> Pool:
        """The same pool with nothing taken; what was computed is shared."""
        _ = self.families
        copy = object.__new__(Pool)
        copy.__dict__.update(self.__dict__)
        copy._free = np.ones(len(self.members), dtype=bool)
        return copy

    def take(self, architecture: Architecture) -> None:
        """Note that an architecture is being evaluated, so that it is not proposed again."""
        self._free[self.index(architecture)] = False

    def index(self, architecture: Architecture) -> int:
        """The place of an architecture among the members.

        Raises:
            SpaceError: If it is not among them.
        """
        try:
            return self._index[architecture.hash]
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
        index = self._by_params.get(_key({name: params[name] for name in self._active_names(params)}))
        if index is None:
            raise SpaceError("the pool holds no such architecture")
        return self.members[index]

    def encode(self, architecture: Architecture) -> Params:
        return dict(self._choices[self.index(architecture)])

    def complete(self, params: Mapping[str, Any], rng: random.Random, limits: Limits | None = None) -> Architecture:
        """The nearest member that is left, a random one of several; `params` has a choice on every axis."""
        candidates = self._candidates(limits)
        wish = self._metric.code({name: params[name] for name in self._active_names(params)})
        distances = self._metric.distances(wish, self._codes[candidates])
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
        index = self.index(architecture)
        if index not in self._nearest:
            order = np.argsort(self._metric.distances(self._codes[index], self._codes), kind="stable")
            self._nearest[index] = order[order != index][:NEIGHBOURS]
        return (self.members[other] for other in self._nearest[index])

    def mutate(self, architecture: Architecture, rng: random.Random, limits: Limits | None = None) -> Architecture:
        """A random neighbour within the limits; the architecture itself if it has none."""
        allowed = self._within(limits or Limits())
        found = [other for other in self.neighbours(architecture) if allowed[self._index[other.hash]]]
        return rng.choice(found) if found else architecture

    def check_limits(self, limits: Limits) -> None:
        """Raise SpaceError if no member is within the limits."""
        self._candidates(limits)

    # Inside.

    def _candidates(self, limits: Limits | None) -> NDArray[np.intp]:
        """Places of the members that can be proposed: those left or, once none are, all."""
        allowed = self._within(limits or Limits())
        left = np.flatnonzero(self._free & allowed)
        found = left if left.size else np.flatnonzero(allowed)
        if not found.size:
            raise SpaceError(f"no architecture of the pool is within {limits}")
        return found

    def _within(self, limits: Limits) -> NDArray[np.bool_]:
        if limits not in self._allowed:
            self._allowed[limits] = np.array([limits.allow(member.deployed.cost) for member in self.members])
        return self._allowed[limits]

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

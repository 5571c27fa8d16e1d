"""Features: architectures as vectors of numbers, for the surrogate.

The features follow the axes of the space, so a new mixer or axis needs no change here. Stages are summed, weighted by
their share of the depth: what matters is how much of the network mixes tokens in each way.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.strategy.tuning import Tuning
from search_space.architecture import Architecture
from search_space.breakdown import label
from search_space.space import SearchSpace, Value

Vector = NDArray[np.float64]

NO_MIXER = "none"
"""The family of networks that mix no tokens."""
REMEMBERED = 8192
"""The number of vectors kept, the newest: a long search sees far more candidates than it trains. Arbitrary."""


def family_of(architecture: Architecture) -> str:
    """The token mixer of most blocks, as named by `search_space.breakdown.label`; the earlier one in a tie."""
    blocks: Counter[str] = Counter()
    for stage in architecture.stages:
        mixers = [label(branch.op) for branch in stage.block if branch.op.mixes_tokens]
        blocks[mixers[0] if mixers else NO_MIXER] += stage.depth
    return blocks.most_common(1)[0][0]


class Features:
    """Turns architectures of one space into vectors.

    Args:
        space: The space.
        tuning: Settings of the training that every architecture has a value of.

    Attributes:
        names: The meaning of each number, such as ``mixer=gating`` (a share of the depth) or ``dim``.
    """

    def __init__(self, space: SearchSpace, tuning: Tuning | None = None) -> None:
        self._space, self._tuning = space, tuning or Tuning()
        self._net = [axis for axis in space.net_axes if len(axis.values) > 1]
        self._stage = [axis for axis in space.stage_axes if len(axis.values) > 1 and axis.name != "depth"]
        self._known: dict[str, Vector] = {}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The meaning of each number."""
        names = ["log params", "log macs", "log depth"]
        for axis in (*self._net, *self._stage):
            names += [axis.name] if _is_number(axis.values) else [f"{axis.name}={value}" for value in axis.values]
        return (*names, *self._tuning.ranges)

    def __call__(self, architecture: Architecture, choices: Mapping[str, Any] | None = None) -> Vector:
        """The vector of an architecture, of shape [len(names)].

        Args:
            architecture: The architecture.
            choices: The values of its axes in the space, if already known.
        """
        found = self._known.get(architecture.hash)
        if found is None:
            choices = self._space.encode(architecture) if choices is None else choices
            found = self._known[architecture.hash] = self._vector(architecture, choices)
            if len(self._known) > REMEMBERED:
                del self._known[next(iter(self._known))]
        return found

    def _vector(self, architecture: Architecture, choices: Mapping[str, Any]) -> Vector:
        params, macs = architecture.deployed.cost
        stages = [f"stage{number}." for number in range(1, choices["stages"] + 1)]
        depths = [choices[stage + "depth"] for stage in stages]
        depth = sum(depths)
        numbers = [math.log(params), math.log(macs), math.log(depth)]
        for axis in self._net:
            numbers += _numbers(choices.get(axis.name), axis.values, 1.0)
        for axis in self._stage:
            total = np.zeros(1 if _is_number(axis.values) else len(axis.values))
            for stage, blocks in zip(stages, depths, strict=True):
                total += _numbers(choices.get(stage + axis.name), axis.values, blocks / depth)
            numbers += total.tolist()
        return np.array(numbers + self._tuning.positions(architecture))


def _is_number(values: tuple[Value, ...]) -> bool:
    """Whether an axis is numeric; other axes are described by shares of the depth."""
    return len(values) > 2 and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def _numbers(value: Value | None, values: tuple[Value, ...], weight: float) -> list[float]:
    if _is_number(values):
        # An inactive axis, such as the heads of a mixer without attention, gets the middle of the scale.
        place = (len(values) - 1) / 2 if value is None else values.index(value)
        return [weight * (place / (len(values) - 1) - 0.5)]
    return [weight * (choice == value) for choice in values]

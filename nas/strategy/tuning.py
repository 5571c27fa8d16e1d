"""Settings of the training that are searched along with the architecture (``--tune``).

Every architecture has one value of each: a random one, which follows from the seed of the study and the architecture
alone, so all drivers of a study, and all of its runs, agree on it. The surrogate sees the values of trials and of
candidates, and so it learns which values are good, and prefers candidates that have them. Hand-designed families keep
the values of the recipe: they are what the winner is compared with.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from search_space.architecture import Architecture
from search_space.space import Range

WIDTHS = {"lr": 4.0, "weight_decay": 10.0}
"""The settings that can be tuned, and the largest factor by which one is above or below the recipe's. Arbitrary: the
recipes' learning rates were chosen among values a factor of 2 apart, and losses hardly depend on the weight decay."""
_DIGITS = 4
"""Significant digits of a value."""


@dataclass(frozen=True)
class Tuning:
    """The settings that are tuned.

    Attributes:
        ranges: Their ranges; {} if nothing is tuned.
        middle: Their values in the recipe.
        seed: Seed of the study.
        fixed: Hashes of architectures that are trained with the values of the recipe.
    """

    ranges: Mapping[str, Range] = field(default_factory=dict)
    middle: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    fixed: Collection[str] = ()

    def of(self, architecture: Architecture) -> dict[str, float]:
        """The value of every tuned setting for an architecture."""
        if architecture.hash in self.fixed:
            return dict(self.middle)
        return {
            name: self._drawn(each, f"{self.seed}/{name}/{architecture.hash}") for name, each in self.ranges.items()
        }

    def positions(self, architecture: Architecture) -> list[float]:
        """The same as positions in the ranges, on a logarithmic scale from -0.5 to 0.5."""
        return [self.ranges[name].position(value) for name, value in self.of(architecture).items()]

    @staticmethod
    def _drawn(each: Range, seed: str) -> float:
        value = each.low * (each.high / each.low) ** random.Random(seed).random()
        return min(max(float(f"{value:.{_DIGITS}g}"), each.low), each.high)


def range_around(name: str, value: float) -> Range:
    """The range in which a setting is tuned around the recipe's value, which must be above 0."""
    return Range(name, value / WIDTHS[name], value * WIDTHS[name])

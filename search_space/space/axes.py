"""The axes of a search space, and limits on the cost of its architectures."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

from search_space.ops import Cost
from search_space.ops.mixer import Value
from search_space.units import format_count

Params = dict[str, Value]
"""An architecture as its choice on every active axis; `SearchSpace.decode` returns the architecture."""


@dataclass(frozen=True)
class Axis:
    """A named choice.

    Attributes:
        name: Such as ``dim`` or ``stage1.mixer``.
        values: The choices.
    """

    name: str
    values: tuple[Value, ...]

    @property
    def step(self) -> int | None:
        """The distance between neighbouring values if they are evenly spaced whole numbers, else None."""
        if len(self.values) < 2 or not all(type(value) is int for value in self.values):
            return None
        numbers = [value for value in self.values if isinstance(value, int)]
        steps = {high - low for low, high in itertools.pairwise(numbers)}
        return steps.pop() if len(steps) == 1 and min(steps) > 0 else None


@dataclass(frozen=True)
class Range:
    """A number above 0 that is chosen on a logarithmic scale: an axis of the training, not of the architecture.

    Attributes:
        name: Such as ``lr``.
        low: The smallest value.
        high: The largest value.
    """

    name: str
    low: float
    high: float

    def position(self, value: float) -> float:
        """Where a value is in the range, on the logarithmic scale: from -0.5 to 0.5."""
        return math.log(value / self.low) / math.log(self.high / self.low) - 0.5


class Limits(NamedTuple):
    """Upper limits on the exact cost of the deployed architecture; None means no limit."""

    max_params: int | None = None
    max_macs: int | None = None

    def allow(self, cost: Cost) -> bool:
        """Whether an architecture of this cost is within the limits."""
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


__all__ = ["Axis", "Limits", "Params", "Range", "Value"]

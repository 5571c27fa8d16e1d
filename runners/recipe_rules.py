"""Rules for the settings of a recipe: what each means, and which values it may have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from search_space.errors import allowed
from search_space.paths import path_problem


@dataclass(frozen=True)
class Rule:
    """What a setting of a recipe means, and which values it may have.

    Attributes:
        summary: Its meaning, without a full stop.
        metavar: The placeholder of its value in help; "" for a switch.
        kind: `int`, `float`, `bool` or `str` (one of `choices`, or a path).
        least: Smallest number allowed.
        most: Largest number allowed.
        above: Whether `least` itself is not allowed.
        choices: Names that are allowed; () for a path.
        unit: Unit of the value.
    """

    summary: str
    metavar: str
    kind: type
    least: float = 0
    most: float = 1
    above: bool = False
    choices: tuple[str, ...] = ()
    unit: str = ""

    def problem(self, value: Any) -> str | None:
        """What is wrong with a value, such as "allowed: numbers from 0 to 1"; None if nothing is."""
        if self.kind is bool:
            return None if isinstance(value, bool) else "allowed: true, false"
        if self.kind is str and self.choices:
            return None if isinstance(value, str) and value in self.choices else allowed(value, self.choices)
        if self.kind is str:
            return path_problem(value) if isinstance(value, str) else "allowed: a path"
        kinds = (int,) if self.kind is int else (int, float)
        fits = isinstance(value, kinds) and not isinstance(value, bool) and self.least <= value <= self.most
        if fits and not (self.above and value == self.least):
            return None
        if self.kind is int:
            return f"allowed: whole numbers from {self.least} to {self.most:,}"
        return f"allowed: numbers {'above' if self.above else 'from'} {self.least:g} to {self.most:g}"

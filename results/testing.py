"""Contract tests for objectives, which authors of plug-ins can run on their own.

Example:
    >>> class TestPeakMemory(ObjectiveContract):
    ...     names = ("peak_memory_mib",)
"""

from __future__ import annotations

import math
import random
from functools import lru_cache
from typing import Any

from results.database.objectives import OBJECTIVES, QUALITY_FIGURES, Figures
from search_space.contract import Contract, holds
from search_space.space import SearchSpace, load_space

QUALITY: dict[str, Any] = dict(zip(QUALITY_FIGURES, (0.5, 0.75, 0.625, 0.6, 0.25), strict=True))
"""Figures of a validation."""
FIGURES = Figures(
    **QUALITY,
    params=100,
    macs=1000,
    latency_ms=1.5,
    peak_memory_mib=2.5,
    device="a device",
    latency_device="another device",
)
"""Figures of an architecture with every measurement."""
_LIMITS = {"max_params": None, "max_macs": None, "max_latency_ms": None}


class ObjectiveContract(Contract):
    """An objective says what it is, and reads its value from what is known of an evaluation."""

    def test_it_says_what_it_is(self, name: str) -> None:
        """It has a title, a heading of at most 8 characters, a direction, a kind and a docstring."""
        objective = OBJECTIVES.find(name)
        holds(objective.name == name, f"its name is {objective.name!r}, and it is registered as {name!r}")
        holds(objective.title, "its title is empty")
        heading = objective.heading
        holds(1 <= len(heading) <= 8, f"its heading is {heading!r}, and a column has 8 characters")
        holds(objective.direction in ("minimize", "maximize"), f"its direction is {objective.direction!r}")
        holds(objective.kind in ("quality", "exact", "measured"), f"its kind is {objective.kind!r}")
        holds(type(objective).__doc__, "its class has no docstring")

    def test_less_loss_is_better(self, name: str) -> None:
        """Its loss is its value, turned by its direction, and nothing is better than its ideal."""
        objective = OBJECTIVES.find(name)
        value = objective.read(FIGURES)
        if value is None:
            raise AssertionError(f"it reads nothing from {FIGURES}")
        loss = objective.loss(FIGURES)
        holds(
            loss == (value if objective.direction == "minimize" else -value), f"its value is {value}, its loss {loss}"
        )
        holds(objective.sign * objective.ideal <= loss, f"its ideal is {objective.ideal}, and {value} is better")

    def test_what_was_not_measured_is_the_worst(self, name: str) -> None:
        """If it is measured, an architecture that was not is worse than all others."""
        objective = OBJECTIVES.find(name)
        if objective.kind == "measured":
            loss = objective.loss(Figures(0.5, 0.75, 100, 1000))
            holds(loss == math.inf, f"its loss is {loss} where nothing was measured")

    def test_quality_is_known_after_every_epoch(self, name: str) -> None:
        """If it is a quality, it is read from the figures of a validation alone."""
        objective = OBJECTIVES.find(name)
        if objective.is_quality:
            early = objective.read(Figures(**QUALITY, params=None, macs=None))
            holds(early == objective.read(FIGURES), f"without any other figure, it reads {early}")

    def test_candidates_are_ranked_by_it_before_they_are_evaluated(self, name: str) -> None:
        """Its estimate for an architecture is positive, as its logarithm is taken."""
        estimate = OBJECTIVES.find(name).estimate(_space().sample(random.Random(0)))
        holds(estimate > 0, f"it estimates {estimate}")

    def test_its_reference_is_worse_than_its_ideal(self, name: str) -> None:
        """Its reference is worse than its ideal, and is its limit where one is set."""
        objective = OBJECTIVES.find(name)
        worst = objective.reference(_space(), _LIMITS)
        fine = worst is None or objective.sign * (worst - objective.ideal) > 0
        holds(fine, f"its reference is {worst}, its ideal {objective.ideal}")
        if objective.limit is not None:
            limited = objective.reference(_space(), {**_LIMITS, objective.limit: 7})
            holds(limited == 7, f"its reference is {limited} where {objective.limit} is 7")

    def test_its_values_fit_into_a_table(self, name: str) -> None:
        """Its value is shown in at most 8 characters."""
        objective = OBJECTIVES.find(name)
        shown = objective.format(objective.value(FIGURES))
        holds(len(shown) <= 8, f"its value is shown as {shown!r}")


@lru_cache(maxsize=1)
def _space() -> SearchSpace:
    return load_space("mlp_family", image_size=8, in_channels=1, classes=10)

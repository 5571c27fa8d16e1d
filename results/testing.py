"""Contract tests for objectives, which authors of plug-ins can run on their own.

Example:
    >>> class TestPeakMemory(ObjectiveContract):
    ...     @pytest.fixture
    ...     def objective(self):
    ...         return OBJECTIVES["peak_memory_mib"]
    ...
    ...     @pytest.fixture
    ...     def space(self):
    ...         return load_space("mlp_family")
"""

from __future__ import annotations

import math
import random

from results.database.objectives import OBJECTIVES, Figures, Objective
from search_space.space import SearchSpace

FIGURES = Figures(0.5, 0.75, 100, 1000, 1.5, 2.5, "a device", "another device")
"""Figures of an architecture with every measurement."""
_LIMITS = {"max_params": None, "max_macs": None, "max_latency_ms": None}


class ObjectiveContract:
    """Tests of one objective; needs the fixtures `objective` and `space`, any space."""

    def test_it_is_registered_by_its_name(self, objective: Objective) -> None:
        assert OBJECTIVES[objective.name] is objective

    def test_it_says_what_it_is(self, objective: Objective) -> None:
        assert objective.title
        assert 1 <= len(objective.heading) <= 8, "its heading must fit into a column of 8 characters"
        assert objective.direction in ("minimize", "maximize")
        assert objective.kind in ("quality", "exact", "measured")
        assert type(objective).__doc__

    def test_less_loss_is_better(self, objective: Objective) -> None:
        value = objective.read(FIGURES)
        assert value is not None, f"it reads nothing from {FIGURES}"
        assert objective.loss(FIGURES) == (value if objective.direction == "minimize" else -value)
        assert objective.sign * objective.ideal <= objective.loss(FIGURES), "nothing is better than its ideal"

    def test_what_was_not_measured_is_the_worst(self, objective: Objective) -> None:
        if objective.kind == "measured":
            assert objective.loss(Figures(0.5, 0.75, 100, 1000)) == math.inf

    def test_quality_is_known_after_every_epoch(self, objective: Objective) -> None:
        if objective.is_quality:
            assert objective.read(Figures(0.5, 0.75, None, None)) == objective.read(FIGURES)

    def test_candidates_are_ranked_by_it_before_they_are_evaluated(
        self, objective: Objective, space: SearchSpace
    ) -> None:
        assert objective.estimate(space.sample(random.Random(0))) > 0, "its logarithm is taken"

    def test_its_reference_is_worse_than_its_ideal(self, objective: Objective, space: SearchSpace) -> None:
        worst = objective.reference(space, _LIMITS)
        assert worst is None or objective.sign * (worst - objective.ideal) > 0
        if objective.limit is not None:
            assert objective.reference(space, {**_LIMITS, objective.limit: 7}) == 7, "its limit is its reference"

    def test_its_values_fit_into_a_table(self, objective: Objective) -> None:
        value = objective.read(FIGURES)
        assert value is not None
        assert len(objective.format(value)) <= 8

"""Local search as an Optuna sampler: the neighbours of the best architecture found so far, in random order.

From a random start, all neighbours of the best are tried; a better one becomes the centre at once. When a centre has no
untried neighbour left, the search restarts from a random architecture (https://arxiv.org/abs/2004.08996, with the first
improvement instead of the best, which saves trainings).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial

from nas.strategy.samplers.base import SpaceSampler
from search_space.architecture import Architecture
from search_space.space import Limits, SearchSpace


class LocalSearchSampler(SpaceSampler):
    """First-improvement local search over a search space.

    Args:
        space: Where neighbours come from.
        distributions: The axes of the space as Optuna distributions; a trial has a value for each of them.
        limits: Limits that neighbours satisfy.
        seed: Seed of all random choices.
    """

    def __init__(
        self,
        space: SearchSpace,
        distributions: Mapping[str, BaseDistribution],
        limits: Limits,
        *,
        seed: int | None = None,
    ) -> None:
        super().__init__(space, distributions, limits, seed=seed)
        self._centre: Architecture | None = None
        self._untried: list[Architecture] = []
        self._began = 0  # trials before this one belong to earlier starts

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A neighbour's value on every axis; none for the first trial of a start, which is random."""
        finished = self.finished(study)
        ours = [other for other in finished if other.number >= self._began]
        if not ours:
            return {}
        best = self.best(ours, study)
        centre = self._space.decode(best.params)
        if centre != self._centre:
            self._centre = centre
            tried = {self._space.decode(other.params) for other in finished}
            self._untried = [
                neighbour
                for neighbour in self._space.neighbours(centre)
                if neighbour not in tried and self._limits.allow(neighbour.deployed.cost)
            ]
            self._rng.shuffle(self._untried)
        if not self._untried:
            self._began, self._centre = trial.number, None
            return {}
        return {**best.params, **self._space.encode(self._untried.pop())}

"""Regularised evolution (https://arxiv.org/abs/1802.01548) as an Optuna sampler.

The population is the youngest `population` finished trials: individuals are removed by age, not by quality, so a lucky
measurement does not survive. A parent is the best of a random tournament, a child is one of its neighbours in the
space.

The paper's population of 100 and tournament of 25 suit budgets of 20,000 architectures; the defaults here keep its
ratio of about four to one and are otherwise arbitrary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial

from nas.strategy.samplers.base import SpaceSampler
from search_space.space import Limits, SearchSpace


class RegularizedEvolutionSampler(SpaceSampler):
    """Ageing evolution over a search space.

    Args:
        space: Where children come from.
        distributions: The axes of the space as Optuna distributions; a trial has a value for each of them.
        limits: Limits that children satisfy.
        population: Size of the population.
        tournament: How many of its members compete to be the parent.
        seed: Seed of all random choices.
    """

    def __init__(
        self,
        space: SearchSpace,
        distributions: Mapping[str, BaseDistribution],
        limits: Limits,
        *,
        population: int = 32,
        tournament: int = 8,
        seed: int | None = None,
    ) -> None:
        super().__init__(space, distributions, limits, seed=seed)
        self._population, self._tournament = population, tournament

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A child's value on every axis; nothing while the population is still being filled at random."""
        finished = self.finished(study)
        if len(finished) < self._population:
            return {}
        living = finished[-self._population :]
        competing = self._rng.sample(living, min(self._tournament, len(living)))
        parent = self.best(competing, study)
        child = self._space.mutate(self._space.decode(parent.params), self._rng, self._limits)
        return {**parent.params, **self._space.encode(child)}

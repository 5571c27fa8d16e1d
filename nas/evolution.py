"""Regularised evolution (https://arxiv.org/abs/1802.01548) as an Optuna sampler.

The population is the youngest `population` finished trials: an individual dies of age, not of being beaten, so a lucky
measurement does not survive. A parent is the best of a random tournament, a child is a neighbour of it in the space.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from results.pareto import dominates
from search_space.space import Limits, SearchSpace


class RegularizedEvolutionSampler(BaseSampler):
    """Ageing evolution over a search space.

    Args:
        space: Where children come from.
        distributions: How Optuna sees the axes of the space; a trial has a value for each of them.
        limits: Limits that children keep.
        population: How many of the youngest trials live.
        tournament: How many of them compete to be the parent.
        seed: Of all random choices.
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
        self._space, self._limits = space, limits
        self._distributions = dict(distributions)
        self._population, self._tournament = population, tournament
        self._rng = random.Random(seed)
        self._first = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A child's value on every axis; nothing while the population is still to be filled at random."""
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        if len(finished) < self._population:
            return {}
        living = finished[-self._population :]
        competing = self._rng.sample(living, min(self._tournament, len(living)))
        parent = self.best(competing, study)
        child = self._space.mutate(self._space.decode(parent.params), self._rng, self._limits)
        return {**parent.params, **self._space.encode(child)}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._first.sample_independent(study, trial, param_name, param_distribution)

    @staticmethod
    def best(trials: Sequence[FrozenTrial], study: Study) -> FrozenTrial:
        """The trial trained furthest and, among those, dominated by the fewest and best in the first objective."""
        maximized = [direction == StudyDirection.MAXIMIZE for direction in study.directions]

        def losses(trial: FrozenTrial) -> list[float]:
            values = trial.values or [trial.intermediate_values[max(trial.intermediate_values)]]
            return [-value if up else value for value, up in zip(values, maximized, strict=False)]

        known = [trial for trial in trials if trial.values or trial.intermediate_values] or list(trials)
        complete = [trial for trial in known if trial.state == TrialState.COMPLETE] or known
        if not (complete[0].values or complete[0].intermediate_values):
            return complete[0]
        points = [losses(trial) for trial in complete]
        ranks = [(sum(dominates(other, point) for other in points), point[0]) for point in points]
        return complete[ranks.index(min(ranks))]

"""The base class of samplers that propose a point of the space: a value on every axis."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from results.report.pareto import dominates
from search_space.space import Limits, SearchSpace


class SpaceSampler(BaseSampler):
    """A sampler that proposes points of a search space; without a proposal, a trial is random.

    Args:
        space: Where architectures come from.
        distributions: The axes of the space as Optuna distributions; a trial has a value for each of them.
        limits: Limits that architectures satisfy.
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
        self._space, self._limits = space, limits
        self._distributions = dict(distributions)
        self._rng = random.Random(seed)
        self._first = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._distributions

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._first.sample_independent(study, trial, param_name, param_distribution)

    @staticmethod
    def finished(study: Study) -> list[FrozenTrial]:
        """The complete and pruned trials, oldest first."""
        return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))

    @staticmethod
    def best(trials: Sequence[FrozenTrial], study: Study) -> FrozenTrial:
        """The trial trained for the most epochs; of several, the least dominated, then best in the first objective."""
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

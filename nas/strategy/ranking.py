"""Ranking: compares trials at rungs and at the end, and candidates by an acquisition function.

With the sampler "surrogate", trials are ranked by their extrapolated final loss (`nas.strategy.curves`) and candidates
by the surrogate's prediction (`nas.strategy.surrogate`). With other samplers, trials are compared by their loss at the
same epoch. With several objectives, trials are compared by the number of trials that dominate them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np

from nas.strategy.curves import LearningCurves
from nas.strategy.features import Features
from nas.strategy.observed import Observed
from nas.strategy.pool import Candidate
from nas.strategy.problem import Problem
from nas.strategy.surrogate import MIN_LABELS, Array, Label, Surrogate
from results.report.pareto import domination_counts, pareto_front
from search_space.architecture import Architecture

REFERENCE = 128
"""Number of random architectures from which the variance of features over the space is estimated. Arbitrary."""
REFIT = 0.1
"""The surrogate is fitted again once this many more epochs have been seen, as a share. Arbitrary: it saves time."""
MAX_LABELS = 512
"""At most this many trials are labels: a fit takes time proportional to the cube of their number. Arbitrary.

One half are the best, as candidates compete with them; the other half are the newest of the rest, which cover regions
that were searched without success.
"""
OPTIMISM = 0.5
"""Number of standard deviations by which a predicted loss is lowered: a lower confidence bound (GP-UCB,
https://arxiv.org/abs/0912.3995). Arbitrary: other values, expected improvement and Thompson sampling change the regret
by 0.0005 to 0.0017 nats, +- 0.002 (docs/bench.md)."""
TIME_WEIGHT = 0.1
"""The decrease of the log loss that justifies e times the seconds of training. Arbitrary: without it the regret changes
by less than 0.002 nats, +- 0.002 (docs/bench.md), but searches drift to deep, narrow networks, which train for three
times as long."""
AUGMENTATION = 0.05
"""Weight of the sum in ParEGO's augmented Chebyshev function (https://doi.org/10.1109/TEVC.2005.851274)."""

T = TypeVar("T", bound=Observed)


class Ranking(Generic[T]):
    """Ranks trials and candidates.

    Args:
        problem: What is searched for; its seed determines the reference architectures and the trade-offs between
            several objectives.
        trials: All trials; grows during the search.
        scores: Values of proxies by architecture hash; grows during the search.
        curves: Extrapolates the trials' learning curves; by default those of the problem's first objective.
    """

    def __init__(
        self,
        problem: Problem,
        trials: Sequence[T],
        scores: Mapping[str, Mapping[str, float | None]],
        curves: LearningCurves | None = None,
    ) -> None:
        self._space, self._limits, self._trials, self._scores = problem.space, problem.limits, trials, scores
        self._costs = problem.objectives[1:]
        self._proxies = problem.strategy.proxies
        self._has_surrogate = problem.strategy.has_surrogate
        self._curves = curves or LearningCurves.of(
            problem.objectives[0], trials, problem.epochs, problem.validation_images
        )
        self._rng = random.Random(problem.seed)
        self._features = Features(problem.space, problem.tuning)
        self._reference: Array | None = None
        self._surrogate: Surrogate | None = None
        self._fitted = 0  # epochs that the surrogate was last fitted to
        self._active: list[T] = []
        self._listed = 0  # trials that have been added to that list
        self._aside = 0  # epochs of the trials that were removed from it

    @property
    def can_rank(self) -> bool:
        """Whether there is a surrogate to rank candidates by."""
        self._fit()
        return self._surrogate is not None

    def at_rung(self, trials: Sequence[T], epoch: int) -> list[float]:
        """Losses by which trials that have reached a rung are compared; less is better."""
        losses = [trial.losses[epoch] for trial in trials]
        if self._has_surrogate:
            losses = self._curves.extrapolated(trials, epoch)
        if not self._costs:
            return losses
        points = [(loss, *trial.costs(self._costs)) for loss, trial in zip(losses, trials, strict=True)]
        return [float(place) for place in _places(points)]

    def best(self, trials: Sequence[T], count: int) -> list[T]:
        """The most promising trials, waiting ones included, without those that can never be trained to their end."""
        known = [trial for trial in trials if trial.losses and not trial.is_infeasible]
        losses = self._final_losses(known)
        order = sorted(range(len(known)), key=lambda index: losses[index])
        return [known[index] for index in order[:count]]

    def centres(self, count: int) -> list[T]:
        """The trials whose neighbours become candidates: the best or, with several objectives, some of the front."""
        trials = [trial for trial in self._listed_trials() if trial.is_informative]
        if not self._costs:
            return self.best(trials, count)
        known = self.best(trials, len(trials))
        points = [
            (loss, *trial.costs(self._costs)) for loss, trial in zip(self._final_losses(known), known, strict=True)
        ]
        front = pareto_front(points)
        return [known[index] for index in self._rng.sample(front, min(count, len(front)))]

    def rank(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Sort candidates by the acquisition function, the best first; this needs a surrogate.

        Of two equally promising candidates, the quicker to train comes first. With several objectives, a random
        trade-off decides.
        """
        assert self._surrogate is not None
        features = np.array([self._features(candidate.architecture) for candidate in candidates])
        acquisition = self._lower_bounds(candidates, features)
        if self._costs:
            acquisition = self._scalarised(acquisition, [candidate.architecture for candidate in candidates])
        else:
            acquisition = acquisition + TIME_WEIGHT * self._surrogate.log_seconds(features)
        return [candidates[index] for index in np.argsort(acquisition, kind="stable")]

    # Inside.

    def _final_losses(self, trials: Sequence[T]) -> list[float]:
        """The log losses that trials are expected to end with; without a surrogate, the losses that they have."""
        if self._has_surrogate:
            return self._curves.final_losses(trials)
        return [trial.losses[trial.epoch] for trial in trials]

    def _lower_bounds(self, candidates: Sequence[Candidate], features: Array) -> Array:
        """Lower confidence bounds of the candidates' final log losses, of shape [candidates]."""
        assert self._surrogate is not None
        proxies = np.array([self._proxy_values(candidate.architecture) for candidate in candidates])
        means, stds = self._surrogate.predict(features, proxies)
        return means - OPTIMISM * stds

    def _listed_trials(self) -> list[T]:
        """All trials except those that the last fit of the surrogate has set aside."""
        self._active += self._trials[self._listed :]
        self._listed = len(self._trials)
        return self._active

    def _fit(self) -> None:
        if not self._has_surrogate:
            return
        known = _labelled(self._listed_trials())
        size = self._aside + sum(trial.epoch for trial in known)  # a trial that was resumed has a longer curve
        if len(known) < MIN_LABELS or size < (1 + REFIT) * self._fitted:
            return
        known = self._choose(_labelled(self._trials))
        self._fitted = self._aside + sum(trial.epoch for trial in known)
        if self._reference is None:
            draws = [self._space.sample(self._rng, self._limits) for _ in range(REFERENCE)]
            self._reference = np.array([self._features(draw) for draw in draws])
        self._surrogate = Surrogate(self._labels(known), self._reference)

    def _choose(self, known: list[T]) -> list[T]:
        """Return the trials that the surrogate is fitted to; the others are set aside until the next fit."""
        if len(known) <= MAX_LABELS:
            return known
        feasible = [trial for trial in known if not trial.is_infeasible]
        best = {trial.key for trial in self.best(feasible, MAX_LABELS // 2)}
        newest = [trial.key for trial in known if trial.key not in best][len(best) - MAX_LABELS :]
        chosen = best.union(newest)
        aside = {trial.key: trial.epoch for trial in known if trial.key not in chosen}
        self._active = [trial for trial in self._trials if trial.key not in aside]
        self._aside = sum(aside.values())
        return [trial for trial in known if trial.key in chosen]

    def _labels(self, trials: Sequence[T]) -> list[Label]:
        feasible = [trial for trial in trials if not trial.is_infeasible]
        losses = dict(zip((trial.key for trial in feasible), self._curves.final_losses(feasible), strict=True))
        return [
            Label(
                self._features(trial.architecture),
                self._proxy_values(trial.architecture),
                losses.get(trial.key),
                trial.is_complete,
                trial.epoch_seconds,
            )
            for trial in trials
        ]

    def _proxy_values(self, architecture: Architecture) -> Array:
        """The values of the proxies for an architecture, of shape [proxies]; NaN if missing."""
        found = self._scores.get(architecture.hash, {})
        return np.array([np.nan if (value := found.get(name)) is None else value for name in self._proxies])

    def _scalarised(self, quality: Array, architectures: Sequence[Architecture]) -> Array:
        """Combine all objectives into one number: the largest of them, each with a random weight.

        ParEGO's augmented Chebyshev function (https://doi.org/10.1109/TEVC.2005.851274); every call draws another
        trade-off. Parameters and MACs are exact. Latency is assumed to be proportional to the MACs until it is
        measured.
        """
        columns = [quality]
        for objective in self._costs:
            if objective.is_quality:  # the surrogate predicts only one quality, which is used for the others
                continue
            cost = [objective.estimate(architecture) for architecture in architectures]
            columns.append(np.log(np.array(cost, dtype=float)))
        table = np.stack(columns, axis=1)
        low, high = table.min(axis=0), table.max(axis=0)
        table = (table - low) / np.where(high > low, high - low, 1.0)
        draws = [self._rng.expovariate(1.0) for _ in columns]
        weighted = table * (np.array(draws) / sum(draws))
        scalar: Array = weighted.max(axis=1) + AUGMENTATION * weighted.sum(axis=1)
        return scalar


def _labelled(trials: Sequence[T]) -> list[T]:
    """Trials that can be labels: their final loss can be extrapolated, or they cannot be trained."""
    return [trial for trial in trials if trial.is_informative or trial.is_infeasible]


def _places(points: Sequence[Sequence[float]]) -> list[int]:
    """The ranks of points: by the number of points that dominate them, then by the first coordinate."""
    ranks = [(count, point[0]) for count, point in zip(domination_counts(points), points, strict=True)]
    order = sorted(range(len(points)), key=lambda index: ranks[index])
    places = [0] * len(points)
    for place, index in enumerate(order):
        places[index] = place
    return places

"""How good are the trials, as far as the study can tell? What is compared at rungs, and among candidates.

With the ranker "model" trials are judged by the loss they are expected to end with, as
`nas.strategy.curves` reads it from their curves, and candidates by a model fitted to that. Otherwise by the loss at the
same epoch. With several objectives, by how many others dominate them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

import numpy as np

from nas.strategy.curves import LearningCurves
from nas.strategy.features import Features
from nas.strategy.pool import Candidate
from nas.strategy.problem import Problem
from nas.strategy.surrogate import MIN_LABELS, Array, Label, Surrogate
from nas.strategy.trial import Trial
from results.database.schema import State
from results.report.pareto import domination_counts, pareto_front
from runners.protocol import INFEASIBLE_CAUSES
from search_space.architecture import Architecture

REFERENCE = 128
"""Random architectures that tell how features vary in the space."""
REFIT = 0.1
"""The model is fitted anew once so many more epochs have been seen than at the last time, as a share."""
LABELS = 512
"""The model is fitted to so many trials at most: fitting takes the cube of their number, every prediction its square.

One half are the best there are, as it is about them that candidates have to be told apart; the other half the newest of
the rest, which say where the search has looked and found nothing.
"""
OPTIMISM = 0.5
"""Standard deviations by which a candidate is expected to be better than the model's mean: what is unknown is tried."""

THRIFT = 0.1
"""By how much lower the log loss of a candidate has to be for e times the seconds of training."""


class Ranking:
    """Judges trials and candidates.

    Args:
        problem: What is searched for; its seed is that of the draw that scales the features, and of trade-offs
            between objectives.
        trials: All trials of the study; grows while the search goes on.
        scores: Values of proxies by architecture hash; grows too.
    """

    def __init__(
        self, problem: Problem, trials: Sequence[Trial], scores: Mapping[str, Mapping[str, float | None]]
    ) -> None:
        parts = problem.strategy
        self._space, self._limits, self._trials, self._scores = problem.space, problem.limits, trials, scores
        self._objectives, self._proxies = problem.objectives, parts.proxies
        self._modelled = parts.ranker == "model"
        self._curves = LearningCurves(trials, self._objectives[0], problem.epochs, problem.validation_images)
        self._rng = random.Random(problem.seed)
        self._features = Features(problem.space)
        self._reference: Array | None = None
        self._model: Surrogate | None = None
        self._fitted = 0
        self._watched: list[Trial] = []
        self._listed = 0  # trials that have been put on that list
        self._aside = 0  # epochs of those that were set aside again

    @property
    def knows(self) -> bool:
        """Whether there is a model to judge candidates by."""
        self._fit()
        return self._model is not None

    def watched(self) -> list[Trial]:
        """All trials but those that the last fit of the model has set aside."""
        self._watched += self._trials[self._listed :]
        self._listed = len(self._trials)
        return self._watched

    def at_rung(self, trials: Sequence[Trial], epoch: int) -> list[float]:
        """Merits of trials that have reached a rung, less is better."""
        merits = [trial.losses[epoch] for trial in trials]
        if self._modelled:
            merits = self._curves.expected_ends(trials, epoch)
        if len(self._objectives) == 1:
            return merits
        points = [(merit, *self._costs(trial)) for merit, trial in zip(merits, trials, strict=True)]
        return [float(place) for place in _places(points)]

    def best(self, trials: Sequence[Trial], count: int) -> list[Trial]:
        """The most promising trials, those that wait included; none that cannot be trained to its end."""
        known = [trial for trial in trials if trial.losses and trial.cause not in INFEASIBLE_CAUSES]
        ends = self._ends(known)
        order = sorted(range(len(known)), key=lambda index: ends[index])
        return [known[index] for index in order[:count]]

    def centres(self, trials: Sequence[Trial], count: int) -> list[Trial]:
        """The trials whose neighbours deserve a look: the best; with several objectives, some of the Pareto front."""
        if len(self._objectives) == 1:
            return self.best(trials, count)
        known = self.best(trials, len(trials))
        points = [(end, *self._costs(trial)) for end, trial in zip(self._ends(known), known, strict=True)]
        front = pareto_front(points)
        return [known[index] for index in self._rng.sample(front, min(count, len(front)))]

    def rank(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Candidates by promise, the best first; needs a model.

        Of two that promise as much, the quicker to train comes first. With several objectives, a random trade-off
        decides.
        """
        assert self._model is not None
        vectors = np.array([self._features(candidate.architecture) for candidate in candidates])
        promise = self._promise(candidates, vectors)
        if len(self._objectives) > 1:
            promise = self._scalarised(promise, [candidate.architecture for candidate in candidates])
        else:
            promise = promise + THRIFT * self._model.slowness(vectors)
        return [candidates[index] for index in np.argsort(promise, kind="stable")]

    # Inside.

    def _ends(self, trials: Sequence[Trial]) -> list[float]:
        """The log losses that trials are expected to end with; without a model, the losses they have."""
        return self._curves.ends(trials) if self._modelled else [trial.losses[trial.epoch] for trial in trials]

    def _costs(self, trial: Trial) -> Iterator[float]:
        """The objectives besides the first, less is better."""
        return (objective.loss(trial.figures) for objective in self._objectives[1:])

    def _promise(self, candidates: Sequence[Candidate], vectors: Array) -> Array:
        """The log losses that candidates are hoped to end with, of shape [candidates]."""
        assert self._model is not None
        proxies = np.array([self._scored(candidate.architecture) for candidate in candidates])
        means, stds = self._model.predict(vectors, proxies)
        return means - OPTIMISM * stds

    def _fit(self) -> None:
        if not self._modelled:
            return
        known = _known(self.watched())
        size = self._aside + sum(trial.epoch for trial in known)  # a trial that has gone on tells more
        if len(known) < MIN_LABELS or size < (1 + REFIT) * self._fitted:
            return
        known = self._choose(_known(self._trials))
        self._fitted = self._aside + sum(trial.epoch for trial in known)
        if self._reference is None:
            draws = [self._space.sample(self._rng, self._limits) for _ in range(REFERENCE)]
            self._reference = np.array([self._features(draw) for draw in draws])
        self._model = Surrogate(self._labels(known), self._reference)

    def _choose(self, known: list[Trial]) -> list[Trial]:
        """The trials that the model is fitted to; sets aside the others until it is fitted again."""
        if len(known) <= LABELS:
            return known
        sound = [trial for trial in known if trial.cause not in INFEASIBLE_CAUSES]
        best = {trial.key for trial in self.best(sound, LABELS // 2)}
        newest = [trial.key for trial in known if trial.key not in best][len(best) - LABELS :]
        chosen = best.union(newest)
        aside = {trial.key: trial.epoch for trial in known if trial.key not in chosen}
        self._watched = [trial for trial in self._trials if trial.key not in aside]
        self._aside = sum(aside.values())
        return [trial for trial in known if trial.key in chosen]

    def _labels(self, trials: Sequence[Trial]) -> list[Label]:
        trained = [trial for trial in trials if trial.cause not in INFEASIBLE_CAUSES]
        ends = dict(zip((trial.key for trial in trained), self._curves.ends(trained), strict=True))
        return [
            Label(
                self._features(trial.architecture),
                self._scored(trial.architecture),
                ends.get(trial.key),
                trial.state == State.COMPLETE,
                median(epoch.seconds for epoch in trial.epochs) if trial.epochs else 0.0,
            )
            for trial in trials
        ]

    def _scored(self, architecture: Architecture) -> Array:
        """What the proxies say of an architecture, of shape [proxies]; NaN where they say nothing."""
        found = self._scores.get(architecture.hash, {})
        return np.array([np.nan if (value := found.get(name)) is None else value for name in self._proxies])

    def _scalarised(self, quality: Array, architectures: Sequence[Architecture]) -> Array:
        """One number for all objectives: the largest of them, each with a random weight.

        ParEGO's augmented Chebyshev function (https://doi.org/10.1109/TEVC.2005.851274); every call draws another
        trade-off. Parameters and MACs are exact. Latency is taken to follow the MACs until it is measured.
        """
        columns = [quality]
        for objective in self._objectives[1:]:
            if objective.is_quality:  # the model knows one quality, and the others go with it
                continue
            cost = [objective.estimate(architecture) for architecture in architectures]
            columns.append(np.log(np.array(cost, dtype=float)))
        table = np.stack(columns, axis=1)
        low, high = table.min(axis=0), table.max(axis=0)
        table = (table - low) / np.where(high > low, high - low, 1.0)
        draws = [self._rng.expovariate(1.0) for _ in columns]
        weighted = table * (np.array(draws) / sum(draws))
        scalar: Array = weighted.max(axis=1) + 0.05 * weighted.sum(axis=1)
        return scalar


def _known(trials: Sequence[Trial]) -> list[Trial]:
    """Trials of which it is known how well they do, or that they cannot be trained."""
    return [trial for trial in trials if trial.is_telling or trial.cause in INFEASIBLE_CAUSES]


def _places(points: Sequence[Sequence[float]]) -> list[int]:
    """The places of points: fewer dominating ones first, then the first coordinate."""
    ranks = [(count, point[0]) for count, point in zip(domination_counts(points), points, strict=True)]
    order = sorted(range(len(points)), key=lambda index: ranks[index])
    places = [0] * len(points)
    for place, index in enumerate(order):
        places[index] = place
    return places

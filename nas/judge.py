"""How good are the trials, as far as the study can tell? What is compared at rungs, and among candidates.

With the ranker "model" trials are judged by the loss they are expected to end with: their own curve, corrected by how
much their mixer still gains from there, and drawn towards what the model expects of such an architecture. Otherwise by
the loss at the same epoch. With several objectives, by how many others dominate them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

import numpy as np

from nas.features import Features, Vector
from nas.model import MIN_LABELS, Array, Label, SpaceModel
from nas.objectives import Objective
from nas.shortlist import Candidate
from nas.trial import Trial
from results.pareto import dominates
from results.schema import State
from runners.base import INFEASIBLE_CAUSES
from search_space.architecture import Architecture
from search_space.space import Limits, SearchSpace

REFERENCE = 128
"""Random architectures that tell how features vary in the space."""
REFIT = 0.1
"""The model is fitted anew once so many more labels are there than at the last time, as a share."""
OPTIMISM = 0.5
"""Standard deviations by which a candidate is expected to be better than the model's mean: what is unknown is tried."""


class Judge:
    """Judges trials and candidates.

    Args:
        space: The space.
        limits: Limits on cost.
        objectives: The first is the quality.
        trials: All trials of the study; grows while the search goes on.
        scores: Values of proxies by architecture hash; grows too.
        proxies: Names of the proxies that the model sees.
        modelled: Whether there is a model at all.
        seed: Of the draw that scales the features.
    """

    def __init__(
        self,
        space: SearchSpace,
        limits: Limits,
        objectives: Sequence[Objective],
        trials: Sequence[Trial],
        *,
        scores: Mapping[str, Mapping[str, float | None]],
        proxies: Sequence[str],
        modelled: bool,
        seed: int,
    ) -> None:
        self._space, self._limits, self._objectives, self._trials = space, limits, objectives, trials
        self._scores, self._proxies = scores, proxies
        self._modelled = modelled
        self._rng = random.Random(seed)
        self._features = Features(space)
        self._reference: Array | None = None
        self._model: SpaceModel | None = None
        self._fitted = 0
        self._labels: dict[str, tuple[Label, tuple[State, int]]] = {}

    @property
    def knows(self) -> bool:
        """Whether there is a model to judge candidates by."""
        self._fit()
        return self._model is not None

    def at_rung(self, trials: Sequence[Trial], epoch: int) -> list[float]:
        """Merits of trials that have reached a rung, less is better."""
        losses = [trial.losses[epoch] for trial in trials]
        if self.knows:
            losses = self._expected(trials)
        if len(self._objectives) == 1:
            return losses
        points = [
            (loss, *(objective.loss(trial.figures) for objective in self._objectives[1:]))
            for loss, trial in zip(losses, trials, strict=True)
        ]
        return [float(place) for place in _places(points)]

    def best(self, trials: Sequence[Trial], count: int) -> list[Trial]:
        """The most promising trials, those that wait included."""
        known = [trial for trial in trials if trial.losses]
        return sorted(known, key=dict(zip(known, self._expected(known), strict=True)).__getitem__)[:count]

    def rank(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Candidates by promise, the best first; needs a model. With several objectives, by a random trade-off."""
        assert self._model is not None
        vectors = np.array([self._vector(candidate.architecture) for candidate in candidates])
        means, spreads = self._model.predict(vectors)
        promise = means - OPTIMISM * spreads
        if len(self._objectives) > 1:
            promise = self._scalarised(promise, [candidate.architecture for candidate in candidates])
        return [candidates[index] for index in np.argsort(promise, kind="stable")]

    # Inside.

    def _expected(self, trials: Sequence[Trial]) -> list[float]:
        """The loss that each trial is expected to end with, in the units of the model if there is one."""
        self._fit()
        if self._model is None:
            return [trial.losses[trial.epoch] for trial in trials]
        labels = [self._label(trial) for trial in trials]
        return self._model.judge(labels).tolist() if labels else []

    def _fit(self) -> None:
        if not self._modelled:
            return
        known = [trial for trial in self._trials if trial.losses or trial.cause in INFEASIBLE_CAUSES]
        size = sum(trial.epoch for trial in known)  # a trial that has gone on tells more
        if len(known) < MIN_LABELS or size < (1 + REFIT) * self._fitted:
            return
        self._fitted = size
        if self._reference is None:
            draws = [self._space.sample(self._rng, self._limits) for _ in range(REFERENCE)]
            self._reference = np.array([self._features(draw) for draw in draws])
        self._model = SpaceModel([self._label(trial) for trial in known], self._reference)

    def _label(self, trial: Trial) -> Label:
        label, seen = self._labels.get(trial.key, (None, None))
        if label is None or seen != (trial.state, trial.epoch):
            infeasible = trial.cause in INFEASIBLE_CAUSES
            curve = {} if infeasible else {epoch: self._log(loss) for epoch, loss in trial.losses.items()}
            vector, complete = self._vector(trial.architecture), trial.state == State.COMPLETE
            label = Label(trial.key, vector, curve, trial.family, complete)
            self._labels[trial.key] = label, (trial.state, trial.epoch)
        return label

    def _vector(self, architecture: Architecture) -> Vector:
        return self._features(architecture)

    def _log(self, loss: float) -> float:
        """The loss where differences of good models count as much as those of bad ones: NLL and error as logarithms."""
        least = 0.0 if self._objectives[0].direction == "minimize" else -1.0
        return math.log(max(loss - least, 1e-3))

    def _scalarised(self, quality: Array, architectures: Sequence[Architecture]) -> Array:
        """One number for all objectives: the largest of them, each with a random weight.

        ParEGO's augmented Chebyshev function (https://doi.org/10.1109/TEVC.2005.851274); every call draws another
        trade-off. Parameters and MACs are exact. Latency is taken to follow the MACs until it is measured.
        """
        columns = [quality]
        for objective in self._objectives[1:]:
            if objective.is_quality:  # the model knows one quality, and the others go with it
                continue
            cost = [getattr(architecture.deployed.cost, _COST[objective.name]) for architecture in architectures]
            columns.append(np.log(np.array(cost, dtype=float)))
        table = np.stack(columns, axis=1)
        low, high = table.min(axis=0), table.max(axis=0)
        table = (table - low) / np.where(high > low, high - low, 1.0)
        draws = [self._rng.expovariate(1.0) for _ in columns]
        weighted = table * (np.array(draws) / sum(draws))
        scalar: Array = weighted.max(axis=1) + 0.05 * weighted.sum(axis=1)
        return scalar


_COST = {"params": "params", "macs": "macs", "latency": "macs"}


def _places(points: Sequence[Sequence[float]]) -> list[int]:
    """The places of points: fewer dominating ones first, then the first coordinate."""
    ranks = [(sum(dominates(other, point) for other in points), point[0]) for point in points]
    order = sorted(range(len(points)), key=lambda index: ranks[index])
    places = [0] * len(points)
    for place, index in enumerate(order):
        places[index] = place
    return places

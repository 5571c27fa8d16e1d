"""A model of the space, fitted to what a study has seen: how low will the loss of an architecture end?

A Gaussian process over `nas.features`. Its labels are log losses at the end of the training; for a trial that waits at
a rung that end is extrapolated, by as much as trials of its token mixer have gained from there, and the label counts
less. To the model, trainings of a quarter of the length are nearly worth as much as full ones.

Its hyperparameters are fixed: with a few dozen labels, fitting them gains nothing and now and then loses everything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sklearn.gaussian_process import GaussianProcessRegressor

Array = NDArray[np.float64]

MIN_LABELS = 6
"""Fewer than this predict nothing."""
NOISE = 0.15
"""Variance of a full training between seeds, as a share of the variance of all labels."""
PARTIAL_NOISE = 0.3
"""The same for a training that waits at its first rung."""
TRUST = 4.0
"""So many trials of a mixer have to have gone on from a rung before half of their own gain counts, not everybody's."""


@dataclass(frozen=True)
class Label:
    """What is known of one architecture.

    Attributes:
        key: Tells it from others.
        vector: Its features.
        curve: Log loss by epoch, as far as it was trained; empty if it cannot be trained at all.
        mixer: Its token mixer, by which learning curves differ.
        complete: Whether the curve is that of a full training.
    """

    key: str
    vector: Array
    curve: Mapping[int, float]
    mixer: str
    complete: bool


class Gains:
    """How much the log loss still falls from an epoch to the end of the training, by mixer.

    Mixers learn at different speeds: comparing them in the middle favours the fast ones. The mean gain of a mixer is
    shrunk towards that of all trials, the more so the fewer curves there are.

    Args:
        labels: Complete ones count.
    """

    def __init__(self, labels: Sequence[Label]) -> None:
        self._complete = [label for label in labels if label.complete]
        self._known: dict[int, tuple[float, dict[str, float]]] = {}

    def __call__(self, mixer: str, epoch: int) -> float:
        """The expected change of the log loss of a mixer from the end of `epoch` to the end of the training."""
        if epoch not in self._known:
            self._known[epoch] = self._at(epoch)
        overall, own = self._known[epoch]
        return own.get(mixer, overall)

    def _at(self, epoch: int) -> tuple[float, dict[str, float]]:
        changes: dict[str, list[float]] = {}
        for label in self._complete:
            if epoch in label.curve:
                changes.setdefault(label.mixer, []).append(label.curve[max(label.curve)] - label.curve[epoch])
        everybody = [change for own in changes.values() for change in own]
        overall = fmean(everybody) if everybody else 0.0
        return overall, {
            mixer: overall + (fmean(own) - overall) * len(own) / (len(own) + TRUST) for mixer, own in changes.items()
        }


class SpaceModel:
    """The fitted model.

    Args:
        labels: What is known; at least `MIN_LABELS`.
        reference: Vectors that say how features vary in the space, of shape [n, d].
    """

    def __init__(self, labels: Sequence[Label], reference: Array) -> None:
        self._centre = reference.mean(axis=0)
        spread = reference.std(axis=0)
        self._used = spread > 0
        self._spread = spread[self._used]
        self._gains = Gains(labels)
        known = [_end(label, self._gains) for label in labels]
        worst = max((end for end in known if end is not None), default=0.0)
        ends = np.array([worst if end is None else end for end in known])
        self._worst, self._variance = worst, float(ends.var()) or 1.0
        self._fitted = {(label.key, len(label.curve)) for label in labels}
        noise = np.array([_noise(label) for label in labels])
        self._regressor = _regressor(int(self._used.sum()), noise)
        self._regressor.fit(self._scaled(np.array([label.vector for label in labels])), ends)

    def predict(self, vectors: Array) -> tuple[Array, Array]:
        """The log loss at the end of a full training, for vectors of shape [n, d]: means and standard deviations."""
        means, spreads = self._regressor.predict(self._scaled(vectors), return_std=True)
        return means, spreads

    def judge(self, labels: Sequence[Label]) -> Array:
        """The log loss that labelled architectures end with: what the model expects of them and what was seen of them.

        A label that the model has not been fitted to is weighed against it by precision: the same as fitting it too.

        Returns:
            Means of shape [n].
        """
        means, spreads = self.predict(np.array([label.vector for label in labels]))
        ends = np.array([self._worst if (end := _end(label, self._gains)) is None else end for label in labels])
        noise = np.array([_noise(label) for label in labels]) * self._variance
        new = np.array([(label.key, len(label.curve)) not in self._fitted for label in labels])
        weight = new * spreads**2 / (spreads**2 + noise)
        judged: Array = means + weight * (ends - means)
        return judged

    def _scaled(self, vectors: Array) -> Array:
        scaled: Array = (vectors - self._centre)[:, self._used] / self._spread
        return scaled


def _end(label: Label, gains: Gains) -> float | None:
    if not label.curve:
        return None
    last = max(label.curve)
    return label.curve[last] if label.complete else label.curve[last] + gains(label.mixer, last)


def _noise(label: Label) -> float:
    return NOISE if label.complete or not label.curve else PARTIAL_NOISE


def _regressor(dimensions: int, noise: Array) -> GaussianProcessRegressor:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF

    # In units of the features' spread, two random architectures are sqrt(2 d) apart.
    return GaussianProcessRegressor(
        RBF(1.8 * math.sqrt(max(1, dimensions))), alpha=noise, optimizer=None, normalize_y=True
    )

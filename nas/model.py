"""A model of the space, fitted to what a study has seen: how low will the loss of an architecture end?

A Gaussian process over `nas.features`, with the ends of `nas.evidence` as labels. To the model, a few dozen trainings
of a quarter of the length are nearly worth as many full ones. It is for architectures that have not been trained; what
has been trained is known better by its own curve than by its likes.

Its hyperparameters are fixed: with a few dozen labels, fitting them gains nothing and now and then loses everything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sklearn.gaussian_process import GaussianProcessRegressor

Array = NDArray[np.float64]

MIN_LABELS = 6
"""Fewer than this predict nothing."""
NOISE = 0.15
"""Variance of the label of a full training, as a share of the variance of all labels."""
PARTIAL_NOISE = 0.3
"""The same for a training that waits at a rung."""
CLOCK_NOISE = 0.05
"""Variance of the log seconds of an epoch, as a share of their variance over the labels."""
LENGTH = 3.0
"""Length scale over the square root of the number of features: two random architectures are 1.4 apart."""
CAP = 2.5
"""A label farther above the median than the best one is below it, this many times, counts as just so far above it: how
bad a bad architecture is tells nothing about good ones."""
SUPPORT = 20.0
"""So many labels have to support a proxy before half of its effect counts."""


@dataclass(frozen=True)
class Label:
    """What is known of one architecture.

    Attributes:
        vector: Its features, of shape [d].
        proxies: What proxies say of it, of shape [p]; NaN where they say nothing.
        end: Log loss at the end of its training; None if it cannot be trained, which counts as the worst.
        complete: Whether that was seen, not extrapolated.
        seconds: Of one epoch; 0 if that is not known.
    """

    vector: Array
    proxies: Array
    end: float | None
    complete: bool
    seconds: float = 0.0


class SpaceModel:
    """The fitted model.

    Proxies enter as the mean of the process, by ridge regression: their effect is what the labels support, shrunk
    towards none while there are few.

    Args:
        labels: What is known; at least `MIN_LABELS`.
        reference: Vectors that say how features vary in the space, of shape [n, d].
    """

    def __init__(self, labels: Sequence[Label], reference: Array) -> None:
        self._centre, spread = reference.mean(axis=0), reference.std(axis=0)
        self._used = spread > 0
        self._spread = spread[self._used]
        ends = _capped([label.end for label in labels])
        noise = np.array([NOISE if label.complete or label.end is None else PARTIAL_NOISE for label in labels])
        self._mean = _Ridge(np.array([label.proxies for label in labels]), ends)
        self._regressor = _regressor(int(self._used.sum()), noise)
        self._regressor.fit(self._scaled(np.array([label.vector for label in labels])), ends - self._mean.fitted)
        self._clock: GaussianProcessRegressor | None = None
        timed = [label for label in labels if label.seconds > 0]
        if len(timed) >= MIN_LABELS:
            self._clock = _regressor(int(self._used.sum()), np.full(len(timed), CLOCK_NOISE))
            self._clock.fit(self._scaled(np.array([label.vector for label in timed])), _log_seconds(timed))

    def predict(self, vectors: Array, proxies: Array) -> tuple[Array, Array]:
        """The log loss at the end of a full training.

        Args:
            vectors: Of shape [n, d].
            proxies: Of shape [n, p].

        Returns:
            Means and standard deviations, of shape [n].
        """
        means, spreads = self._regressor.predict(self._scaled(vectors), return_std=True)
        return means + self._mean(proxies), spreads

    def slowness(self, vectors: Array) -> Array:
        """Log seconds of an epoch, of shape [n], for vectors of shape [n, d]; 0 if nothing has been timed."""
        if self._clock is None:
            return np.zeros(len(vectors))
        logs: Array = self._clock.predict(self._scaled(vectors))
        return logs

    def _scaled(self, vectors: Array) -> Array:
        scaled: Array = (vectors - self._centre)[:, self._used] / self._spread
        return scaled


def _capped(ends: Sequence[float | None]) -> Array:
    """The ends with the worst drawn in to the cap; those that are None, as nothing could be trained, are the worst."""
    known = np.array([end for end in ends if end is not None])
    if not known.size:
        return np.zeros(len(ends))
    middle, best = float(np.median(known)), float(known.min())
    cap = min(float(known.max()), middle + CAP * (middle - best)) if middle > best else float(known.max())
    return np.array([cap if end is None else min(end, cap) for end in ends])


def _log_seconds(labels: Sequence[Label]) -> Array:
    return np.log([label.seconds for label in labels])


class _Ridge:
    """Ridge regression on standardised proxies; those that are missing count as average."""

    def __init__(self, proxies: Array, ends: Array) -> None:
        known = np.where(np.isfinite(proxies), proxies, np.nan)
        there = np.isfinite(known)
        count = np.maximum(there.sum(axis=0), 1)
        self._centre = np.where(there, known, 0.0).sum(axis=0) / count
        variance = (np.where(there, known - self._centre, 0.0) ** 2).sum(axis=0) / count
        self._spread = np.where(variance > 0, np.sqrt(variance), np.inf)
        table = self._table(proxies)
        gram = table.T @ table + SUPPORT * np.eye(table.shape[1])
        self._weights = np.linalg.solve(gram, table.T @ (ends - ends.mean()))
        self.fitted: Array = table @ self._weights

    def __call__(self, proxies: Array) -> Array:
        effect: Array = self._table(proxies) @ self._weights
        return effect

    def _table(self, proxies: Array) -> Array:
        table: Array = np.where(np.isfinite(proxies), (proxies - self._centre) / self._spread, 0.0)
        return np.clip(table, -3.0, 3.0)


def _regressor(dimensions: int, noise: Array) -> GaussianProcessRegressor:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF

    length = LENGTH * math.sqrt(max(1, dimensions))
    return GaussianProcessRegressor(RBF(length), alpha=noise, optimizer=None, normalize_y=True)

"""A model of the space, fitted to what a study has seen: how low will the loss of an architecture end?

A Gaussian process over `nas.strategy.features`, with the ends of `nas.strategy.curves` as labels. To the model, a few
dozen trainings of a quarter of the length are nearly worth as many full ones. It is for architectures
that have not been trained; what has been trained is known better by its own curve than by its likes.

Its hyperparameters are fixed: with a few dozen labels, fitting them gains nothing and now and then loses everything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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


class Surrogate:
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
        self._length = LENGTH * math.sqrt(max(1, int(self._used.sum())))
        self._points = self._scaled(np.array([label.vector for label in labels]))
        self._rows: dict[bytes, Array] = {}
        kernel = self._kernel(self._points)
        self._regressor = _Process(kernel, noise, ends - self._mean.fitted)
        self._clock: _Process | None = None
        seconds = np.array([label.seconds for label in labels])
        self._timed = np.flatnonzero(seconds > 0)
        if len(self._timed) >= MIN_LABELS:
            noise = np.full(len(self._timed), CLOCK_NOISE)
            timed = kernel[np.ix_(self._timed, self._timed)]
            self._clock = _Process(timed, noise, np.log(seconds[self._timed]))

    def predict(self, vectors: Array, proxies: Array) -> tuple[Array, Array]:
        """The log loss at the end of a full training.

        Args:
            vectors: Of shape [n, d].
            proxies: Of shape [n, p].

        Returns:
            Means and standard deviations, of shape [n].
        """
        kernel = self._kernels(vectors)
        return self._regressor.means(kernel) + self._mean(proxies), self._regressor.stds(kernel)

    def slowness(self, vectors: Array) -> Array:
        """Log seconds of an epoch, of shape [n], for vectors of shape [n, d]; 0 if nothing has been timed."""
        if self._clock is None:
            return np.zeros(len(vectors))
        return self._clock.means(np.ascontiguousarray(self._kernels(vectors)[:, self._timed]))

    def _kernels(self, vectors: Array) -> Array:
        """The kernel between vectors, of shape [n, d], and the labels; most have been asked for just before."""
        keys = [vector.tobytes() for vector in vectors]
        new = {key: index for index, key in enumerate(keys) if key not in self._rows}
        if new:
            self._rows.update(zip(new, self._kernel(self._scaled(vectors[list(new.values())])), strict=True))
        self._rows = {key: self._rows[key] for key in keys}
        return np.stack([self._rows[key] for key in keys])

    def _kernel(self, points: Array) -> Array:
        from scipy.spatial.distance import cdist

        kernel: Array = np.exp(-0.5 * cdist(points / self._length, self._points / self._length, "sqeuclidean"))
        return kernel

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


class _Process:
    """A Gaussian process whose kernel is known already, so that two processes and many questions can share it.

    Args:
        likeness: The kernel between the labels, of shape [n, n].
        noise: Their variances, as a share of that of all values.
        values: The labels, of shape [n].
    """

    def __init__(self, kernel: Array, noise: Array, values: Array) -> None:
        from scipy.linalg import cho_solve, cholesky

        self._level, self._scale = np.mean(values), np.std(values) or 1.0
        self._lower = cholesky(kernel + np.diag(noise), lower=True, check_finite=False)
        self._weights = cho_solve((self._lower, True), (values - self._level) / self._scale, check_finite=False)

    def means(self, kernel: Array) -> Array:
        """The values to be expected, of shape [m], by the kernel of shape [m, n]."""
        means: Array = self._scale * (kernel @ self._weights) + self._level
        return means

    def stds(self, kernel: Array) -> Array:
        """Their standard deviations, of shape [m]."""
        from scipy.linalg import solve_triangular

        known = solve_triangular(self._lower, kernel.T, lower=True, check_finite=False)
        left = 1.0 - np.einsum("ij,ji->i", known.T, known)
        stds: Array = np.sqrt(np.maximum(left, 0.0) * self._scale**2)
        return stds

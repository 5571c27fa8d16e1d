"""The surrogate: predicts the final loss of untrained architectures from the study's own trials.

A Gaussian process over `nas.strategy.features`, whose labels are the final losses that `nas.strategy.curves` reads or
extrapolates. Partial trainings are noisier labels than full ones. For an architecture that has been trained, its own
curve says more than its neighbours.

The hyperparameters are fixed. From 40 labels of the benchmark's tables (digits 200k, digits 700k, Fashion-MNIST 600k),
Kendall's tau for new architectures is 0.46, 0.54 and 0.65 with this process, 0.45, 0.54 and 0.65 with one that
maximises its marginal likelihood, and 0.40, 0.47 and 0.62 with a random forest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MIN_LABELS = 6
"""Minimum number of labels to fit it to. Arbitrary."""
NOISE = 0.15
"""Variance of the label of a full training, as a share of the variance of all labels. Arbitrary."""
PARTIAL_NOISE = 0.3
"""The same for a trial that waits at a rung. Arbitrary: twice as much."""
SECONDS_NOISE = 0.05
"""Variance of the log seconds of an epoch, as a share of their variance over the labels. Arbitrary."""
LENGTH_SCALE = 3.0
"""Length scale divided by the square root of the number of features; in these units two random architectures are 1.4
apart. Arbitrary: long, so that a few dozen labels cover the space."""
CAP = 2.5
"""Labels are capped at the median plus this many times the distance from the best label to the median: how bad a bad
architecture is says nothing about good ones. Arbitrary."""
RIDGE = 20.0
"""Ridge penalty on the effects of proxies, as a pseudo-count of labels. Arbitrary: large, because a proxy that ranks
well on one data set may mislead on another (`nas proxies`)."""


@dataclass(frozen=True)
class Label:
    """What is known about one architecture.

    Attributes:
        features: The architecture's features, of shape [d].
        proxies: Values of proxies, of shape [p]; NaN if missing.
        loss: Log loss at the end of its training; None if it cannot be trained, which counts as the worst.
        is_complete: Whether the loss was observed, not extrapolated.
        seconds: Seconds of one epoch; 0 if they are not known.
    """

    features: Array
    proxies: Array
    loss: float | None
    is_complete: bool
    seconds: float = 0.0


class Surrogate:
    """A Gaussian process with a squared-exponential kernel (https://gaussianprocess.org/gpml/, chapter 2), fitted.

    Its mean function is a ridge regression on the proxies: their effect is estimated from the labels, shrunk towards
    zero while there are few. A second process with the same kernel predicts how long an epoch takes.

    Args:
        labels: At least `MIN_LABELS` labels.
        reference: Features of random architectures, for their mean and variance over the space, of shape [n, d].
    """

    def __init__(self, labels: Sequence[Label], reference: Array) -> None:
        self._centre, std = reference.mean(axis=0), reference.std(axis=0)
        self._used = std > 0
        self._std = std[self._used]
        losses = _capped([label.loss for label in labels])
        noise = np.array([NOISE if label.is_complete or label.loss is None else PARTIAL_NOISE for label in labels])
        self._mean = _Ridge(np.array([label.proxies for label in labels]), losses)
        self._length_scale = LENGTH_SCALE * math.sqrt(max(1, int(self._used.sum())))
        self._points = self._scaled(np.array([label.features for label in labels]))
        self._rows: dict[bytes, Array] = {}
        kernel = self._kernel(self._points)
        self._loss_process = _GaussianProcess(kernel, noise, losses - self._mean.fitted)
        self._seconds_process: _GaussianProcess | None = None
        seconds = np.array([label.seconds for label in labels])
        self._timed = np.flatnonzero(seconds > 0)
        if len(self._timed) >= MIN_LABELS:
            noise = np.full(len(self._timed), SECONDS_NOISE)
            timed = kernel[np.ix_(self._timed, self._timed)]
            self._seconds_process = _GaussianProcess(timed, noise, np.log(seconds[self._timed]))

    def predict(self, features: Array, proxies: Array) -> tuple[Array, Array]:
        """Predict the log loss at the end of a full training.

        Args:
            features: Features of architectures, of shape [n, d].
            proxies: The values of their proxies, of shape [n, p].

        Returns:
            Means and standard deviations, of shape [n].
        """
        kernel = self._kernel_rows(features)
        return self._loss_process.means(kernel) + self._mean(proxies), self._loss_process.stds(kernel)

    def log_seconds(self, features: Array) -> Array:
        """Log seconds of an epoch, of shape [n], for features of shape [n, d]; 0 if too few trials were timed."""
        if self._seconds_process is None:
            return np.zeros(len(features))
        return self._seconds_process.means(np.ascontiguousarray(self._kernel_rows(features)[:, self._timed]))

    def _kernel_rows(self, features: Array) -> Array:
        """The kernel between features, of shape [n, d], and the labels; the rows of the last call are cached."""
        keys = [row.tobytes() for row in features]
        new = {key: index for index, key in enumerate(keys) if key not in self._rows}
        if new:
            self._rows.update(zip(new, self._kernel(self._scaled(features[list(new.values())])), strict=True))
        self._rows = {key: self._rows[key] for key in keys}
        return np.stack([self._rows[key] for key in keys])

    def _kernel(self, points: Array) -> Array:
        from scipy.spatial.distance import cdist

        kernel: Array = np.exp(
            -0.5 * cdist(points / self._length_scale, self._points / self._length_scale, "sqeuclidean")
        )
        return kernel

    def _scaled(self, features: Array) -> Array:
        scaled: Array = (features - self._centre)[:, self._used] / self._std
        return scaled


def _capped(losses: Sequence[float | None]) -> Array:
    """The losses, capped; None, for an architecture that cannot be trained, becomes the worst of them."""
    known = np.array([loss for loss in losses if loss is not None])
    if not known.size:
        return np.zeros(len(losses))
    middle, best = float(np.median(known)), float(known.min())
    cap = min(float(known.max()), middle + CAP * (middle - best)) if middle > best else float(known.max())
    return np.array([cap if loss is None else min(loss, cap) for loss in losses])


class _Ridge:
    """Ridge regression on standardised proxies, clipped at three standard deviations; a missing value is average."""

    def __init__(self, proxies: Array, losses: Array) -> None:
        known = np.where(np.isfinite(proxies), proxies, np.nan)
        there = np.isfinite(known)
        count = np.maximum(there.sum(axis=0), 1)
        self._centre = np.where(there, known, 0.0).sum(axis=0) / count
        variance = (np.where(there, known - self._centre, 0.0) ** 2).sum(axis=0) / count
        self._std = np.where(variance > 0, np.sqrt(variance), np.inf)
        table = self._table(proxies)
        gram = table.T @ table + RIDGE * np.eye(table.shape[1])
        self._weights = np.linalg.solve(gram, table.T @ (losses - losses.mean()))
        self.fitted: Array = table @ self._weights

    def __call__(self, proxies: Array) -> Array:
        effect: Array = self._table(proxies) @ self._weights
        return effect

    def _table(self, proxies: Array) -> Array:
        table: Array = np.where(np.isfinite(proxies), (proxies - self._centre) / self._std, 0.0)
        return np.clip(table, -3.0, 3.0)


class _GaussianProcess:
    """A Gaussian process over a kernel that is computed outside, so that two processes share it.

    Args:
        kernel: The kernel between the labels, of shape [n, n].
        noise: The labels' variances, of shape [n], as a share of the variance of all values.
        values: The labels, of shape [n].
    """

    def __init__(self, kernel: Array, noise: Array, values: Array) -> None:
        from scipy.linalg import cho_solve, cholesky

        self._level, self._scale = np.mean(values), np.std(values) or 1.0
        self._lower = cholesky(kernel + np.diag(noise), lower=True, check_finite=False)
        self._weights = cho_solve((self._lower, True), (values - self._level) / self._scale, check_finite=False)

    def means(self, kernel: Array) -> Array:
        """Posterior means, of shape [m], from a kernel of shape [m, n]."""
        means: Array = self._scale * (kernel @ self._weights) + self._level
        return means

    def stds(self, kernel: Array) -> Array:
        """Posterior standard deviations, of shape [m], from a kernel of shape [m, n]."""
        from scipy.linalg import solve_triangular

        explained = solve_triangular(self._lower, kernel.T, lower=True, check_finite=False)
        left = 1.0 - np.einsum("ij,ji->i", explained.T, explained)
        stds: Array = np.sqrt(np.maximum(left, 0.0) * self._scale**2)
        return stds

"""Means over runs, with intervals that account for the draw of runs and of architectures.

Runs over one pool differ by chance alone; the architectures of a benchmark are a sample, too. So runs are repeated over
smaller pools, each a bootstrap sample of the architectures of the band (drawn with repeats, kept once), the same pools
for all strategies. The variance between pools, beyond what the few runs over each of them explain, is the error due to
the choice of architectures; the variance of runs divided by their number is the error due to chance.

Shapes: R runs over the whole band, P pools with K runs each, B budgets, D figures of one run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NORMAL_95 = 1.96
"""Standard errors on either side of a mean in a 95 % interval of a normal distribution."""
DRAWS = 2000
"""Number of curves and targets that are drawn within their errors. Arbitrary."""


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval.

    Attributes:
        mean: The figure.
        low: Lower end.
        high: Upper end.
    """

    mean: float
    low: float
    high: float

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Reached:
    """The compute at which a quality is reached, in FTE, and its 95 % interval.

    Attributes:
        value: None if it is not reached within the largest budget.
        low: Lower end; None likewise.
        high: Upper end; None likewise.
    """

    value: float | None
    low: float | None
    high: float | None

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def error_covariance(runs: Floats, pools: Floats) -> Floats:
    """The covariance of the error of the mean over runs, of shape [D, D].

    A random-effects model: between-pool covariance by analysis of variance (its negative part is cut off), plus the
    covariance of runs divided by R.

    Args:
        runs: Figures of the runs over the whole band, of shape [R, D].
        pools: Figures of the runs over the resampled pools, of shape [P, K, D].
    """
    count, repeats, size = pools.shape
    chance = _covariance(runs)
    within = chance  # with one run in each pool, only the runs over the whole band show chance
    if repeats > 1:
        within = np.mean([_covariance(pool) for pool in pools], axis=0)
    between = _covariance(pools.mean(axis=1)) - within / repeats if count > 1 else np.zeros((size, size))
    values, vectors = np.linalg.eigh(between)
    between = (vectors * np.maximum(values, 0.0)) @ vectors.T
    covariance: Floats = between + chance / len(runs)
    return covariance


def estimate(runs: Floats, pools: Floats) -> Estimate:
    """The mean over runs, with an interval of 1.96 standard errors on either side.

    Args:
        runs: A figure of each run over the whole band, of shape [R].
        pools: The same for the runs over the resampled pools, of shape [P, K].
    """
    center = float(runs.mean())
    error = math.sqrt(error_covariance(runs[:, None], pools[:, :, None])[0, 0])
    return Estimate(center, center - NORMAL_95 * error, center + NORMAL_95 * error)


def first_reached(curve: Sequence[float] | Floats, budgets: Sequence[float], target: float) -> float:
    """The budget where a curve first falls to a target, interpolated linearly in log2; infinity if it never does.

    Args:
        curve: Less is better; a value for each budget.
        budgets: Ascending.
        target: The value to reach.
    """
    for index, (value, budget) in enumerate(zip(curve, budgets, strict=True)):
        if value <= target:
            if index == 0:
                return float(budget)
            before = curve[index - 1]
            share = (before - target) / (before - value)
            low, high = math.log2(budgets[index - 1]), math.log2(budget)
            return float(2 ** (low + share * (high - low)))
    return math.inf


def reached(runs: Floats, pools: Floats, budgets: Sequence[float], seed: int = 0) -> Reached:
    """The compute at which the mean quality falls to a target, which has a mean and an error of its own.

    The interval comes from curves and targets that are drawn from a normal distribution with the covariance of their
    errors, and evaluated in the same way.

    Args:
        runs: Quality by budget of each run over the whole band and, last, the target paired with it: [R, B + 1].
            Less is better.
        pools: The same for the runs over the resampled pools, of shape [P, K, B + 1].
        budgets: In FTE, ascending.
        seed: Seed of the draws.
    """
    means = runs.mean(axis=0)
    draws = np.random.default_rng(seed).multivariate_normal(
        means, error_covariance(runs, pools), size=DRAWS, check_valid="ignore"
    )
    found = np.sort([first_reached(draw[:-1], budgets, draw[-1]) for draw in draws])
    low, high = found[round(0.025 * (DRAWS - 1))], found[round(0.975 * (DRAWS - 1))]
    value = first_reached(means[:-1], budgets, means[-1])
    return Reached(_finite(value), _finite(low), _finite(high))


def area(curves: Floats, budgets: Sequence[float]) -> Floats:
    """The area under curves of shape [..., budgets] over log2 of the budget, by the trapezoidal rule."""
    octaves = np.diff(np.log2(np.asarray(budgets, dtype=float)))
    found: Floats = ((curves[..., 1:] + curves[..., :-1]) / 2) @ octaves
    return found


def _covariance(samples: Floats) -> Floats:
    """The covariance, of shape [D, D], of samples of shape [n, D]; zero for a single sample."""
    size = samples.shape[1]
    if len(samples) < 2:
        return np.zeros((size, size))
    return np.asarray(np.cov(samples, rowvar=False), dtype=np.float64).reshape(size, size)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None

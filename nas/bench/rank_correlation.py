"""Kendall's rank correlation within groups of comparable items, with bootstrap intervals.

Among architectures of all sizes, size decides, so a correlation over all of them says little about a proxy. Items are
therefore compared within their stratum (a band of equal size), and the taus of strata are averaged.

A resample of a stratum is a vector of counts, and tau-b of a resample a quotient of quadratic forms in it, since two
copies of one item are tied in everything; so all resamples are two matrix products.

n items of a stratum, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

RESAMPLES = 1000
LEVEL = 0.95
"""Share of the resamples within an interval."""
FEWEST = 10
"""Minimum number of items for a tau; with fewer, it says nothing. Arbitrary."""


@dataclass(frozen=True)
class Tau:
    """Kendall's tau-b, averaged over strata.

    Attributes:
        tau: -1 to 1; None with fewer than `FEWEST` items, or if all are tied.
        low: Lower end of its percentile bootstrap interval over the items, of level `LEVEL`; None without a tau.
        high: Upper end.
        n: Items that took part.
    """

    tau: float | None
    low: float | None
    high: float | None
    n: int


def rank_correlation(left: Vector, right: Vector, strata: Sequence[Sequence[int]], seed: int = 0) -> Tau:
    """Mean tau-b within the strata, each weighted by its number of pairs of items.

    Args:
        left: (items,) values; NaN leaves out the item.
        right: (items,) the values to compare with; NaN likewise.
        strata: The items of every stratum.
        seed: Seed of the resamples, which are drawn within each stratum.
    """
    known = np.isfinite(left) & np.isfinite(right)
    groups = [[item for item in stratum if known[item]] for stratum in strata]
    groups = [group for group in groups if len(group) > 1]
    n, rng = sum(map(len, groups)), np.random.default_rng(seed)
    if n < FEWEST:
        return Tau(None, None, None, n)
    pairs = np.array([math.comb(len(group), 2) for group in groups], dtype=np.float64)
    once, resampled = [], []
    for group in groups:
        signs = pair_signs(left[group]), pair_signs(right[group])
        size = len(group)
        once.append(tau_b(*signs, np.ones((1, size))))
        resampled.append(tau_b(*signs, rng.multinomial(size, [1 / size] * size, RESAMPLES).astype(np.float64)))
    tau, spread = _average(np.stack(once), pairs)[0], _average(np.stack(resampled), pairs)
    spread = spread[np.isfinite(spread)]
    if not (math.isfinite(tau) and len(spread)):
        return Tau(None, None, None, n)
    low, high = np.quantile(spread, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Tau(float(tau), float(low), float(high), n)


def pair_signs(values: Vector) -> Vector:
    """Which of two items is larger: (n,) -> (n, n) of -1, 0 (tied), 1."""
    signs: Vector = np.sign(values[:, None] - values[None, :])
    return signs


def tau_b(left: Vector, right: Vector, counts: Vector) -> Vector:
    """Kendall's tau-b (https://doi.org/10.1093/biomet/33.3.239) of items that occur several times or not at all.

    Args:
        left: (n, n) from `pair_signs`.
        right: Likewise.
        counts: (R, n), how often each item occurs.

    Returns:
        (R,), NaN if all items are tied.
    """

    def total(pairs: Vector) -> Vector:
        sums: Vector = ((counts @ pairs) * counts).sum(axis=1)
        return sums

    return _quotient(total(left * right), np.sqrt(total(np.abs(left)) * total(np.abs(right))))


def _average(taus: Vector, weights: Vector) -> Vector:
    """Mean over the strata that have a tau: (strata, R) -> (R,), NaN if none has one."""
    there = np.isfinite(taus)
    weight = (weights[:, None] * there).sum(axis=0)
    return _quotient((weights[:, None] * np.where(there, taus, 0.0)).sum(axis=0), weight)


def _quotient(above: Vector, below: Vector) -> Vector:
    """`above / below`, NaN if `below` is 0."""
    quotient = np.full_like(above, np.nan)
    np.divide(above, below, out=quotient, where=below > 0)
    return quotient

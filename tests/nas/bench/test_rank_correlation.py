"""Rank correlations, against lists worked by hand and against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import kendalltau

from nas.bench.rank_correlation import FEWEST, pair_signs, rank_correlation, tau_b


def plain(left, right, counts=None):
    signs = (pair_signs(np.array(values, dtype=float)) for values in (left, right))
    return tau_b(*signs, np.array([counts or [1] * len(left)], dtype=float))[0]


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ([1, 2, 3], [10, 20, 30], 1.0),
        ([1, 2, 3], [30, 20, 10], -1.0),
        ([1, 2, 3, 4], [1, 2, 4, 3], 4 / 6),  # five pairs agree, one does not
        ([1, 1, 2], [1, 2, 3], 2 / math.sqrt(2 * 3)),  # one pair tied on the left
        ([1, 1, 2, 2], [1, 2, 1, 2], 0.0),
    ],
)
def test_tau_by_hand(left, right, expected):
    assert plain(left, right) == pytest.approx(expected)


def test_all_tied_has_no_tau():
    assert math.isnan(plain([1, 1, 1], [1, 2, 3]))


def test_tau_of_a_resample_is_scipys_of_the_items_repeated():
    rng = np.random.default_rng(7)
    left, right = rng.integers(0, 6, 20).astype(float), rng.integers(0, 6, 20).astype(float)
    for _ in range(20):
        drawn = rng.integers(0, 20, 20)
        counts = np.bincount(drawn, minlength=20).tolist()
        assert plain(left, right, counts) == pytest.approx(kendalltau(left[drawn], right[drawn]).statistic)


def test_one_stratum_is_plain_tau_with_an_interval_around_it():
    rng = np.random.default_rng(0)
    left = rng.normal(size=40)
    right = left + rng.normal(size=40)
    found = rank_correlation(left, right, [range(40)])
    assert found.tau == pytest.approx(kendalltau(left, right).statistic)
    assert found.n == 40
    assert -1 <= found.low < found.tau < found.high <= 1


def test_the_interval_is_that_of_resampling_in_a_loop():
    rng = np.random.default_rng(3)
    left = rng.normal(size=60)
    right = left + 2 * rng.normal(size=60)
    taus = []
    for _ in range(2000):
        drawn = rng.integers(0, 60, 60)
        taus.append(kendalltau(left[drawn], right[drawn]).statistic)
    found = rank_correlation(left, right, [range(60)])
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(taus, [0.025, 0.975])), abs=0.04)


def test_items_are_compared_within_their_stratum_only():
    """Size drives both values up from one band to the next, while within a band they run against each other."""
    left = np.array([*range(10), *range(100, 110)], dtype=float)
    right = np.array([*range(9, -1, -1), *range(109, 99, -1)], dtype=float)
    assert rank_correlation(left, right, [range(20)]).tau == pytest.approx(10 / 190)  # 100 pairs agree, 90 do not
    assert rank_correlation(left, right, [range(10), range(10, 20)]).tau == -1


def test_strata_weigh_by_their_pairs():
    left = np.arange(14, dtype=float)
    right = np.array([*range(10), 13, 12, 11, 10], dtype=float)  # 45 pairs agree in one, 6 disagree in the other
    assert rank_correlation(left, right, [range(10), range(10, 14)]).tau == pytest.approx((45 - 6) / 51)


def test_items_without_a_value_are_left_out():
    left = np.array([*range(12), np.nan, 99.0])
    right = np.array([*range(12), -99.0, np.nan])
    found = rank_correlation(left, right, [range(14)])
    assert (found.tau, found.n) == (1, 12)


def test_few_items_have_no_tau():
    values = np.arange(FEWEST - 1, dtype=float)
    found = rank_correlation(values, values, [range(FEWEST - 1)])
    assert (found.tau, found.low, found.high, found.n) == (None, None, None, FEWEST - 1)


def test_a_stratum_of_ties_does_not_count():
    left = np.array([*range(10), *[5] * 10], dtype=float)
    assert rank_correlation(left, np.arange(20.0), [range(10), range(10, 20)]).tau == 1


def test_the_same_seed_gives_the_same_interval():
    left, right = np.random.default_rng(1).normal(size=(2, 30))
    assert rank_correlation(left, right, [range(30)]) == rank_correlation(left, right, [range(30)])

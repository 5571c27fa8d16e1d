"""The model, against sums by hand and a Gaussian process written with numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from nas.strategy.surrogate import (
    CAP,
    LENGTH_SCALE,
    MIN_LABELS,
    NOISE,
    PARTIAL_NOISE,
    RIDGE,
    SECONDS_NOISE,
    Label,
    Surrogate,
)

REFERENCE = np.random.default_rng(1).normal([3.0, -1.0, 5.0], [2.0, 0.5, 0.0], (64, 3))  # the last never varies
NOTHING = np.empty((64, 0))


def label(vector: Sequence[float], end: float | None, proxies: Sequence[float] = (), complete: bool = True) -> Label:
    return Label(np.array(vector, dtype=float), np.array(proxies, dtype=float), end, complete)


# The process.


@pytest.fixture
def labels() -> list[Label]:
    """Eight architectures: two of them wait at a rung, and one cannot be trained."""
    rng = np.random.default_rng(0)
    vectors = np.column_stack([rng.normal(3, 2, 8), rng.normal(-1, 0.5, 8), np.full(8, 5.0)])
    ends = [0.2, -0.5, 0.8, 0.1, -1.0, 0.5, 0.9, None]
    return [label(vectors[number], end, complete=number < 5) for number, end in enumerate(ends)]


def posterior(vectors, ends, noise, at):
    """Means and standard deviations at points, by the textbook's formulas (Rasmussen and Williams, 2.23 and 2.24)."""
    length = LENGTH_SCALE * np.sqrt(2.0)  # two numbers vary
    mean, deviation = ends.mean(), ends.std()

    def kernel(left, right):
        scaled = [(points - REFERENCE.mean(0))[:, :2] / REFERENCE.std(0)[:2] for points in (left, right)]
        return np.exp(-((scaled[0][:, None] - scaled[1][None]) ** 2).sum(-1) / (2 * length**2))

    known, between = kernel(vectors, vectors) + np.diag(noise), kernel(at, vectors)
    means = between @ np.linalg.solve(known, (ends - mean) / deviation)
    variances = 1 - np.einsum("an,na->a", between, np.linalg.solve(known, between.T))
    return mean + deviation * means, deviation * np.sqrt(variances)


def test_the_posterior_is_that_of_the_textbook(labels):
    vectors = np.array([known.features for known in labels])
    ends = [known.loss for known in labels[:7]]
    ends = np.array([*ends, max(ends)])  # what cannot be trained counts as the worst, and that is certain
    noise = np.array([NOISE] * 5 + [PARTIAL_NOISE] * 2 + [NOISE])
    found = Surrogate(labels, REFERENCE).predict(REFERENCE[:10], NOTHING[:10])
    expected = posterior(vectors, ends, noise, REFERENCE[:10])
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-6)


def test_if_nothing_can_be_trained_all_predictions_are_equal(labels):
    model = Surrogate([replace(known, loss=None) for known in labels], REFERENCE)
    np.testing.assert_allclose(model.predict(REFERENCE, NOTHING)[0], 0.0)


def test_equal_losses_are_expected_everywhere(labels):
    model = Surrogate([replace(known, loss=1.25) for known in labels], REFERENCE)
    np.testing.assert_allclose(model.predict(REFERENCE, NOTHING)[0], 1.25)


def test_it_orders_what_is_easy_to_order():
    """Losses that grow with the first number: it finds that out from twice as many labels as it needs."""
    model = Surrogate([label(vector, vector[0]) for vector in REFERENCE[: 2 * MIN_LABELS]], REFERENCE)
    rest = REFERENCE[2 * MIN_LABELS :]
    assert np.corrcoef(model.predict(rest, NOTHING[: len(rest)])[0], rest[:, 0])[0, 1] > 0.8


@pytest.mark.parametrize(
    ("ends", "counted"),
    [
        # The median is 3, the best 2 below it: everything counts up to 3 + 2 * CAP, and so does what cannot be trained.
        ([1.0, 2.0, 3.0, 4.0, 100.0], [1.0, 2.0, 3.0, 4.0, 3.0 + 2.0 * CAP]),
        ([1.0, 2.0, 3.0, 4.0, 100.0, None], [1.0, 2.0, 3.0, 4.0, *[3.0 + 2.0 * CAP] * 2]),
        # Within that the worst is the worst.
        ([1.0, 2.0, 3.0, 4.0, 5.0, None], [1.0, 2.0, 3.0, 4.0, 5.0, 5.0]),
        # Half of them are best, so nothing says how far apart good ones are.
        ([1.0, 1.0, 1.0, 5.0, None], [1.0, 1.0, 1.0, 5.0, 5.0]),
    ],
)
def test_how_bad_a_bad_one_is_does_not_count(ends, counted):
    """What is expected where all of them are is their mean."""
    np.testing.assert_allclose(effect(ends, [0.0] * len(ends), [0.0]), np.mean(counted))


# Proxies.


def effect(ends: Sequence[float | None], proxies, at) -> np.ndarray:
    """What is predicted for proxies, of shape [n, p], by architectures that differ in nothing else.

    All are at one place, so what the process adds is the mean of all ends: their residuals have a mean of zero.
    """
    place = [3.0, -1.0, 5.0]
    labels = [label(place, end, row) for end, row in zip(ends, np.atleast_2d(np.transpose(proxies)).T, strict=True)]
    at = np.array(at, dtype=float).reshape(-1, len(labels[0].proxies))
    return Surrogate(labels, REFERENCE).predict(np.tile(place, (len(at), 1)), at)[0]


def test_the_effect_of_a_proxy_is_a_ridge_regression():
    """Proxies of mean 3 and deviation 2; by least squares 0.5 a deviation, of which 8 / (8 + 20) are supported."""
    proxies, ends = [1.0, 5.0] * 4, [0.5, 1.5] * 4
    assert RIDGE == 20
    found = effect(ends, proxies, [3.0, 5.0, 1.0, 4.0])
    slope = 0.5 * 8 / 28
    np.testing.assert_allclose(found, [1.0, 1.0 + slope, 1.0 - slope, 1.0 + slope / 2])


def test_what_is_far_outside_counts_as_three_deviations():
    slope = 0.5 * 8 / 28
    found = effect([0.5, 1.5] * 4, [1.0, 5.0] * 4, [9.0, 1e6, -1e6])
    np.testing.assert_allclose(found, 1.0 + slope * np.array([3.0, 3.0, -3.0]))


def test_two_proxies_share_an_effect():
    """Of a proxy that is given twice both have weight 0.5 * 8 / (2 * 8 + 20)."""
    twice = [[1.0, 1.0], [5.0, 5.0]] * 4
    found = effect([0.5, 1.5] * 4, twice, [[5.0, 5.0], [5.0, 3.0]])
    np.testing.assert_allclose(found, [1.0 + 8 / 36, 1.0 + 4 / 36])


@pytest.mark.parametrize("missing", [np.nan, np.inf, -np.inf])
def test_those_that_are_missing_count_as_average(missing):
    """Eight of ten are known; those that are not have the mean end, so that they add nothing to the sum."""
    found = effect([0.5, 1.5] * 4 + [1.0] * 2, [1.0, 5.0] * 4 + [missing] * 2, [missing, 3.0, 5.0])
    np.testing.assert_allclose(found, [1.0, 1.0, 1.0 + 0.5 * 8 / 28])


@pytest.mark.parametrize("value", [np.nan, 4.0])
def test_a_proxy_that_says_nothing_has_no_effect(value):
    """It is missing everywhere, or the same everywhere; other values of it are no reason to be surprised."""
    np.testing.assert_allclose(effect([0.5, 1.5] * 4, [value] * 8, [value, -10.0, 10.0]), 1.0)


def test_the_weight_of_a_proxy_grows_with_its_labels():
    """Of 40 labels: one that is the label explains 40 / 60 of it; one that is not related next to nothing."""
    rng = np.random.default_rng(3)
    ends = rng.normal(size=40)
    unrelated = rng.normal(size=40)
    ends, unrelated = ((values - values.mean()) / values.std() for values in (ends, unrelated))
    low, high = effect(ends, ends, [-1.0, 1.0])
    assert high - low == pytest.approx(2 * 40 / 60)
    low, high = effect(ends, unrelated, [-1.0, 1.0])
    assert high - low == pytest.approx(2 * 40 / 60 * np.corrcoef(ends, unrelated)[0, 1])
    assert abs(high - low) < 0.25
    few = effect(ends[:6] - ends[:6].mean(), ends[:6], [-1.0, 1.0])
    assert few[1] - few[0] == pytest.approx(2 * 6 / 26)  # 1 is 1, whatever the deviation of the six


def test_the_process_explains_what_proxies_leave(labels):
    """With a proxy that is missing everywhere it is the process alone; with the label as proxy less is left for it."""
    known = labels[:7]
    alone = Surrogate(known, REFERENCE).predict(REFERENCE, NOTHING)
    without = Surrogate([replace(one, proxies=np.array([np.nan])) for one in known], REFERENCE)
    np.testing.assert_allclose(without.predict(REFERENCE, np.full((64, 1), np.nan)), alone)
    told = Surrogate([replace(one, proxies=np.array([one.loss])) for one in known], REFERENCE)
    average = np.full((64, 1), np.mean([one.loss for one in known]))
    share = 1 - 7 / (7 + RIDGE)  # of every label, which is what the residuals are
    mean = np.mean([one.loss for one in known])
    expected = mean + share * (alone[0] - mean), share * alone[1]
    np.testing.assert_allclose(told.predict(REFERENCE, average), expected, rtol=1e-6)


# The clock.


def test_how_long_an_epoch_takes_is_a_process_over_those_that_were_timed(labels):
    seconds = np.array([0.1, 0.2, 0.4, 0.8, 0.1, 0.3, 0.0, 0.5])  # one was not timed
    timed = [replace(one, seconds=float(taken)) for one, taken in zip(labels, seconds, strict=True)]
    known = seconds > 0
    vectors = np.array([one.features for one in labels])[known]
    expected, _ = posterior(vectors, np.log(seconds[known]), np.full(7, SECONDS_NOISE), REFERENCE)
    assert Surrogate(timed, REFERENCE).log_seconds(REFERENCE) == pytest.approx(expected)


def test_without_enough_timings_all_are_as_quick(labels):
    timed = [replace(one, seconds=float(n < MIN_LABELS - 1)) for n, one in enumerate(labels)]
    assert Surrogate(timed, REFERENCE).log_seconds(REFERENCE).tolist() == [0.0] * 64

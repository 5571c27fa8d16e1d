"""The model, against sums by hand and a Gaussian process written with numpy."""

from __future__ import annotations

import numpy as np
import pytest

from nas.model import MIN_LABELS, NOISE, PARTIAL_NOISE, TRUST, Gains, Label, SpaceModel

REFERENCE = np.random.default_rng(1).normal([3.0, -1.0, 5.0], [2.0, 0.5, 0.0], (64, 3))  # the last never varies


def label(name: str, vector, curve, mixer: str = "mlp", complete: bool = True) -> Label:
    return Label(name, np.array(vector, dtype=float), curve, mixer, complete)


# Gains.


def test_gains_are_shrunk_towards_those_of_all():
    """Two linear ones gain 1.0 from epoch 2 to 8 and one MLP 0.4: all of them 0.8 on average."""
    gains = Gains(
        [
            label("a", [0], {2: 3.0, 8: 2.0}, "linear"),
            label("b", [0], {1: 9.0, 2: 2.5, 8: 1.5}, "linear"),
            label("c", [0], {2: 2.0, 8: 1.6}, "mlp"),
            label("d", [0], {2: 9.0}, "mlp", complete=False),
        ]
    )
    assert gains("linear", 2) == pytest.approx(-0.8 - 0.2 * 2 / (2 + TRUST))
    assert gains("mlp", 2) == pytest.approx(-0.8 + 0.4 * 1 / (1 + TRUST))
    assert gains("gating", 2) == pytest.approx(-0.8)  # nothing is known of it
    assert gains("linear", 1) == pytest.approx(-7.5)  # of a single curve, which is all there is
    assert gains("linear", 5) == 0.0


# The posterior.


@pytest.fixture
def labels() -> list[Label]:
    """Eight architectures; two wait at the second of eight epochs, one cannot be trained."""
    rng = np.random.default_rng(0)
    vectors = np.column_stack([rng.normal(3, 2, 8), rng.normal(-1, 0.5, 8), np.full(8, 5.0)])
    known = []
    for number, vector in enumerate(vectors):
        end = float(rng.normal())
        curve = {2: end + 0.5, 8: end} if number < 5 else {2: end + 0.5} if number < 7 else {}
        known.append(label(str(number), vector, curve, complete=number < 5))
    return known


def posterior(model: SpaceModel, vectors, ends, noise, at, mean: float, deviation: float):
    """Means and standard deviations at points, by the textbook's formulas (Rasmussen and Williams, 2.23 and 2.24)."""
    length = model._regressor.kernel.length_scale

    def kernel(left, right):
        scaled = [(points - REFERENCE.mean(0))[:, :2] / REFERENCE.std(0)[:2] for points in (left, right)]
        return np.exp(-((scaled[0][:, None] - scaled[1][None]) ** 2).sum(-1) / (2 * length**2))

    known, between = kernel(vectors, vectors) + np.diag(noise), kernel(at, vectors)
    means = between @ np.linalg.solve(known, (ends - mean) / deviation)
    variances = 1 - np.einsum("an,na->a", between, np.linalg.solve(known, between.T))
    return mean + deviation * means, deviation * np.sqrt(variances)


def ends_of(labels: list[Label]) -> np.ndarray:
    """By hand: everybody gains 0.5 from epoch 2 on, and what cannot be trained ends like the worst."""
    ends = [known.curve[8] if known.complete else known.curve[2] - 0.5 if known.curve else np.nan for known in labels]
    return np.where(np.isnan(ends), np.nanmax(ends), ends)


NOISES = np.array([NOISE] * 5 + [PARTIAL_NOISE] * 2 + [NOISE])


def test_the_posterior_is_that_of_the_textbook(labels):
    model = SpaceModel(labels, REFERENCE)
    vectors, ends, at = np.array([known.vector for known in labels]), ends_of(labels), REFERENCE[:10]
    means, spreads = model.predict(at)
    expected = posterior(model, vectors, ends, NOISES, at, ends.mean(), ends.std())
    np.testing.assert_allclose(means, expected[0], rtol=1e-6)
    np.testing.assert_allclose(spreads, expected[1], rtol=1e-6)


def test_to_judge_a_new_label_is_to_fit_it_too(labels):
    model = SpaceModel(labels, REFERENCE)
    new = label("new", [4.0, -2.0, 5.0], {1: 3.0, 2: -1.0}, complete=False)
    vectors, ends = np.array([known.vector for known in labels]), ends_of(labels)
    expected, _ = posterior(
        model,
        np.vstack([vectors, new.vector]),
        np.append(ends, -1.0 - 0.5),
        np.append(NOISES, PARTIAL_NOISE),
        new.vector[None],
        ends.mean(),
        ends.std(),
    )
    np.testing.assert_allclose(model.judge([new]), expected, rtol=1e-6)
    assert model.judge([new])[0] < model.predict(new.vector[None])[0][0]  # it did better than expected


def test_to_judge_a_label_that_was_fitted_counts_it_once(labels):
    model = SpaceModel(labels, REFERENCE)
    np.testing.assert_allclose(model.judge(labels), model.predict(np.array([known.vector for known in labels]))[0])


def test_what_cannot_be_trained_counts_as_the_worst(labels):
    worst = label("7", labels[7].vector, {8: float(ends_of(labels).max())})
    # It is complete, but gains are learned from the rest alone: its curve has no second epoch.
    told = SpaceModel([*labels[:7], worst], REFERENCE)
    np.testing.assert_allclose(SpaceModel(labels, REFERENCE).predict(REFERENCE)[0], told.predict(REFERENCE)[0])


def test_equal_losses_are_expected_everywhere(labels):
    known = [label(str(number), one.vector, {8: 1.25}) for number, one in enumerate(labels)]
    means, _ = SpaceModel(known, REFERENCE).predict(REFERENCE)
    np.testing.assert_allclose(means, 1.25)


def test_it_orders_what_is_easy_to_order():
    """Losses that grow with the first number: it finds that out from twice as many labels as it needs."""
    vectors = REFERENCE[: 2 * MIN_LABELS]
    model = SpaceModel([label(str(n), vector, {8: vector[0]}) for n, vector in enumerate(vectors)], REFERENCE)
    rest = REFERENCE[2 * MIN_LABELS :]
    assert np.corrcoef(model.predict(rest)[0], rest[:, 0])[0, 1] > 0.8

from __future__ import annotations

import math
import random
from statistics import fmean

import numpy as np
import pytest

from nas.strategy.features import Features
from nas.strategy.tuning import WIDTHS, Tuning, range_around
from results.database.names import TUNED
from runners.protocol import EpochResult, Measured
from search_space.space import Range


@pytest.fixture
def drawn(space):
    rng = random.Random(0)
    return [space.sample(rng) for _ in range(400)]


def tuning(seed: int = 0, **more) -> Tuning:
    ranges = {"lr": range_around("lr", 0.01), "weight_decay": range_around("weight_decay", 0.2)}
    return Tuning(ranges, {"lr": 0.01, "weight_decay": 0.2}, seed, **more)


def test_ranges_are_around_the_recipe():
    assert range_around("lr", 0.01) == Range("lr", 0.0025, 0.04)
    assert range_around("weight_decay", 0.2) == Range("weight_decay", 0.02, 2.0)
    assert set(WIDTHS) == set(TUNED)


def test_positions_are_logarithmic():
    each = Range("lr", 0.001, 0.1)

    assert [each.position(value) for value in (0.001, 0.01, 0.1)] == pytest.approx([-0.5, 0.0, 0.5])


def test_values_are_log_uniform_and_independent_of_each_other(drawn):
    positions = np.array([tuning().positions(architecture) for architecture in drawn])

    assert abs(positions).max() <= 0.5
    for column in positions.T:
        counts, _ = np.histogram(column, bins=4, range=(-0.5, 0.5))
        assert abs(counts - 100).max() < 35  # four deviations of a binomial (400, 1/4)
    assert abs(np.corrcoef(positions.T)[0, 1]) < 0.2


def test_an_architecture_has_the_same_values_everywhere_and_others_with_another_seed(drawn):
    first = [tuning().of(architecture) for architecture in drawn]

    assert first == [tuning().of(architecture) for architecture in drawn]
    assert first != [tuning(1).of(architecture) for architecture in drawn]
    assert all(0.0025 <= one["lr"] <= 0.04 for one in first)
    assert all(float(f"{one['lr']:.4g}") == one["lr"] for one in first)


def test_families_keep_the_recipe(drawn):
    one = tuning(fixed={drawn[0].hash})

    assert one.of(drawn[0]) == {"lr": 0.01, "weight_decay": 0.2}
    assert one.positions(drawn[0]) == pytest.approx([0.0, 0.0])
    assert one.of(drawn[1]) == tuning().of(drawn[1])


def test_without_settings_nothing_is_added(space, drawn):
    assert Tuning().of(drawn[0]) == {}
    assert Features(space, Tuning())(drawn[0]).tolist() == Features(space)(drawn[0]).tolist()


def test_the_surrogate_sees_them(space, drawn):
    features = Features(space, tuning())

    assert features.names[-2:] == ("lr", "weight_decay")
    assert features(drawn[0])[-2:].tolist() == tuning().positions(drawn[0])


def test_a_search_prefers_values_that_have_been_good(run, stored):
    """The loss depends on the learning rate alone, and is least at its upper end: later trials are nearer to it."""

    def evaluate(job):
        for epoch in range(job.reported + 1, job.recipe.epochs + 1):
            nll = 2.0 - 0.5 * math.log(job.recipe.lr / 2e-3) + 1 / epoch
            yield EpochResult(epoch, nll, nll, 0.5, 0.01)
        return Measured()

    run(evaluate, strategy="auto", budget=60, tune="lr", finalists=0)

    trials = stored().evaluations("trial")
    rates = [math.log(row.choices["lr"]) for row in trials if row.phase not in ("families", "startup", "explore")]
    startup = [math.log(row.choices["lr"]) for row in trials if row.phase in ("startup", "explore")]
    assert len(rates) > 20
    assert fmean(rates) > fmean(startup) + 0.3

"""Areas and volumes worked by hand, and reference points that no result changes."""

from __future__ import annotations

import math
import random

import pytest

from results.report.hypervolume import hypervolume, reference_point
from search_space.space import Limits

REFERENCE = {"nll": 2.0, "params": 100.0}


def test_one_point():
    found = hypervolume([{"nll": 1.0, "params": 25.0}], REFERENCE)
    assert found.value == pytest.approx(0.5 * 0.75)
    assert (found.reference, found.ideal) == (REFERENCE, {"nll": 0.0, "params": 0.0})


def test_a_staircase():
    # In shares of the box: (1/4, 3/4), (1/2, 1/2), (3/4, 1/4), and a dominated (3/4, 3/4) that adds nothing.
    # 1/4 * 1/4 + 1/4 * 1/2 + 1/4 * 3/4 = 3/8
    points = [(0.5, 75), (1.0, 50), (1.5, 25), (1.5, 75)]
    assert hypervolume([{"nll": nll, "params": params} for nll, params in points], REFERENCE).value == pytest.approx(
        3 / 8
    )


def test_accuracy_counts_upwards():
    # From guessing among four classes, 1/4, to 1: an accuracy of 5/8 is half of the way.
    reference = {"accuracy": 0.25, "macs": 10.0}
    assert hypervolume([{"accuracy": 0.625, "macs": 5.0}], reference).value == pytest.approx(0.25)


def test_three_objectives():
    # Two boxes of 1/2 * 1/2 * 3/4 and 3/4 * 1/4 * 1/2 that share 1/2 * 1/4 * 1/2: 3/16 + 3/32 - 1/16 = 7/32
    reference = {"nll": 1.0, "params": 1.0, "latency": 1.0}
    points = [{"nll": 0.5, "params": 0.5, "latency": 0.25}, {"nll": 0.25, "params": 0.75, "latency": 0.5}]
    assert hypervolume(points, reference).value == pytest.approx(7 / 32)


def test_what_is_worse_than_the_reference_adds_nothing():
    assert hypervolume([{"nll": 2.5, "params": 1.0}], REFERENCE).value == 0
    assert hypervolume([], REFERENCE).value == 0


def test_the_reference_is_guessing_at_the_limit(space):
    found = reference_point(["nll", "accuracy", "params", "macs", "latency"], space, Limits(5000, 40_000), 1.5)
    assert found == {"nll": math.log(10), "accuracy": 0.1, "params": 5000, "macs": 40_000, "latency": 1.5}


def test_without_a_limit_the_reference_is_the_most_that_the_space_has(tiny_space):
    """The largest of its 8 architectures has 4 blocks and a channel ratio of 4."""
    any_one = tiny_space.encode(tiny_space.sample(random.Random(0)))
    largest = tiny_space.decode({**any_one, "stage1.depth": 4, "stage1.channel_ratio": 4})
    found = reference_point(["accuracy", "params", "macs"], tiny_space, Limits(max_params=9000), None)
    assert found == {"accuracy": 0.1, "params": 9000, "macs": largest.macs}


@pytest.mark.parametrize("objectives", [["nll"], ["nll", "latency"], ["nll", "params", "latency"]])
def test_a_single_objective_and_a_latency_without_a_limit_have_none(space, objectives):
    assert reference_point(objectives, space, Limits(5000), None) is None

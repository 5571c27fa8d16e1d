"""Pruners, against tables made by hand."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

import pytest

from nas.strategy.pruners import (
    PRUNERS,
    Hyperband,
    Median,
    NoPruner,
    Pruner,
    QuarterHalving,
    TwoRateHalving,
    make_pruner,
    pruner_problem,
)
from search_space.errors import ConfigError


def promoted(pruner: Pruner, losses: Sequence[float], passed: Collection[int] = (), pruned: Collection[int] = ()):
    """The trials with these losses that are promoted; `passed` and `pruned` are numbers of trials."""
    gone = [number in passed for number in range(len(losses))]
    waiting = [number not in {*passed, *pruned} for number in range(len(losses))]
    return pruner.promoted(losses, gone, waiting)


@pytest.mark.parametrize("name", [name for name in PRUNERS if name != "one_epoch"])
@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 5, 8, 20, 61])
def test_every_rung_is_between_a_quarter_of_the_training_and_its_end(name, epochs):
    pruner = make_pruner(name, epochs)
    for number in range(12):
        rungs = pruner.rungs(number)
        assert list(rungs) == sorted(set(rungs))
        assert set(rungs) <= set(pruner.all_rungs)
        assert all(epochs / 4 <= rung < epochs for rung in rungs)


@pytest.mark.parametrize("name", PRUNERS)
def test_what_is_promoted_has_waited_and_the_best_come_first(name):
    rng, pruner = random.Random(0), make_pruner(name, 8)
    for _ in range(50):
        losses = [rng.random() for _ in range(rng.randrange(30))]
        passed, pruned = ({number for number in range(len(losses)) if rng.random() < 0.1} for _ in range(2))
        found = promoted(pruner, losses, passed, pruned)
        assert not {*passed, *pruned} & set(found)
        assert found == sorted(set(found), key=losses.__getitem__)
        others = set(range(len(losses))) - {*passed, *pruned, *found}
        assert all(losses[kept] <= losses[other] for kept in found for other in others)


@pytest.mark.parametrize(
    ("name", "epochs", "expected"),
    [
        ("halving", 1, ()),
        ("halving", 2, (1,)),
        ("halving", 8, (2,)),
        ("halving", 10, (3,)),  # 2.5 rounded up
        ("halving", 20, (5,)),
        ("hyperband", 8, (2, 4)),
        ("hyperband", 10, (3, 5)),
        ("hyperband", 2, (1,)),
        ("median", 8, (2, 4, 6)),
        ("median", 3, (1, 2)),
        ("one_epoch", 8, (1,)),
        ("one_epoch", 1, ()),
        ("none", 8, ()),
    ],
)
def test_rungs(name, epochs, expected):
    assert make_pruner(name, epochs).all_rungs == expected


@pytest.mark.parametrize(
    ("losses", "passed", "expected"),
    [
        ([], [], []),
        ([3, 1, 2], [], []),  # fewer than four: none yet
        ([3, 1, 2, 4], [], [1]),  # one of four
        ([3, 1, 2, 4], [1], []),  # and no other
        ([3, 1, 2, 4, 0, 5, 6], [1], []),  # a better one comes too late, until there are eight
        ([3, 1, 2, 4, 0, 5, 6, 7], [1], [4]),
        ([3, 1, 2, 4, 0, 5, 6, 7], [], [4, 1]),
        ([3, 1, 2, 4], [0, 2], []),  # more have passed than may
    ],
)
def test_halving_promotes_a_quarter(losses, passed, expected):
    assert promoted(QuarterHalving(8), losses, passed) == expected


@pytest.mark.parametrize(("name", "count"), [("two_rate", 6), ("halving", 2), ("one_epoch", 1)])
def test_how_many_of_ten_are_promoted(name, count):
    assert promoted(make_pruner(name, 8), [float(loss) for loss in range(10)]) == list(range(count))


@pytest.mark.parametrize(
    ("count", "places"),
    [(1, 0), (2, 1), (3, 2), (30, 20), (48, 32), (55, 32), (56, 33), (200, 51)],  # 32 + 152 / 8
)
def test_two_rate_halving_promotes_two_of_three_at_first_and_one_of_eight_later(count, places):
    assert len(promoted(make_pruner("two_rate", 8), [float(loss) for loss in range(count)])) == places


def test_a_pruned_trial_counts_but_is_not_promoted():
    # Of eight trials two may pass; the best two that still wait do, whatever better ones were pruned.
    assert promoted(QuarterHalving(8), [1, 2, 3, 4, 8, 7, 6, 5], pruned=[0, 1, 2, 3]) == [7, 6]


@pytest.mark.parametrize("batch", [1, 3, 7])
@pytest.mark.parametrize("rising", [False, True])
def test_as_many_are_promoted_whatever_the_order_they_arrive_in(batch, rising):
    """The paper's rule would promote every one of falling losses; here 5 of 22 are."""
    losses = [float(number if rising else -number) for number in range(22)]
    pruner, passed = QuarterHalving(8), list[int]()
    for count in [*range(batch, 22, batch), 22]:
        passed += promoted(pruner, losses[:count], passed)
    assert len(passed) == 22 // 4


def test_hyperband_takes_turns_in_where_halving_starts():
    pruner = Hyperband(8)
    assert [pruner.rungs(number) for number in range(4)] == [(2, 4), (4,), (), (2, 4)]


@pytest.mark.parametrize(
    ("losses", "passed", "expected"), [([1], [], []), ([2, 1], [], [1]), ([2, 1, 0], [1], []), ([2, 1, 0, 3], [1], [2])]
)
def test_hyperband_promotes_the_better_half(losses, passed, expected):
    assert promoted(Hyperband(8), losses, passed) == expected


def test_one_of_ten_is_promoted_after_one_epoch():
    pruner, losses = make_pruner("one_epoch", 8), [5.0, 4, 3, 2, 1, 6, 7, 8, 9]
    assert promoted(pruner, losses) == []
    assert promoted(pruner, [*losses, 10]) == [4]


@pytest.mark.parametrize(
    ("losses", "passed", "expected"),
    [
        ([9, 1, 2, 3], [], [1, 2, 3, 0]),  # too few to know the median
        ([9, 1, 2, 3, 4], [], [1, 2, 3]),  # the median is 3
        ([9, 1, 2, 3, 4], [1, 3], [2]),
        ([2.5, 1, 2, 3, 4, 2.6], [1, 2], [0]),  # the median is 2.55
    ],
)
def test_median(losses, passed, expected):
    assert promoted(Median(8), losses, passed) == expected


def test_no_pruner_promotes_all():
    assert promoted(NoPruner(8), [9, 1, 5]) == [1, 2, 0]


def test_an_unknown_pruner():
    choices = "allowed: two_rate, halving, hyperband, median, one_epoch, none; did you mean 'halving'"
    with pytest.raises(ConfigError, match=f"there is no pruner named 'halfing'; {choices}"):
        make_pruner("halfing", 8)


def test_a_name_of_earlier_versions_is_understood():
    assert isinstance(make_pruner("gentle", 8), TwoRateHalving)
    assert pruner_problem("gentle") is None
    assert pruner_problem("gentler") == "allowed: two_rate, halving, hyperband, median, one_epoch, none"

"""Pruners, against tables made by hand."""

from __future__ import annotations

import pytest

from nas.pruners import PRUNERS, Halving, Hyperband, Median, NoPruner, make_pruner
from search_space.errors import ConfigError


@pytest.mark.parametrize("name", PRUNERS)
@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 5, 8, 20, 61])
def test_every_rung_lies_between_a_quarter_of_the_training_and_its_end(name, epochs):
    pruner = make_pruner(name, epochs)
    for number in range(12):
        rungs = pruner.rungs(number)
        assert list(rungs) == sorted(set(rungs))
        assert set(rungs) <= set(pruner.all_rungs)
        assert all(epochs / 4 <= rung < epochs for rung in rungs)


@pytest.mark.parametrize("name", PRUNERS)
def test_the_first_and_the_best_at_a_rung_go_on(name):
    pruner = make_pruner(name, 8)
    assert pruner.keep(5.0, [])
    assert pruner.keep(1.0, [2.0, 3.0, 4.0, 5.0, 6.0])


@pytest.mark.parametrize("name", [name for name in PRUNERS if name != "none"])
def test_the_worst_of_many_is_stopped(name):
    assert not make_pruner(name, 8).keep(9.0, [float(loss) for loss in range(8)])


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
        ("none", 8, ()),
    ],
)
def test_rungs(name, epochs, expected):
    assert make_pruner(name, epochs).all_rungs == expected


@pytest.mark.parametrize(
    ("loss", "others", "kept"),
    [
        (2.0, [1.0], False),  # 2 trials: the best one goes on
        (1.0, [1.0], True),  # none is better
        (2.0, [1.0, 3.0, 3.0, 3.0, 3.0, 3.0], False),  # 7 trials: one goes on
        (2.0, [1.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0], True),  # 8 trials: two go on
        (3.0, [1.0, 2.0, 4.0, 4.0, 4.0, 4.0, 4.0], False),
        (3.0, [1.0, 2.0, *[4.0] * 9], True),  # 12 trials: three go on
    ],
)
def test_halving_lets_the_best_quarter_go_on(loss, others, kept):
    assert Halving((2,)).keep(loss, others) is kept


def test_hyperband_takes_turns_in_where_halving_starts():
    pruner = Hyperband((2, 4))
    assert [pruner.rungs(number) for number in range(4)] == [(2, 4), (4,), (), (2, 4)]


@pytest.mark.parametrize(
    ("loss", "others", "kept"),
    [
        (2.0, [1.0, 3.0], False),  # 3 trials: one goes on
        (2.0, [1.0, 3.0, 3.0], True),  # 4 trials: two go on
        (3.0, [1.0, 2.0, 4.0], False),
        (3.0, [1.0, 2.0, 4.0, 4.0, 4.0], True),  # 6 trials: three go on
    ],
)
def test_hyperband_lets_the_better_half_go_on(loss, others, kept):
    assert Hyperband((2, 4)).keep(loss, others) is kept


@pytest.mark.parametrize(
    ("loss", "others", "kept"),
    [
        (9.0, [1.0, 1.0, 1.0], True),  # too few to know the median
        (2.5, [1.0, 2.0, 3.0, 4.0], True),  # the median is 2.5
        (2.6, [1.0, 2.0, 3.0, 4.0], False),
        (3.0, [1.0, 2.0, 3.0, 4.0, 5.0], True),
        (3.1, [1.0, 2.0, 3.0, 4.0, 5.0], False),
    ],
)
def test_median(loss, others, kept):
    assert Median((2,)).keep(loss, others) is kept


def test_no_pruner_keeps_the_worst():
    assert NoPruner().keep(9.0, [1.0] * 100)


def test_an_unknown_pruner():
    with pytest.raises(
        ConfigError, match="'halfing'; allowed: halving, hyperband, median, none; did you mean 'halving'"
    ):
        make_pruner("halfing", 8)

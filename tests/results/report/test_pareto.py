"""Dominance, on points drawn by hand."""

import pytest

from results.report.pareto import dominates, pareto_front


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ((1, 1), (2, 2), True),
        ((1, 2), (1, 3), True),
        ((1, 1), (1, 1), False),
        ((1, 3), (2, 2), False),
        ((2, 2), (1, 1), False),
    ],
)
def test_a_point_dominates_what_is_nowhere_better_and_somewhere_worse(left, right, expected):
    assert dominates(left, right) is expected


def test_points_of_different_length_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        dominates((1, 2, 3), (1, 2))


def test_front_of_a_staircase():
    #   3 | a
    #   2 |   b  x
    #   1 |      c  y
    #       1 2  3  4
    points = [(3, 2), (1, 3), (2, 2), (4, 1), (3, 1)]
    assert pareto_front(points) == [1, 2, 4]


def test_equal_points_are_on_the_front_together():
    assert pareto_front([(1, 1), (2, 2), (1, 1)]) == [0, 2]


def test_nothing_has_an_empty_front():
    assert pareto_front([]) == []

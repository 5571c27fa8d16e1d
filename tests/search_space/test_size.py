"""Sizes: a number for a square, height and width for another rectangle."""

from __future__ import annotations

import pytest

from search_space.size import (
    area,
    canonical,
    divided,
    divides,
    mean_side,
    parse_size,
    plain,
    shown,
    sides,
    times,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [("64", 64), ("64x96", (64, 96)), (" 64 x 96 ", (64, 96)), ("64x64", 64), ("1x2", (1, 2)), ("007", 7)],
)
def test_a_text_with_a_size(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "64x", "x96", "64x96x3", "64*96", "0", "0x4", "-8", "6.5", "٣x٤", "1" * 8])
def test_a_text_without_one(text):
    assert parse_size(text) is None


def test_a_square_is_a_number():
    assert [canonical(size) for size in (8, (8, 8), [8, 8], [8, 12], (12, 8))] == [8, 8, 8, (8, 12), (12, 8)]
    assert divided((9, 8), 4) == 2  # both sides rounded down


def test_arithmetic():
    wide = (4, 6)
    assert (sides(4), sides(wide)) == ((4, 4), (4, 6))
    assert (times(4, 3), times(wide, 3)) == (12, (12, 18))
    assert (divided(4, 2), divided(wide, 2)) == (2, (2, 3))
    assert (divides(2, wide), divides(4, wide), divides(4, 4)) == (True, False, True)
    assert (area(4), area(wide), mean_side(4), mean_side((2, 8))) == (16, 24, 4, 4.0)
    assert (shown(4), shown(wide), plain(4), plain(wide)) == ("4 x 4", "4 x 6", 4, [4, 6])

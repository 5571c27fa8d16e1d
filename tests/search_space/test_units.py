from __future__ import annotations

import math

import pytest

from search_space.errors import ConfigError
from search_space.units import format_bytes, format_count, parse_count


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("50k", 50_000),
        ("50K", 50_000),
        ("5M", 5_000_000),
        ("1.2G", 1_200_000_000),
        ("48000", 48_000),
        (48_000, 48_000),
        (" 5 m ", 5_000_000),
        (".5k", 500),
        ("1.k", 1_000),
        ("0.0015k", 2),
    ],
)
def test_reads_counts(text: str | int, count: int) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize(
    "text",
    ["", "k", "0", "0.2", "-5k", "5kk", "5T", "1e6", "5 k 5", "five", "nan", "inf", "1,000", "9" * 30, -1, 0, "5\n6"],
)
def test_refuses_what_is_not_a_positive_count(text: str | int) -> None:
    with pytest.raises(ConfigError, match="allowed: a positive count such as 50k"):
        parse_count(text)


def test_says_where_a_wrong_count_came_from() -> None:
    with pytest.raises(ConfigError, match=r"^--max-params is 'lots'"):
        parse_count("lots", "--max-params")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (7, "7"),
        (999, "999"),
        (999.4, "999"),
        (999.6, "1.00k"),
        (1_000, "1.00k"),
        (48_200, "48.2k"),
        (99_949, "99.9k"),
        (99_951, "100k"),
        (999_400, "999k"),
        (999_600, "1.00M"),
        (5_717_416, "5.72M"),
        (9_994_000, "9.99M"),
        (9_996_000, "10.0M"),
        (1_253_683_200, "1.25G"),
        (609_558_056_448, "610G"),
        (math.inf, "inf"),
    ],
)
def test_writes_counts_with_three_digits(count: float, text: str) -> None:
    assert format_count(count) == text


@pytest.mark.parametrize("count", [1, 12, 999, 1_234, 54_321, 999_999, 5_717_416, 10**9, 123_456_789_012])
def test_reading_what_was_written_is_near(count: int) -> None:
    assert parse_count(format_count(count)) == pytest.approx(count, rel=0.0051)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (20 * 1024, "20.0 KiB"),
        (3 * 2**20 // 2, "1.50 MiB"),
        (640 * 2**20, "640 MiB"),
        (5 * 2**40, "5.00 TiB"),
    ],
)
def test_writes_sizes_with_three_digits(size: int, text: str) -> None:
    assert format_bytes(size) == text

"""Sizes of images and of grids of tokens: a whole number for a square, (height, width) for any other rectangle.

A square is always a number, so that what was stored before there were other rectangles is read, and hashed, as ever.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

Size = int | tuple[int, int]
LARGEST_IMAGE = 1024
"""The largest side of an image that a setting or a flag may ask for. Arbitrary."""
ALLOWED_SIZES = f"allowed: a side in pixels from 1 to {LARGEST_IMAGE:,}, or HEIGHTxWIDTH such as 64x96"


def canonical(size: Size | Sequence[int]) -> Size:
    """A size with a square as a number."""
    if isinstance(size, int):
        return size
    height, width = size
    return height if height == width else (height, width)


def sides(size: Size) -> tuple[int, int]:
    """Height and width."""
    return (size, size) if isinstance(size, int) else size


def times(size: Size, factor: int) -> Size:
    """A size with both sides multiplied."""
    return factor * size if isinstance(size, int) else (factor * size[0], factor * size[1])


def divided(size: Size, divisor: int) -> Size:
    """A size with both sides divided, rounded down."""
    return size // divisor if isinstance(size, int) else canonical((size[0] // divisor, size[1] // divisor))


def divides(divisor: int, size: Size) -> bool:
    """Whether a number divides both sides."""
    return all(side % divisor == 0 for side in sides(size))


def area(size: Size) -> int:
    """The number of its pixels or tokens."""
    return size * size if isinstance(size, int) else size[0] * size[1]


def mean_side(size: Size) -> float:
    """The side of the square with the same area."""
    return size if isinstance(size, int) else area(size) ** 0.5


def shown(size: Size) -> str:
    """A size in words: ``64 x 96``, height first."""
    height, width = sides(size)
    return f"{height} x {width}"


def plain(size: Size) -> int | list[int]:
    """A size as JSON and YAML hold it."""
    return size if isinstance(size, int) else list(size)


def parse_size(text: str) -> Size | None:
    """The size in a text, such as ``64`` or ``64x96``; None if there is none."""
    match = re.fullmatch(r"\s*(\d{1,7})(?:\s*x\s*(\d{1,7}))?\s*", text, re.ASCII)
    if match is None:
        return None
    height = int(match[1])
    size = canonical((height, height if match[2] is None else int(match[2])))
    return size if min(sides(size)) >= 1 else None

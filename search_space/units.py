"""Counts in short form (``50k``, ``5M``, ``1.2G``), file sizes (``1.2 MiB``) and durations."""

from __future__ import annotations

import math
import re

from search_space.errors import ConfigError, brief

_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_COUNT = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([kKmMgG]?)\s*")


def parse_count(text: str | int, what: str = "count") -> int:
    """Read a positive count such as ``50k``, ``5M``, ``1.2G`` or ``48000``.

    Args:
        text: The text from the user.
        what: Its source for the message: a flag, or a file and key.

    Raises:
        ConfigError: If the text is not a positive count.
    """
    match = _COUNT.fullmatch(str(text))
    count = round(float(match[1]) * _FACTORS[match[2].lower()]) if match and len(match[1]) < 20 else 0
    if count < 1:
        raise ConfigError(f"{what} is {brief(text)}; allowed: a positive count such as 50k, 5M or 1.2G")
    return count


def format_count(count: float) -> str:
    """A count with three significant digits: ``48.2k``, ``5.72M``, ``1.25G``."""
    if not math.isfinite(count):
        return str(count)
    for suffix, factor in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= factor * 0.9995:
            value = count / factor
            digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
            return f"{value:.{digits}f}{suffix}"
    return f"{count:.0f}"


def format_bytes(size: int) -> str:
    """A size with three significant digits: ``512 B``, ``48.2 KiB``, ``1.25 GiB``."""
    for suffix, factor in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= factor:
            value = size / factor
            digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
            return f"{value:.{digits}f} {suffix}"
    return f"{size} B"


def format_duration(seconds: float) -> str:
    """A duration as ``4:05`` (minutes and seconds) or ``1:04:05``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

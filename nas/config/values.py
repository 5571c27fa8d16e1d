"""The values of settings: how loose input is converted, and which values are allowed.

Loose input is a word of the command line, a value of a YAML file, or an argument in Python.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runners.remote import ALLOWED, locate
from search_space.errors import ConfigError, StorageError, allowed, brief
from search_space.paths import output_problem, path_problem, text_problem
from search_space.plugins import load
from search_space.size import ALLOWED_SIZES, LARGEST_IMAGE, canonical, parse_size
from search_space.units import parse_count

MAX_SEED = 2**63 - 1 - 1000
"""The largest seed: databases store BIGINTs, and the seeds of finalists are up to a thousand larger."""
LEAST_RESERVED, MOST_RESERVED = 0.0001, 100_000
"""Range of CPU cores or GPUs for a trial: Ray counts in ten-thousandths, and no machine has more."""
_STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


def unchanged(value: Any, source: str) -> Any:
    """Return the value unchanged; a path becomes a string."""
    return str(value) if isinstance(value, Path) else value


@dataclass(frozen=True)
class Kind:
    """A kind of value.

    Attributes:
        name: What it is, for the reference page, such as "whole number".
        problem: Returns what is wrong with a value, such as "allowed: digits, mnist"; None if nothing is.
        convert: Converts loose input, given its source; may raise ConfigError.
        word: The type of its word on the command line: `str`, `int`, `float`, or `bool` for a switch.
        choices: All allowed names, if the values are names.
        repeatable: Whether the flag may be given several times.
    """

    name: str
    problem: Callable[[Any], str | None]
    convert: Callable[[Any, str], Any] = unchanged
    word: type = str
    choices: Collection[str] = ()
    repeatable: bool = False


def whole(least: int, most: int = 10**9) -> Kind:
    """Whole numbers from `least` to `most`."""

    def problem(value: Any) -> str | None:
        fine = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
        return None if fine else f"allowed: whole numbers from {least} to {most:,}"

    return Kind("whole number", problem, word=int)


def number(least: float, most: float, include: bool = False) -> Kind:
    """Numbers above `least` (or equal to it, with `include`) up to `most`."""

    def problem(value: Any) -> str | None:
        fine = isinstance(value, (int, float)) and not isinstance(value, bool) and value <= most
        fine = fine and (value >= least if include else value > least)
        return None if fine else f"allowed: numbers {'from' if include else 'above'} {least:g} to {most:g}"

    return Kind("number", problem, _as_float, word=float)


def gpus() -> Kind:
    """GPUs of a trial: none, a share of one, or a whole number."""

    def problem(value: Any) -> str | None:
        none = isinstance(value, (int, float)) and not isinstance(value, bool) and value == 0
        fine = none or number(LEAST_RESERVED, MOST_RESERVED, include=True).problem(value) is None
        if fine and (value <= 1 or value == int(value)):
            return None
        return f"allowed: 0, numbers from {LEAST_RESERVED:g} to 1, whole numbers to {MOST_RESERVED:,}"

    return Kind("number", problem, _as_float, word=float)


def count(least: int, most: int) -> Kind:
    """Counts such as 50k or 1.2G; if `least` is 0, "none" means 0."""

    def convert(value: Any, source: str) -> int:
        return 0 if least == 0 and str(value) in ("0", "none") else parse_count(value, source)

    return Kind("count", whole(least, most).problem, convert)


def image_size() -> Kind:
    """A side of images, or height and width: 64, "64x96", or a list of two numbers in a file."""

    def convert(value: Any, source: str) -> Any:
        if isinstance(value, str):
            return parse_size(value) or value
        return canonical(value) if isinstance(value, (list, tuple)) and len(value) == 2 else value

    def problem(value: Any) -> str | None:
        pair = value if isinstance(value, tuple) and len(value) == 2 else (value, value)
        return ALLOWED_SIZES if any(whole(1, LARGEST_IMAGE).problem(side) for side in pair) else None

    return Kind("size", problem, convert)


class NamesNow(Collection[str]):
    """The names that a function returns when they are needed, as plug-ins may add some."""

    def __init__(self, names: Callable[[], Collection[str]]) -> None:
        self._names = names

    def __contains__(self, name: object) -> bool:
        return name in self._names()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())


def choice(names: Collection[str]) -> Kind:
    """One of these names; one that is registered later is allowed, too."""

    def problem(value: Any) -> str | None:
        return None if isinstance(value, str) and value in names else allowed(value, names)

    return Kind("name", problem, choices=names)


def name_list(
    what: str,
    names: Collection[str],
    problem: Callable[[Any], str | None],
    *,
    repeatable: bool = False,
    or_none: bool = False,
) -> Kind:
    """Several of these names, separated by commas or as a list.

    Args:
        what: What they name, such as "proxies".
        names: All allowed names.
        problem: Returns what is wrong with a tuple of names; None if nothing is.
        repeatable: Whether the flag may be given several times.
        or_none: Whether "none" means no names.
    """

    def convert(value: Any, source: str) -> tuple[str, ...]:
        given = value.split(",") if isinstance(value, str) else value
        if not isinstance(given, (list, tuple)) or not all(isinstance(name, str) for name in given):
            raise ConfigError(f"{source} is {brief(value)}; allowed: names of {what}")
        found = tuple(part.strip() for name in given for part in name.split(","))
        return tuple(name for name in found if name != "none") if or_none else found

    return Kind("names", problem, convert, choices=names, repeatable=repeatable)


def plugins() -> Kind:
    """Plug-ins, which are imported when they are checked, as other settings may name what they register."""

    def convert(value: Any, source: str) -> Any:
        names = [value] if isinstance(value, str) else value
        return tuple(names) if isinstance(names, (list, tuple)) else names

    def problem(value: Any) -> str | None:
        if not isinstance(value, tuple) or not all(isinstance(name, str) and name for name in value):
            return "allowed: names of modules, or paths of .py files"
        for name in value:
            load(name)
        return None

    return Kind("plug-ins", problem, convert, repeatable=True)


def switch() -> Kind:
    """Yes or no."""
    return Kind("switch", lambda value: None if isinstance(value, bool) else "allowed: true, false", word=bool)


def text() -> Kind:
    """Any text without control characters."""
    return Kind("text", lambda value: text_problem(value) if isinstance(value, str) and value else "allowed: text")


def path() -> Kind:
    """A path to read from."""
    return Kind("path", lambda value: path_problem(value) if isinstance(value, str) else "allowed: a path")


def output_path() -> Kind:
    """A folder to write to."""
    return Kind("path", lambda value: output_problem(value) if isinstance(value, str) else "allowed: a path")


def location() -> Kind:
    """A folder to write to, on this machine or on remote storage."""

    def problem(value: Any) -> str | None:
        if found := output_path().problem(value):
            return found
        try:
            locate(value)
        except StorageError:
            return ALLOWED
        return None

    return Kind("path or URL", problem)


def study_name() -> Kind:
    """The name of a study."""
    return Kind("text", name_problem)


def name_problem(value: Any) -> str | None:
    """What is wrong with the name of a study; None if nothing is."""
    if isinstance(value, str) and _STUDY_NAME.fullmatch(value):
        return None
    return "allowed: up to 100 letters, digits, '.', '_', '+' and '-', beginning with a letter or digit"


def _as_float(value: Any, source: str) -> Any:
    """Convert numbers that YAML reads as strings, such as 1e-3; anything else is left to the check."""
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)
        except (ValueError, OverflowError):
            return value
    return value

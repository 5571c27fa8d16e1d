"""Reads dataclasses from YAML: every value is checked against its field's type, so a new field needs no code."""

from __future__ import annotations

import math
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, get_args, get_type_hints

from search_space.errors import allowed, brief
from search_space.size import Size, canonical
from search_space.yaml_source import KeyPath, Source

LARGEST = 10**7
"""The largest whole number in a field (arbitrary; far above any width or number of classes)."""


def read_fields(source: Source, path: KeyPath, cls: type, skip: tuple[str, ...] = ()) -> dict[str, Any]:
    """The values of a dataclass's fields in the mapping at `path`, by name.

    Allowed types are literals, int, float, bool, tuples of int, sizes (`search_space.size`), and each of these or None.

    Args:
        source: The parsed file.
        path: The path of the mapping.
        cls: The dataclass.
        skip: Fields that are read elsewhere.

    Raises:
        NasError: (of the error class of the source) If a value has the wrong type or a required field is missing.
    """
    mapping, hints = source.at(path), _hints(cls)
    values: dict[str, Any] = {}
    for field in fields(cls):
        if field.name in mapping and field.name not in skip:
            values[field.name] = _read_value(source, (*path, field.name), hints[field.name])
        elif field.default is MISSING and field.name not in mapping:
            raise source.fail(path, f"lacks the key {field.name!r}")
    return values


_hints = cache(get_type_hints)


def _read_value(source: Source, path: KeyPath, hint: Any) -> Any:
    options = get_args(hint)
    if options and all(isinstance(option, str) for option in options):  # Literal
        value = source.at(path)
        if value not in options:
            raise source.fail(path, f"is {brief(value)}; {allowed(value, options)}")
        return value
    if type(None) in options:
        if source.at(path) is None:
            return None
        options = tuple(option for option in options if option is not type(None))
        hint = options[0]
    if tuple[int, int] in options:
        return _read_size(source, path)
    if hint == tuple[int, ...]:
        count = len(source.typed(path, list, "a list of whole numbers"))
        return tuple(_read_whole(source, (*path, index)) for index in range(count))
    if hint is bool:
        return source.typed(path, bool, "true or false")
    if hint is int:
        return _read_whole(source, path)
    value = source.typed(path, (int, float), "a number")
    if isinstance(value, int):
        return float(_read_whole(source, path))
    if not math.isfinite(value):
        raise source.fail(path, f"is {value}; allowed: a finite number")
    return value


def _read_size(source: Source, path: KeyPath) -> Size:
    value = source.at(path)
    if not isinstance(value, list):
        return _read_whole(source, path)
    if len(value) != 2:
        raise source.fail(path, f"is {brief(value)}; allowed: a whole number, or height and width as a list of two")
    return canonical([_read_whole(source, (*path, index)) for index in range(2)])


def _read_whole(source: Source, path: KeyPath) -> int:
    value: int = source.typed(path, int, "a whole number")
    if abs(value) > LARGEST:
        raise source.fail(path, f"is {brief(value)}; allowed: whole numbers up to {LARGEST:,}")
    return value

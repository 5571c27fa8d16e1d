"""Damage: an invalid row is refused when it is read, with a message that names table, id and column.

A file that was truncated, or edited by hand, must not cause a traceback elsewhere. A cell must have the right type and
follow the rules of `results.database.rules`; `results.database.cells` checks all rows in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import event

from results.database.rules import COLUMNS, RULES, TOGETHER, WANTED
from results.database.schema import ArchitectureRow, Base, damaged
from search_space.architecture import Architecture
from search_space.errors import NasError, brief

_LARGEST = 2**63
_WHOLE = (int,)


def architecture_of(row: ArchitectureRow) -> Architecture:
    """The architecture in a row.

    Raises:
        StorageError: If its YAML is not an architecture, or does not match its hash.
    """
    try:
        found = Architecture.from_yaml(row.yaml)
    except NasError as error:
        raise damaged(row.__tablename__, f"id {row.id}", "yaml", f"it is not an architecture: {error}") from None
    if found.hash != row.hash:
        reason = f"it gives the hash {found.hash}, and the row says {row.hash}"
        raise damaged(row.__tablename__, f"id {row.id}", "yaml", reason)
    return found


def problems(table: sa.Table, values: Mapping[str, Any], *, strictly: bool = False) -> Iterator[tuple[str, str]]:
    """What is wrong with a row.

    Args:
        table: One of ours.
        values: Values of its columns, or of some of them, as SQLAlchemy gives them.
        strictly: Whether to also report missing values that are not always needed.

    Yields:
        A column, and why its value is invalid.
    """
    kinds, rules = kinds_of(table), RULES.get(table.name, {})
    sound: dict[str, Any] = {}
    for name, value in values.items():
        reason = type_problem(kinds[name], value)
        if reason is None and value is not None and name in rules:
            reason = rules[name](value)
        if reason is None:
            sound[name] = value
        else:
            yield name, reason
    for rule in (*TOGETHER.get(table.name, ()), *(WANTED.get(table.name, ()) if strictly else ())):
        names = COLUMNS[rule]
        if names <= sound.keys():
            found = rule(**{name: sound[name] for name in names})
            if found is not None:
                yield found


class Kind(NamedTuple):
    """The values that a column may hold.

    Attributes:
        nullable: Whether NULL is allowed.
        types: The types of other values; empty for JSON and enums, which have been parsed by then.
        words: The allowed types in words.
    """

    nullable: bool
    types: tuple[type, ...]
    words: str


@cache
def kinds_of(table: sa.Table) -> dict[str, Kind]:
    """The allowed values of every column of a table."""
    return {column.name: Kind(bool(column.nullable), *_types(column.type)) for column in table.columns}


def type_problem(kind: Kind, value: Any) -> str | None:
    """Why a value is not allowed in its column; None if it is allowed."""
    nullable, types, words = kind
    if value is None:
        return None if nullable else "it is missing"
    if types and (not isinstance(value, types) or isinstance(value, bool)):
        return f"{brief(value)} is not {words}"
    if types is _WHOLE and not -_LARGEST <= value < _LARGEST:
        return f"{brief(value)} does not fit into 64 bits"
    return None


def _types(column: sa.types.TypeEngine[Any]) -> tuple[tuple[type, ...], str]:
    if isinstance(column, sa.Integer):
        return _WHOLE, "a whole number"
    if isinstance(column, (sa.Numeric, sa.Float)):
        return (int, float), "a number"
    if isinstance(column, sa.DateTime):
        return (datetime,), "a time"
    if isinstance(column, sa.String) and not isinstance(column, sa.Enum):
        return (str,), "text"
    return (), ""


@cache
def _attributes(kind: type[Base]) -> dict[str, str]:
    """The columns of a table by their names in Python."""
    return {attribute.key: attribute.columns[0].name for attribute in sa.inspect(kind).column_attrs}


@event.listens_for(Base, "load", propagate=True)
def _hold(row: Base, _: object) -> None:
    """Check a row against the rules; columns that were not loaded are skipped."""
    table, loaded = row.__table__, row.__dict__
    assert isinstance(table, sa.Table)
    values = {column: loaded[name] for name, column in _attributes(type(row)).items() if name in loaded}
    for column, reason in problems(table, values):
        raise damaged(table.name, row_name(table, values), column, reason)


def row_name(table: sa.Table, values: Mapping[str, Any]) -> str:
    """The name of a row in a message: its primary key and other identifying columns."""
    names = [column.name for column in table.primary_key.columns if column.name in values]
    parts = [f"{name} {brief(values[name])}" for name in names]
    for name in ("key", "name", "hash"):
        if isinstance(values.get(name), str):
            parts.append(f"({brief(values[name])})")
            break
    return " ".join(parts)

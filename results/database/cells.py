"""Checks all cells of a database for invalid values, even those that SQLAlchemy cannot read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from results.database.damage import kinds_of, problems, row_name, type_problem
from results.database.retry import is_away
from results.database.schema import Base, damaged
from results.database.tables import present
from search_space.errors import StorageError

UNREADABLE = (ValueError, LookupError, TypeError, ArithmeticError, AttributeError, RecursionError)
"""Exceptions of SQLAlchemy's types for values that they cannot read, besides its own errors."""
_MOST_NAMED = 5
_TOLD = 20
"""Maximum number of damaged cells to list per table."""


def translated(error: BaseException | None, engine: sa.Engine) -> StorageError | None:
    """The error to raise if a damaged cell caused an error in a session; None if there is no damaged cell."""
    if not isinstance(error, (SQLAlchemyError, *UNREADABLE)) or is_away(error):
        return None
    with suppress(SQLAlchemyError), engine.connect() as connection:  # the database may not be readable at all
        return first_damage(connection)
    return None


def first_damage(connection: sa.Connection) -> StorageError | None:
    """The error to raise for the first damaged cell; None if there is none."""
    with as_stored(connection):
        for table in present(connection):
            for key, column, reason in _damages(connection, table):
                return damaged(table.name, key, column, reason)
        for table in present(connection):
            for name, reason in lost_references(connection, table):
                return StorageError(f"the database is damaged: {name}: {reason}; nas db check lists all damage")
    return None


def cell_problems(connection: sa.Connection, table: sa.Table) -> Iterator[tuple[str, str]]:
    """The damaged cells of a table, in sentences; the connection must return values `as_stored`."""
    for told, (key, column, reason) in enumerate(_damages(connection, table)):
        if told == _TOLD:
            yield table.name, f"more than {_TOLD} cells are damaged; the others are not listed"
            return
        yield table.name, f"{key}, {column}: {reason}"


@contextmanager
def as_stored(connection: sa.Connection) -> Iterator[None]:
    """Make SQLite return every value that it holds, including text that is not UTF-8."""
    if connection.dialect.name != "sqlite":
        yield
        return
    driver: Any = connection.connection.driver_connection
    usual = driver.text_factory
    driver.text_factory = lambda content: content.decode("utf-8", "surrogateescape")
    try:
        yield
    finally:
        driver.text_factory = usual


def _damages(connection: sa.Connection, table: sa.Table) -> Iterator[tuple[str, str, str]]:
    """Row, column and reason of every damaged cell of a table."""
    readers = {column.name: _reader(column, connection.dialect) for column in table.columns}
    ours, kinds = table.metadata is Base.metadata, kinds_of(table)
    stored = sa.table(table.name, *(sa.column(name) for name in readers))
    query = sa.select(*(stored.columns[name] for name in readers))
    with connection.execute(query.execution_options(yield_per=1000)) as result:
        for row in result:
            raw = dict(zip(readers, row, strict=True))
            values: dict[str, Any] = {}
            key = row_name(table, raw)
            for name, read in readers.items():
                try:
                    values[name] = read(raw[name])
                except (*UNREADABLE, SQLAlchemyError) as error:
                    yield key, name, _first_line(error)
            if ours:
                yield from ((key, column, reason) for column, reason in problems(table, values, strictly=True))
            else:
                for name, value in values.items():
                    reason = type_problem(kinds[name], value)
                    if reason is not None:
                        yield key, name, reason


def _reader(column: sa.Column[Any], dialect: sa.Dialect) -> Callable[[Any], Any]:
    """A function that reads a value of a column as SQLAlchemy does, and refuses text that is not UTF-8."""
    kind = column.type.dialect_impl(dialect)
    told = dialect.name == "sqlite" or isinstance(
        kind, sa.Enum
    )  # PostgreSQL returns numbers, times and JSON as Python objects
    process = kind.result_processor(dialect, None) if told else None
    is_json = column.name.endswith("_json")  # Optuna's are text

    def read(value: Any) -> Any:
        if isinstance(value, str):
            value.encode()  # bytes that are not UTF-8 appear as surrogates
            if is_json:
                json.loads(value)
        return value if process is None else process(value)

    return read


def _first_line(error: Exception) -> str:
    if isinstance(error, UnicodeError):
        return "it is not UTF-8"
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def lost_references(connection: sa.Connection, table: sa.Table) -> Iterator[tuple[str, str]]:
    """Rows that refer to rows which do not exist."""
    for link in sorted(table.foreign_keys, key=lambda link: link.parent.name):
        target = link.column.table.alias()
        there = sa.exists().where(target.c[link.column.name] == link.parent)
        query = sa.select(link.parent).where(link.parent.is_not(None), ~there).order_by(link.parent)
        missing = connection.scalars(query).all()
        if missing:
            lost = some(sorted(set(missing), key=str), link.parent.name)
            rows = "1 row refers" if len(missing) == 1 else f"{len(missing)} rows refer"
            yield table.name, f"{rows} to what {link.column.table.name} does not have: {lost}"


def some(values: list[object] | list[str] | list[int], what: str) -> str:
    """The first few values, and how many more there are."""
    more = f" and {len(values) - _MOST_NAMED} more" if len(values) > _MOST_NAMED else ""
    return f"{what} {', '.join(map(str, values[:_MOST_NAMED]))}{more}"

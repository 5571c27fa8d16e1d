"""Copies a database to another one, SQLite or PostgreSQL: every row exactly as stored, verified, all or nothing.

On PostgreSQL the copy is one transaction. On SQLite it is written to a temporary file beside the target, which is
renamed when it is complete.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from results.database.cells import UNREADABLE, first_damage
from results.database.connection import (
    HEAD,
    failing_clearly,
    migrate,
    no_searches,
    plain_engine,
    shown,
    snapshot,
    sqlite_url,
    version,
)
from results.database.migrations.env_names import VERSION_TABLE
from results.database.schema import utc
from results.database.tables import OPTUNA, VERSION_TABLES, present
from results.drafts import draft, put, sweep
from search_space.errors import StorageError
from search_space.paths import shell_word

BATCH = 1000
"""Number of rows to read, write and compare at once."""
Progress = Callable[[str, str, int, int], None]
"""Called with the step ("copied" or "compared"), the table, its rows so far, and its total rows."""


@dataclass(frozen=True)
class Copied:
    """The result of a copy.

    Attributes:
        rows: Number of rows by table.
        nans: Number of NaNs that became NULL: SQLite cannot hold NaN, and stores NULL instead.
    """

    rows: dict[str, int]
    nans: int


class _Raw(sa.types.UserDefinedType[str]):
    """JSON and enums as the text in the database, neither parsed nor formatted again."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "TEXT"


def copy_database(source: str, target: str, progress: Progress = lambda *_: None) -> Copied:
    """Copy all tables, ours and Optuna's, with their ids.

    Args:
        source: URL of the database to copy; it may be in use, and is copied in its state at the start.
        target: URL of an empty database, or of a SQLite file that does not exist yet.
        progress: See `Progress`.

    Raises:
        StorageError: If the source cannot be read or is not up to date, the target is not empty or cannot be written,
            or the copy differs from the original. The target is then unchanged.
    """
    with snapshot(source) as original:
        found = version(original)
        if found is None:
            raise no_searches(shown(source))
        if found != HEAD:
            raise StorageError(
                f"the database {shown(source)} has the schema of {found}, not of {HEAD}; "
                f"bring it up to date first: nas db upgrade --storage {shell_word(shown(source))}"
            )
        with _writing(target) as copy:
            tables = present(original)
            _make_tables(copy, tables, shown(target))
            rows, nans = {}, 0
            for table in tables:
                with _named(table, original):
                    rows[table.name], lost = _copy(original, copy, table, progress)
                    nans += lost
            for table in tables:
                with _named(table, original):
                    _compare(original, copy, table, rows[table.name], progress)
                _set_sequence(copy, table)
    return Copied(rows, nans)


# The target.


@contextmanager
def _writing(url: str) -> Iterator[sa.Connection]:
    """A transaction on an empty database, which is left unchanged unless the body succeeds."""
    engine = plain_engine(url)
    try:
        if engine.dialect.name == "sqlite":
            with _new_file(Path(str(engine.url.database)).resolve(), url) as connection:
                yield connection
        else:
            with failing_clearly(url), engine.begin() as connection:
                _must_be_empty(connection, url)
                yield connection
    finally:
        engine.dispose()


@contextmanager
def _new_file(path: Path, url: str) -> Iterator[sa.Connection]:
    """A database beside `path`, which is moved there at the end."""
    names = [f"{path.name}{suffix}" for suffix in ("", "-wal", "-shm", "-journal")]
    sweep(path, "copy", names)
    _must_be_empty_file(path, url)
    try:
        with draft(path, "copy", names) as folder:
            beside = folder / path.name
            engine = plain_engine(sqlite_url(beside))
            try:
                with failing_clearly(url), engine.begin() as connection:
                    yield connection
            finally:
                engine.dispose()  # SQLite deletes its log with its last connection
            _must_be_empty_file(path, url)
            put(beside, path)
    except OSError as error:
        raise StorageError(f"the database {path} cannot be written: {error.strerror or error}") from None


def _must_be_empty_file(path: Path, url: str) -> None:
    log = Path(f"{path}-wal")
    if log.exists() and not path.exists():  # SQLite would apply it to the new file
        raise StorageError(f"{log} is left over from a deleted database; move it away, or choose another name")
    if path.exists():
        engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)))
        try:
            with failing_clearly(url), engine.connect() as connection:
                _must_be_empty(connection, url)
        finally:
            engine.dispose()


def _must_be_empty(connection: sa.Connection, url: str) -> None:
    names = sa.inspect(connection).get_table_names()
    if names:
        raise StorageError(
            f"the database {shown(url)} is not empty: it holds {len(names)} tables, such as {sorted(names)[0]}; "
            "allowed: an empty database, or a SQLite file that does not exist"
        )


def _make_tables(connection: sa.Connection, tables: Sequence[sa.Table], name: str) -> None:
    """Create the tables that the original has."""
    migrate(connection, name, create=True)
    connection.execute(sa.delete(next(table for table in VERSION_TABLES if table.name == VERSION_TABLE)))
    OPTUNA.create_all(connection, [table for table in tables if table.metadata is OPTUNA])
    for table in VERSION_TABLES:
        if table in tables:
            table.create(connection, checkfirst=True)


def _set_sequence(connection: sa.Connection, table: sa.Table) -> None:
    """Make PostgreSQL number new rows after the existing ones."""
    column = table.autoincrement_column
    if connection.dialect.name != "postgresql" or column is None:
        return
    sequence = connection.scalar(sa.select(sa.func.pg_get_serial_sequence(table.name, column.name)))
    last = connection.scalar(sa.select(sa.func.max(column)))
    if sequence is not None and last is not None:
        connection.execute(sa.select(sa.func.setval(sequence, last)))


# The rows.


def _copy(original: sa.Connection, copy: sa.Connection, table: sa.Table, progress: Progress) -> tuple[int, int]:
    """Copy a table; returns its number of rows, and the number of NaNs that the copy cannot hold."""
    total = original.scalar(sa.select(sa.func.count()).select_from(table)) or 0
    names = [column.name for column in table.columns]
    raw = sa.table(table.name, *(sa.column(column.name, _stored(column)) for column in table.columns))
    done = nans = 0
    for rows in _batches(original, table):
        written = [_fitting(row, copy) for row in rows]
        nans += sum(map(_lost, rows, written))
        copy.execute(sa.insert(raw), [dict(zip(names, row, strict=True)) for row in written])
        done += len(rows)
        progress("copied", table.name, done, total)
    return done, nans


def _compare(original: sa.Connection, copy: sa.Connection, table: sa.Table, total: int, progress: Progress) -> None:
    """Raise StorageError unless both have the same rows."""
    done = 0
    for ours, theirs in zip_longest(_batches(original, table), _batches(copy, table), fillvalue=()):
        for row, other in zip_longest(ours, theirs):
            if row is None or other is None:
                raise StorageError(
                    f"the copy of {table.name} has a different number of rows than the original; nothing is kept"
                )
            for column, value, arrived in zip(table.columns, _fitting(row, copy), other, strict=True):
                if not _same(value, arrived):
                    key = {name.name: row[place] for place, name in enumerate(table.columns) if name.primary_key}
                    raise StorageError(
                        f"the copy of {table.name} is not equal to the original: {column.name} of {key} is "
                        f"{arrived!r:.80} instead of {value!r:.80}; nothing is kept"
                    )
        done += len(ours)
        progress("compared", table.name, done, total)


def _batches(connection: sa.Connection, table: sa.Table) -> Iterator[Sequence[tuple[Any, ...]]]:
    """The rows of a table by primary key, in batches. JSON and enums are text, times with a zone are in UTC."""
    columns = [sa.cast(column, sa.Text) if isinstance(_stored(column), _Raw) else column for column in table.columns]
    zoned = [isinstance(column.type, sa.DateTime) and column.type.timezone for column in table.columns]
    query = sa.select(*columns).order_by(*(_in_order(column, connection) for column in table.primary_key.columns))
    with connection.execute(query.execution_options(yield_per=BATCH)) as result:
        for rows in result.partitions():
            yield [tuple(utc(v) if z and v else v for v, z in zip(row, zoned, strict=True)) for row in rows]


def _in_order(column: sa.Column[Any], connection: sa.Connection) -> sa.ColumnElement[Any]:
    """A column as a sort key that is the same on every database: text is ordered by its bytes."""
    if connection.dialect.name == "postgresql" and isinstance(column.type, sa.String):
        return sa.collate(column, "C")
    return column


def _stored(column: sa.Column[Any]) -> sa.types.TypeEngine[Any]:
    return _Raw() if isinstance(column.type, (sa.JSON, sa.Enum)) else column.type


def _fitting(row: tuple[Any, ...], copy: sa.Connection) -> tuple[Any, ...]:
    """The row in a form that the copy can hold."""
    if copy.dialect.name != "sqlite":
        return row
    return tuple(None if isinstance(value, float) and math.isnan(value) else value for value in row)


def _lost(row: tuple[Any, ...], fitting: tuple[Any, ...]) -> int:
    return sum(value is not None and kept is None for value, kept in zip(row, fitting, strict=True))


def _same(value: Any, other: Any) -> bool:
    nan = isinstance(value, float) and isinstance(other, float) and math.isnan(value) and math.isnan(other)
    return nan or (type(value) is type(other) and bool(value == other))


@contextmanager
def _named(table: sa.Table, original: sa.Connection) -> Iterator[None]:
    """Name the cell that could not be read or written, or else its table."""
    try:
        yield
    except (*UNREADABLE, SQLAlchemyError) as error:
        damage = None
        with suppress(SQLAlchemyError):  # after an error PostgreSQL refuses further queries in this transaction
            damage = first_damage(original)
        if damage is not None:
            raise damage from None
        if isinstance(error, SQLAlchemyError):
            raise
        raise StorageError(
            f"the table {table.name} holds a value that cannot be read: {error}; see nas db check"
        ) from None

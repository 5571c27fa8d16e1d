"""Opening a database, SQLite or PostgreSQL: connected, up to date, and never with a password in a message."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unicodedata import category
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from results.database.sqlite import BUSY_TIMEOUT_S, SqliteFile
from search_space.errors import StorageError, escaped
from search_space.extras import check_installed
from search_space.paths import user_path

CONNECT_TIMEOUT_S = 10
SILENCE_S = 30
"""A server that has not answered on the TCP level for this long counts as unavailable."""
HEAD = "0005_metrics"
"""The newest migration."""


_SUPPORTED = {("sqlite", ""), ("sqlite", "pysqlite"), ("postgresql", ""), ("postgresql", "psycopg")}
_FORMS = "sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"


def sqlite_url(path: str | Path) -> str:
    """The URL of a SQLite file, from which `sqlalchemy.make_url` reads exactly this path, if it is UTF-8.

    Characters that are special in a URL or to Optuna, which uses it as a template, and unprintable characters are
    written with ``%``.
    """
    return "sqlite:///" + "".join(
        each if each.isprintable() and each not in "%?#{}" else quote(each, safe="", errors="surrogateescape")
        for each in str(path)
    )


def shown(url: str | sa.URL) -> str:
    """The URL with its password hidden."""
    try:
        parsed = sa.make_url(url)
        if _is_cut_wrongly(parsed):
            return "<a database URL with an '@' in its password, which must be written %40>"
        if _is_file(parsed):
            return sqlite_url(parsed.database or "")
        hidden = {key: "***" for key in parsed.query if "password" in key.lower()}
        return parsed.update_query_dict(hidden).render_as_string(hide_password=True)
    except (SQLAlchemyError, ValueError):
        return "<not a database URL>"


def unhidden(url: sa.URL) -> str:
    """The URL as text, including its password, for a library that does not accept a `sqlalchemy.URL`."""
    return sqlite_url(url.database or "") if _is_file(url) else url.render_as_string(hide_password=False)


def has_password(url: str) -> bool:
    """Whether the URL holds a password, so that it must not be shown."""
    try:
        parsed = sa.make_url(url)
    except (SQLAlchemyError, ValueError):
        return False
    return bool(parsed.password) or any("password" in key.lower() for key in parsed.query)


def open_engine(url: str, *, create: bool = True) -> sa.Engine:
    """Connect to a database and bring our tables up to date.

    Args:
        url: ``sqlite:///FILE`` or ``postgresql+psycopg://USER:PASSWORD@HOST/DATABASE``. FILE is relative to the current
            folder unless it begins with ``/`` or ``~``, the home folder; ``%25``, ``%3F`` stand for ``%``, ``?`` in it.
        create: Whether a missing SQLite file or missing tables may be created; if not, they are an error.

    Raises:
        StorageError: If the URL is not of these forms, the database cannot be reached, or it is not one of ours.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite" and create:
        folder = Path(str(parsed.database)).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"the folder {folder} cannot be made: {error.strerror}; choose another --out or --storage"
            ) from None
    engine, file = _engine(parsed, create)
    try:
        with failing_clearly(url), engine.connect() as connection:
            with connection.begin():
                found = version(connection)
            if found is None and not create:
                raise no_searches(shown(url))
            if found != HEAD:
                if file is not None and file.is_read_only:
                    raise StorageError(
                        f"the database {shown(url)} has the schema of {found}, not of {HEAD}, and is read-only; "
                        "a copy that can be written to is brought up to date when it is named with --storage"
                    )
                with connection.begin():
                    wait_for_turn(connection, "migration")
                    migrate(connection, shown(url), create)
    except StorageError:
        engine.dispose()
        raise
    return engine


def wait_for_turn(connection: sa.Connection, what: str) -> None:
    """At the start of a transaction, wait until no other one does the same, so that it creates everything or nothing.

    SQLite allows one writer, which is this transaction from now on. By default Python's driver does not begin a
    transaction for statements that create tables, and commits each of them at once.
    """
    if connection.dialect.name == "postgresql":
        number = int.from_bytes(hashlib.sha256(f"nas {what}".encode()).digest()[:8], "big", signed=True)
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(number)))
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def plain_engine(url: str, *, create: bool = True) -> sa.Engine:
    """An engine with our settings; nothing is opened, created or migrated yet.

    Args:
        url: URL of the database.
        create: Whether a SQLite file may be created, and must be writable.

    Raises:
        StorageError: If the URL is not supported, or a SQLite file does not exist or cannot be written to.
    """
    return _engine(_parse(url), create)[0]


def _engine(url: sa.URL, create: bool) -> tuple[sa.Engine, SqliteFile | None]:
    """An engine, and the file of a SQLite database."""
    if url.get_backend_name() != "sqlite":
        engine = sa.create_engine(url, connect_args=_connect_args())
        event.listen(engine, "connect", _configure_postgresql)
        return engine, None
    file = SqliteFile(Path(str(url.database)), create=create)
    # A pooled connection would keep reading a file that is gone; connections to read-only media may be copies.
    pool = None if create or file.is_read_only else sa.NullPool
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, poolclass=pool)
    event.listen(engine, "do_connect", lambda dialect, record, args, options: file.connect(**options))
    event.listen(engine, "checkout", lambda connection, record, proxy: file.check())
    event.listen(engine, "commit", lambda connection: file.check_written())
    return engine, file


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite database, the same for every path that leads to it; None for a database on a server."""
    parsed = _parse(url)
    return Path(os.path.realpath(str(parsed.database))) if parsed.get_backend_name() == "sqlite" else None


@contextmanager
def snapshot(url: str) -> Iterator[sa.Connection]:
    """A consistent snapshot of an existing database, whatever is written meanwhile; it is not migrated.

    Raises:
        StorageError: If it does not exist, or cannot be reached or read.
    """
    engine = plain_engine(url, create=False)
    try:
        with failing_clearly(url):
            if engine.dialect.name == "sqlite":
                with engine.connect() as connection:
                    connection.exec_driver_sql("BEGIN")  # the Python driver does not begin a transaction for reads
                    yield connection
            else:
                with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
                    yield connection
    finally:
        engine.dispose()


@contextmanager
def failing_clearly(url: str) -> Iterator[None]:
    """Turn errors of a database into one sentence without a password.

    Raises:
        StorageError: Instead of SQLAlchemy's errors.
    """
    try:
        yield
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise StorageError(
            f"the database {shown(url)} cannot be used: {_without_password(reason, _parse(url))}"
        ) from None


def version(connection: sa.Connection) -> str | None:
    """The newest migration that was applied to a database; None if it has none of our tables."""
    from results.database.migrations.env_names import VERSION_TABLE

    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return None if found is None else str(found)


def _parse(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
        backend = parsed.get_backend_name()
        driver = parsed.get_driver_name() if "+" in parsed.drivername else ""
    except (SQLAlchemyError, ValueError):
        backend = driver = ""
    if any(category(sign) == "Cc" for sign in url) or "%00" in url:
        raise StorageError(
            f"the storage {escaped(shown(url))} holds a control character, such as a line break; allowed: {_FORMS}"
        )
    if backend != "" and _is_cut_wrongly(parsed):
        raise StorageError(f"the storage {shown(url)} is not understood; allowed: '@' in a password written as %40")
    if (backend, driver) not in _SUPPORTED:
        may_be_file = backend == "" and Path(url).name and not any(sign in url for sign in ":@")  # contains no password
        meant = f"; did you mean {sqlite_url(url)}?" if may_be_file else ""
        raise StorageError(f"the storage {shown(url)} is not supported; allowed: {_FORMS}{meant}")
    if backend == "sqlite":
        return _parse_file(parsed)
    check_installed("psycopg", f"the storage {shown(url)}")
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed


def _is_file(url: sa.URL) -> bool:
    """Whether the URL names a SQLite file and has no parts that are meaningless for one."""
    return url.drivername == "sqlite" and not (url.host or url.username or url.port or url.query)


def _parse_file(url: sa.URL) -> sa.URL:
    """The URL of a SQLite file with ``~`` expanded.

    Raises:
        StorageError: If it does not name a file.
    """
    file = url.database or ""
    if url.host or url.username or url.port:
        meant = f"; did you mean {sqlite_url(f'{url.host}/{file}'.rstrip('/'))}?" if url.host else ""
        raise StorageError(
            f"the storage {shown(url)} names a host, which a SQLite file does not have; allowed: {_FORMS}{meant}"
        )
    if file in ("", ":memory:"):
        raise StorageError(f"the storage {shown(url)} is not supported; allowed: {_FORMS}")
    if url.query:
        raise StorageError(
            f"the storage {shown(url)} has parameters, which mean nothing for a SQLite file; allowed: {_FORMS}, "
            "a '?' in the name of a file being written %3F"
        )
    try:
        fine = file == os.fsdecode(os.fsencode(file)) and bool(file.encode()) and "\ufffd" not in file
    except UnicodeEncodeError:
        fine = False
    if not fine:  # U+FFFD replaces bytes that are not UTF-8
        raise StorageError(
            f"the storage {shown(url)} is a file whose name is not UTF-8 here, which no URL can hold; "
            "choose another --out or --storage, or a locale in UTF-8"
        )
    path = user_path(file, "the file of --storage", StorageError)
    if os.path.isdir(path):  # noqa: PTH112 (never raises)
        meant = sqlite_url(path / "nas.db")
        raise StorageError(f"the storage {shown(url)} is a folder; allowed: a file, such as {meant}")
    return url.set(database=str(path))


def _is_cut_wrongly(url: sa.URL) -> bool:
    """Whether a password contains '@': the URL is split at the first one, so the rest of the password precedes the
    host.
    """
    return url.get_backend_name() != "sqlite" and ("@" in (url.host or "") or "@" in (url.database or ""))


def _connect_args() -> dict[str, Any]:
    return {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "tcp_user_timeout": 1000 * SILENCE_S,
        "keepalives_idle": SILENCE_S // 2,
        "keepalives_interval": SILENCE_S // 6,
        "keepalives_count": 3,
    }


def _configure_postgresql(connection: Any, _: object) -> None:
    """Keep a process that freezes or loses its network during a transaction from blocking all others."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET idle_in_transaction_session_timeout = '{SILENCE_S}s'")
    connection.commit()


def migrate(connection: sa.Connection, name: str, create: bool) -> None:
    """Bring our tables up to date.

    Args:
        connection: A connection to the database, in a transaction that the caller ends.
        name: Its name for messages.
        create: Whether missing tables may be created.

    Raises:
        StorageError: If they are missing and may not be created, or a newer version of this program wrote them.
    """
    current = version(connection)
    if current == HEAD:
        return
    if current is None and not create:
        raise no_searches(name)
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise StorageError(f"the database {name} was written by a newer version of this program ({error})") from None


def no_searches(name: str) -> StorageError:
    """The message for a database without our tables."""
    return StorageError(f"the database {name} holds no searches; name another with --storage, or run a search first")


def _without_password(text: str, url: sa.URL) -> str:
    secrets = [url.password, *(value for key, value in url.query.items() if "password" in key.lower())]
    for secret in secrets:
        if secret:
            text = text.replace(str(secret), "***")
    return text

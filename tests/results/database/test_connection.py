"""Opening a database: migrations make exactly our schema, and whatever is wrong is one sentence without a password."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import results
from results.database.connection import HEAD, open_engine, shown
from results.database.migrations.env_names import VERSION_TABLE
from results.database.schema import Base
from results.store.store import Store
from search_space.errors import StorageError

EMPTY = {"identity": {}, "config": {}, "objectives": ["nll"]}
FIRST_TRIAL = {
    "role": "trial",
    "number": 0,
    "origin": "tpe",
    "choices": {},
    "state": "COMPLETE",
    "seed": 0,
    "epochs_planned": 2,
    "epochs_trained": 2,
    "epochs_run": 2,
    "nll": 0.5,
    "latency_ms": 1.5,
    "seconds": 3.0,
    "attempts": 1,
    "device": "a CPU",
    "versions": {},
}
"""A complete trial as the first version stored it."""


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of this machine on which nothing listens: taken for the duration of the test, but refusing."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_migrations_make_exactly_the_schema(database_url):
    engine = open_engine(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": True,
                "include_name": lambda name, kind, _: kind != "table" or (name or "").startswith("nas_"),
                "version_table": VERSION_TABLE,
            },
        )
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_a_database_of_the_first_version_keeps_what_it_holds(database_url, upgrade):
    """Its tables are made by the migration of that time and filled without today's classes."""
    engine = sa.create_engine(database_url)
    with engine.begin() as connection:
        upgrade(connection, "0001_initial")
        tables = sa.MetaData()
        tables.reflect(connection, only=lambda name, _: name.startswith("nas_"))
        now = datetime(2026, 1, 1)
        for table, row in (
            ("studies", {"name": "old", "optuna_study_id": 1, "created_at": now, **EMPTY}),
            ("studies", {"id": 2, "name": "older", "optuna_study_id": 2, "created_at": now, **EMPTY}),
            ("architectures", {"hash": "abc", "yaml": "yaml", "params": 10, "macs": 20}),
            (
                "evaluations",
                {"study_id": 1, "architecture_id": 1, "key": "trial-0000", **FIRST_TRIAL, "started_at": now},
            ),
        ):
            connection.execute(sa.insert(tables.tables[f"nas_{table}"]).values({"id": 1, **row}))
    engine.dispose()
    store = Store(database_url, create=False)
    study = store.study("old")
    (row,) = study.evaluations()
    assert (row.key, row.nll, row.latency_ms, row.device) == ("trial-0000", 0.5, 1.5, "a CPU")
    assert (row.phase, row.latency, study.row.reference) == ("", None, None)
    assert (row.balanced_accuracy, row.macro_f1, row.calibration_error) == (None, None, None)
    assert store.scores("context", ["abc"]) == {}
    uids = [study.uid for study in store.studies()]
    assert [len(bytes.fromhex(uid)) for uid in uids] == [16, 16]
    assert uids[0] != uids[1]
    store.close()
    again = Store(database_url)
    assert [study.uid for study in again.studies()] == uids
    again.close()


def test_head_is_the_newest_migration():
    assert ScriptDirectory(str(Path(results.__file__).parent / "database" / "migrations")).get_heads() == [HEAD]


def test_all_our_tables_carry_the_prefix():
    assert all(name.startswith("nas_") for name in Base.metadata.tables)


def test_opening_again_changes_nothing(database_url, make_study):
    first = Store(database_url)
    make_study(first, "kept")
    first.close()
    second = Store(database_url, create=False)
    assert [study.name for study in second.studies()] == ["kept"]
    second.close()


def test_missing_folders_are_made(tmp_path):
    open_engine(sqlite_url(tmp_path / "a" / "b" / "nas.db")).dispose()
    assert (tmp_path / "a" / "b" / "nas.db").is_file()


def test_a_missing_file_is_not_made_when_reading(tmp_path):
    with pytest.raises(StorageError, match=r"there is no database at .*missing\.db"):
        open_engine(sqlite_url(tmp_path / "missing.db"), create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_database_is_left_alone_when_reading(database_url):
    engine = sa.create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE theirs (id INTEGER)"))
    with pytest.raises(StorageError, match="holds no searches"):
        open_engine(database_url, create=False)
    assert sa.inspect(engine).get_table_names() == ["theirs"]
    engine.dispose()


def test_a_file_that_is_not_a_database(tmp_path):
    path = tmp_path / "notes.db"
    path.write_text("These are notes, not a database.\n" * 100)
    with pytest.raises(StorageError, match=r"notes\.db cannot be used: file is not a database"):
        open_engine(sqlite_url(path))
    assert path.read_text().startswith("These are notes")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file.* cannot be made"):
        open_engine(sqlite_url(tmp_path / "file" / "nas.db"))


def test_a_database_of_a_newer_version(database_url):
    engine = open_engine(database_url)
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999_future'"))
    engine.dispose()
    with pytest.raises(StorageError, match="newer version"):
        open_engine(database_url)


@pytest.mark.parametrize(
    "url",
    [
        "nas.db",
        "mysql://user:geheim@host/database",
        "postgresql+nosuchdriver://user:geheim@host/database",
        "postgresql+psycopg2cffi://user:geheim@host/database",  # a real driver that is not installed
        "sqlite+aiosqlite:///nas.db",
        "sqlite://",
        "postgresql+psycopg://user:geheim@host:port/database",
    ],
)
def test_an_unsupported_url_says_what_is_allowed(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match=r"sqlite:///FILE") as caught:
        open_engine(url)
    assert "geheim" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "where", ["postgresql+psycopg://me:geheim@{host}/db", "postgresql+psycopg://me@{host}/db?password=geheim"]
)
def test_an_unreachable_server(where, closed_port):
    url = where.format(host=f"127.0.0.1:{closed_port}")
    with pytest.raises(StorageError, match="cannot be used") as caught:
        open_engine(url)
    message = str(caught.value)
    assert str(closed_port) in message
    assert "geheim" not in message
    assert "\n" not in message
    assert "geheim" not in shown(url)


def test_a_missing_database_on_a_server(postgres):
    url = sa.make_url(postgres()).set(database="missing", password="geheim").render_as_string(hide_password=False)
    with pytest.raises(StorageError, match='"missing" does not exist') as caught:
        open_engine(url)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://me:geheim@host/db", "postgresql://me:geheim@host/db?x=1", "://geheim"]
)
def test_shown_hides_the_password(url):
    assert "geheim" not in shown(url)


def test_a_failed_opening_leaves_no_connection_behind(postgres):
    url = sa.make_url(postgres())
    with pytest.raises(StorageError, match="holds no searches") as caught:
        open_engine(url.render_as_string(hide_password=False), create=False)
    admin = sa.create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {url.database}"))  # refused while there is a connection
    admin.dispose()
    assert caught.value

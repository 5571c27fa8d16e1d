"""A database on read-only media can be read, with and without the files that SQLite keeps beside it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from results.dashboard import Dashboard
from results.database.checks import check_database
from results.database.copying import copy_database
from results.store.store import Store
from search_space.errors import StorageError

FILES = ("nas.db", "nas.db-wal", "nas.db-shm")


@pytest.fixture
def snapshot(earlier_version, mounted, remount, tmp_path):
    """A read-only folder with some of the files of a database, as they were while a search used it."""
    earlier_version("0001_initial")
    newest = tmp_path / "newest" / "nas.db"

    def make(*names: str, delete: bool = False) -> Path:
        folder = mounted()
        with closing(sqlite3.connect(newest)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE" if delete else "PRAGMA wal_autocheckpoint=0")
            connection.execute("UPDATE nas_evaluations SET nll = 7.0 WHERE number = 0")
            connection.commit()
            for name in names:
                shutil.copyfile(newest.with_name(name), folder / name)
        if len(names) == 1:  # without a log, it is as the last connection left it
            shutil.copyfile(newest, folder / "nas.db")
        remount(folder, "ro")
        return folder / "nas.db"

    return make


def look(url: str) -> None:
    """Everything that only reads."""
    store = Store(url, create=False)
    assert [row.nll for row in store.study("old").evaluations()] == [7.0, 2.0, 3.0]
    store.close()
    assert check_database(url).problems == []
    server = Dashboard(url, "127.0.0.1", 0)
    assert [study.study_name for study in server._storage.get_all_studies()] == ["old"]
    server.server_close()


@pytest.mark.parametrize("names", [FILES, FILES[:2], FILES[:1]], ids=["log and index", "log", "neither"])
def test_read_only_media(names, snapshot, tmp_path):
    path = snapshot(*names)
    look(f"sqlite:///{path}")
    assert sorted(os.listdir(path.parent)) == sorted(names)  # noqa: PTH208
    copy_database(f"sqlite:///{path}", f"sqlite:///{tmp_path / 'copy.db'}")
    look(f"sqlite:///{tmp_path / 'copy.db'}")


def test_without_a_log_at_all(snapshot):
    look(f"sqlite:///{snapshot('nas.db', delete=True)}")


def test_a_transaction_that_a_kill_left_open_is_undone(earlier_version, mounted, remount, tmp_path):
    """On read-only media SQLite cannot undo it in place."""
    earlier_version("0001_initial")
    newest, folder = tmp_path / "newest" / "nas.db", mounted()
    with closing(sqlite3.connect(newest, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("UPDATE nas_evaluations SET nll = 7.0 WHERE number = 0")
        connection.execute("PRAGMA cache_size=1")
        connection.execute("BEGIN")
        connection.execute("UPDATE nas_evaluations SET nll = 8.0, message = hex(randomblob(100000))")
        for name in ("nas.db", "nas.db-journal"):
            shutil.copyfile(newest.with_name(name), folder / name)
        connection.execute("ROLLBACK")
    remount(folder, "ro")
    look(f"sqlite:///{folder / 'nas.db'}")


def test_writing_is_refused_in_a_sentence(snapshot):
    url = f"sqlite:///{snapshot(*FILES)}"
    with pytest.raises(StorageError, match=r"nas\.db cannot be written: .*nas\.db is read-only; choose another --out"):
        Store(url)
    store = Store(url, create=False)
    with pytest.raises(StorageError, match="readonly database"):
        store.study("old").update_config({})
    store.close()


def test_an_earlier_version_says_what_to_do(earlier_version, mounted, remount):
    folder = mounted()
    shutil.copyfile(earlier_version("0002_ledger"), folder / "nas.db")
    remount(folder, "ro")
    with pytest.raises(StorageError, match=r"has the schema of 0002_ledger, not of .*, and is read-only; a copy"):
        Store(f"sqlite:///{folder / 'nas.db'}", create=False)
    remount(folder, "rw")
    store = Store(f"sqlite:///{folder / 'nas.db'}", create=False)
    assert len(store.study("old").evaluations()) == 3
    store.close()


def test_reading_never_waits_and_changes_nothing(sqlite_store, make_study):
    """While another process is in the middle of a transaction, and in a file that is only kept with a journal."""
    make_study(sqlite_store)
    path = Path(sqlite_store.engine.url.database)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        store = Store(sqlite_store.url, create=False)
        assert [study.name for study in store.studies()] == ["study"]
        store.close()
    sqlite_store.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)
    before = path.read_bytes()
    Store(sqlite_store.url, create=False).close()
    assert path.read_bytes() == before


def test_a_reader_sees_the_current_file(tmp_path, make_study):
    """As a dashboard does, beside a database that is replaced, and then deleted."""
    for name in ("first", "second"):
        store = Store(f"sqlite:///{tmp_path / name}")
        make_study(store, name).driver.leave()
        store.close()
    store = Store(f"sqlite:///{tmp_path / 'first'}", create=False)
    assert [study.name for study in store.studies()] == ["first"]
    (tmp_path / "second").replace(tmp_path / "first")
    assert [study.name for study in store.studies()] == ["second"]
    (tmp_path / "first").unlink()
    with pytest.raises(StorageError, match=r"there is no database at .*first"):
        store.studies()
    store.close()

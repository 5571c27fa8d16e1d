"""Renaming and deleting a study with its folders: wherever the process is killed, the next command makes it whole."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from nas.study.files import RunFolder
from nas.study.housekeeping import delete_study, rename_study, settle
from nas.study.ownership import MARKER, MOVING
from results.store.store import Store
from search_space.errors import StorageError

MOST_STEPS = 100


def files(*roots: Path) -> dict[str, bytes]:
    """All files but those of the database and its locks."""
    return {
        str(path.relative_to(root.parent)): path.read_bytes()
        for root in roots
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.startswith("nas.db")
    }


def names_in(url: str) -> list[str]:
    with closing(Store(url, create=False)) as store:
        return [row.name for row in store.studies()]


@pytest.fixture
def roots(settings, tmp_path):
    return [Path(settings["out"]), tmp_path / "files"]


@pytest.fixture
def study(run, settings, roots, database_url):
    """A study on either database, with weights and a report, and a note of the user in its folder."""
    run(budget=2, finalists=0, storage=database_url, checkpoint_dir=str(roots[1]))
    RunFolder(roots[1], "study").weights("trial-0000").write_bytes(b"weights")
    (roots[0] / "study" / "notes.txt").write_text("mine")
    return database_url


@pytest.fixture
def restore(study, roots, tmp_path) -> Iterator[Callable[[], None]]:
    """Puts database and folders back to where they were."""
    backup, url = tmp_path / "backup", sa.make_url(study)
    for root in roots:
        shutil.copytree(root, backup / root.name)
    if url.get_backend_name() == "sqlite":
        shutil.copyfile(str(url.database), backup / "nas.db")
        engine = None
    else:
        engine = sa.create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {url.database}_backup TEMPLATE {url.database}"))

    def make() -> None:
        for root in roots:
            shutil.rmtree(root)
            shutil.copytree(backup / root.name, root)
        if engine is None:
            for rest in ("-wal", "-shm"):
                Path(f"{url.database}{rest}").unlink(missing_ok=True)
            shutil.copyfile(backup / "nas.db", str(url.database))
            return
        with engine.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {url.database} WITH (FORCE)"))
            connection.execute(sa.text(f"CREATE DATABASE {url.database} TEMPLATE {url.database}_backup"))

    yield make
    if engine is not None:
        engine.dispose()


@pytest.fixture
def states_after_kills(nas, roots, study, restore, killed_at, tmp_path):
    """What the next command finds and leaves, for a kill at each step of a command."""
    options = ("--out", roots[0], "--storage", study, "--checkpoint-dir", roots[1])

    def make(*command: str) -> list[tuple[list[str], dict[str, bytes]]]:
        found = []
        for step in range(1, MOST_STEPS):
            restore()
            killed = killed_at(step, tmp_path, lambda: nas("studies", *command, *options))
            assert nas("gc", "--delete", *options).code == 0
            found.append((names_in(study), files(*roots)))
            if not killed:
                return found
        raise AssertionError("it never ends")

    return make


def test_a_renaming_is_whole_wherever_it_is_killed(states_after_kills, roots):
    before = files(*roots)
    found = states_after_kills("rename", "study", "other")
    assert len(found) > 10
    for names, now in found:
        (name,) = names
        assert name in ("study", "other")
        assert set(now) == {path.replace("/study/", f"/{name}/") for path in before}
        same = [path for path in before if "report" not in path]
        assert [now[path.replace("/study/", f"/{name}/")] for path in same] == [before[path] for path in same]
        assert json.loads(now[f"runs/{name}/report.json"])["study"] == name
        assert now[f"runs/{name}/report.txt"].startswith(f"Study {name}: ".encode())
    assert [names for names, _ in found] == sorted((names for names, _ in found), key=["study"].__ne__)
    assert found[-1][0] == ["other"]


def test_a_deletion_is_whole_wherever_it_is_killed(states_after_kills, roots):
    before = files(*roots)
    found = states_after_kills("delete", "study", "--yes")
    assert len(found) > 10
    for names, now in found:
        assert now == (before if names == ["study"] else {"runs/study/notes.txt": b"mine"})
    assert found[0][0] == ["study"]
    assert found[-1][0] == []
    assert not list(roots[1].iterdir())


def test_a_deletion_is_whole_too_where_the_output_folder_was_moved(nas, run, roots, killed_at, monkeypatch):
    run(budget=1, finalists=0)
    moved = roots[0].rename(roots[0].with_name("moved"))

    def delete() -> None:
        monkeypatch.setattr("nas.study.housekeeping.remove_own", lambda folder: os.kill(os.getpid(), signal.SIGKILL))
        nas("studies", "delete", "study", "--yes", "--out", moved)

    assert killed_at(-1, moved, delete)
    assert [path.name[:15] for path in moved.iterdir() if path.is_dir()] == [".study.deleted-"]
    assert nas("gc", "--delete", "--out", moved).code == 0
    assert not [path for path in moved.iterdir() if path.is_dir()]


@pytest.mark.parametrize("command", ["search", "export"])
def test_other_commands_make_it_whole_too(nas, run, settings, roots, command):
    """As it is where a process was killed just before the database commits."""
    run(budget=2, finalists=0)
    folder = roots[0] / "study"
    (folder / MOVING).touch()
    folder.rename(roots[0] / "other")
    if command == "search":
        run(budget=3, finalists=0)
    else:
        nas("export", "study", "--out", roots[0], "--trial", 0, "-o", roots[0] / "bundle")  # nothing was really trained
    assert sorted(path.name for path in roots[0].iterdir() if "nas.db" not in path.name) == ["study"]
    assert not (folder / MOVING).exists()


def test_a_database_that_fails_in_the_end_leaves_everything_as_it_was(study, roots):
    def fail(session: object) -> None:
        raise OperationalError("COMMIT", {}, Exception("the disk is full"))

    before = files(*roots)
    with closing(Store(study)) as store:
        sa.event.listen(sa.orm.Session, "before_commit", fail)
        try:
            for act in (
                lambda: rename_study(store, "study", "other", roots),
                lambda: delete_study(store, "study", roots),
            ):
                with pytest.raises(StorageError, match="the disk is full"):
                    act()
                assert files(*roots) == before
        finally:
            sa.event.remove(sa.orm.Session, "before_commit", fail)
        assert store.study("study") is not None


def test_a_commit_of_which_the_answer_was_lost(study, roots):
    """The database has made it, and the connection broke."""

    def fail(session: object) -> None:
        raise OperationalError("COMMIT", {}, Exception("the connection is lost"))

    with closing(Store(study)) as store:
        for act, left in (
            (lambda: rename_study(store, "study", "other", roots), ["other"]),
            (lambda: delete_study(store, "other", roots), []),
        ):
            sa.event.listen(sa.orm.Session, "after_commit", fail, once=True)
            with pytest.raises(StorageError, match="the connection is lost"):
                act()
            assert [path.name for path in roots[1].iterdir()] == left


@pytest.mark.parametrize("taken", [0, 1])
def test_a_folder_of_the_new_name_is_not_touched(study, roots, taken):
    (roots[taken] / "other").mkdir()
    before = files(*roots)
    with closing(Store(study)) as store:
        with pytest.raises(StorageError, match="other exists already; move it away, or choose another name"):
            rename_study(store, "study", "other", roots)
        assert store.study("study") is not None
    assert files(*roots) == before
    assert list((roots[taken] / "other").iterdir()) == []


def test_a_study_without_a_folder(study, roots, tmp_path):
    with closing(Store(study)) as store:
        assert rename_study(store, "study", "other", [tmp_path / "none"]) == []
        assert delete_study(store, "other", [tmp_path / "none"]) == []
        assert store.studies() == []


def test_a_link_is_left_and_not_followed(run, settings, roots, tmp_path):
    run(budget=1, finalists=0)
    (roots[0] / "study").rename(tmp_path / "elsewhere")
    (roots[0] / "study").symlink_to(tmp_path / "elsewhere")
    before = files(tmp_path / "elsewhere")
    with closing(Store(f"sqlite:///{roots[0]}/nas.db")) as store:
        assert delete_study(store, "study", roots) == []
    assert files(tmp_path / "elsewhere") == before
    assert (roots[0] / "study").is_symlink()


def test_copies_and_what_their_user_renamed_stay_where_they_are(run, settings, roots):
    run(budget=1, finalists=0)
    (roots[0] / "study").rename(roots[0] / "mine")
    shutil.copytree(roots[0] / "mine", roots[0] / "copy")
    before = files(roots[0])
    with closing(Store(f"sqlite:///{roots[0]}/nas.db")) as store:
        settle(store, roots)
    assert files(roots[0]) == before


@pytest.mark.parametrize("name", [".mine.deleted-0123", f".deleted-{'0' * 32}", f".other.deleted-{'0' * 32}"])
def test_what_belongs_to_another_database_is_not_settled(run, settings, roots, name):
    run(budget=1, finalists=0)
    for folder in (roots[0] / name, roots[0] / "moving"):
        shutil.copytree(roots[0] / "study", folder)
        (folder / MARKER).write_text(json.dumps({"uid": "0" * 32, "database": "sqlite:////elsewhere/nas.db"}))
    (roots[0] / "moving" / MOVING).touch()
    before = files(roots[0])
    with closing(Store(f"sqlite:///{roots[0]}/nas.db")) as store:
        settle(store, roots)
    assert files(roots[0]) == before


@pytest.mark.parametrize("cell", ["nas_evaluations.nll", "nas_studies.config"])
def test_damage_of_a_study_that_was_renamed_is_no_reason_to_refuse_others(nas, run, settings, roots, caplog, cell):
    """Its report cannot be written, or it cannot even be read."""
    run(budget=1, finalists=0)
    damage(roots[0], "nas_evaluations.nll")
    assert nas("studies", "rename", "study", "other", "--out", roots[0]).code == 0
    assert "still has the old name of the study; a later command updates it: the database is damaged" in caplog.text
    damage(roots[0], cell)
    caplog.clear()
    assert run(study="new", budget=2, finalists=0).evaluated == 2
    assert f"{roots[0] / 'other'}" in caplog.text
    if cell == "nas_evaluations.nll":
        assert nas("studies", "delete", "other", "--yes", "--out", roots[0]).code == 0
        assert not (roots[0] / "other").exists()


def damage(out: Path, cell: str) -> None:
    table, _, column = cell.partition(".")
    with closing(sqlite3.connect(out / "nas.db")) as connection, connection:
        connection.execute(f"UPDATE {table} SET {column} = 'x'")

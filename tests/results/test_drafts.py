"""Exports and copies that are killed at every step: results are complete, and the next attempt cleans up."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from results import drafts
from results.database.copying import copy_database
from results.drafts import draft, put
from results.export.bundle import Bundle
from results.export.writing import export
from results.store.store import Store
from search_space.errors import ExportError, StorageError


@pytest.fixture
def kills(killed_at, target: Path) -> Callable[[Callable[[], object]], Iterator[int]]:
    """Kill something before its first change to the target, before its second one, until it comes to its end."""

    def make(act: Callable[[], object]) -> Iterator[int]:
        step = 1
        while killed_at(step, target, act):
            yield step
            step += 1
        assert step > 5

    return make


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A folder for what is made, and nothing else."""
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


@pytest.fixture
def study(sqlite_store, make_study, add_evaluation, architectures, tmp_path, monkeypatch):
    """A study with a winner; its weights are never read."""
    made = make_study(sqlite_store)
    add_evaluation(made, 0, architectures[0])
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "trial-0000.safetensors").write_bytes(b"weights" * 1000)
    monkeypatch.setattr("results.export.writing._verify", lambda *_: 0.0)
    return made


@pytest.mark.parametrize("is_there", [False, True], ids=["new", "empty"])
def test_an_export_that_is_killed_at_any_step(study, tmp_path, target, kills, is_there):
    bundle = target / "bundle"
    study.store.engine.dispose()  # no connection crosses the fork

    def make() -> None:
        store = Store(study.store.url)
        found = store.study("study")
        assert found is not None
        export(found, tmp_path / "weights", bundle)

    export(study, tmp_path / "weights", tmp_path / "whole")
    expected = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    study.store.engine.dispose()
    left = 0
    if is_there:
        bundle.mkdir()
    for _ in kills(make):
        left += any(path.name.startswith(".bundle.export-") for path in target.iterdir())
        if bundle.is_dir() and any(bundle.iterdir()):
            with pytest.raises(ExportError, match="not empty"):
                export(study, tmp_path / "weights", bundle)
        else:
            export(study, tmp_path / "weights", bundle)
        assert [path.name for path in target.iterdir()] == ["bundle"]
        assert {path.name: path.read_bytes() for path in bundle.iterdir()} == expected
        study.store.engine.dispose()
        shutil.rmtree(bundle)
        if is_there:
            bundle.mkdir()
    assert left > 5


def test_a_copy_that_is_killed_at_any_step(study, target, kills):
    url, copy = study.store.url, target / "copy.db"
    study.store.engine.dispose()
    left = 0
    for _ in kills(lambda: copy_database(url, f"sqlite:///{copy}")):
        left += any(path.name.startswith(".copy.db.copy-") for path in target.iterdir())
        if copy.exists():
            with pytest.raises(StorageError, match="is not empty"):
                copy_database(url, f"sqlite:///{copy}")
        else:
            copy_database(url, f"sqlite:///{copy}")
        assert {path.name for path in target.iterdir()} == {"copy.db"}
        engine = sa.create_engine(f"sqlite:///{copy}")
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM nas_evaluations").scalar() == 1
        engine.dispose()
        copy.unlink()
    assert left > 3


def test_a_copy_that_is_killed_in_the_middle_of_its_rows(study, target, killed_at):
    url, copy = study.store.url, target / "copy.db"
    study.store.engine.dispose()

    def make() -> None:
        def progress(what: str, table: str, *_: int) -> None:
            if (what, table) == ("compared", "nas_evaluations"):
                os.kill(os.getpid(), signal.SIGKILL)

        copy_database(url, f"sqlite:///{copy}", progress)

    assert killed_at(10**6, target, make)
    (folder,) = target.iterdir()
    assert (folder / "copy.db").exists()
    copy_database(url, f"sqlite:///{copy}")
    assert {path.name for path in target.iterdir()} == {"copy.db"}


def test_a_draft_that_is_being_made_is_left_alone(target):
    with draft(target / "place", "export", Bundle.files) as first:
        (first / "README.md").write_text("half")
        with draft(target / "place", "export", Bundle.files) as second:
            assert first != second
        assert (first / "README.md").read_text() == "half"
    assert list(target.iterdir()) == []


def test_a_folder_with_something_else_in_it_is_left_alone(target):
    for name in (".place.export-0123abcd", ".place.export-notes", ".other.export-0123abcd", "place.export-0123abcd"):
        (target / name).mkdir()
        (target / name / "thesis.txt").write_text("years of work")
    (target / ".place.export-44444444").symlink_to(target / ".place.export-notes")
    before = sorted(target.rglob("*"))
    drafts.sweep(target / "place", "export", Bundle.files)
    assert sorted(target.rglob("*")) == before


def test_what_is_put_in_its_place_is_on_the_disk_before(target, monkeypatch):
    told = []
    monkeypatch.setattr(drafts, "_sync", lambda path: told.append(path.name))
    with draft(target / "place", "export", Bundle.files) as folder:
        (folder / "README.md").write_text("whole")
        monkeypatch.setattr(Path, "replace", lambda self, other: (told.append("rename"), self.rename(other)))
        put(folder, target / "place")
        assert told == ["README.md", folder.name, "rename", target.name]
    assert [path.name for path in target.iterdir()] == ["place"]


def test_a_full_disk_is_one_sentence(study, tmp_path, target, monkeypatch):
    monkeypatch.setattr("results.export.bundle.LOAD_PY", "x" * 200_000)
    import resource

    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, usual[1]))
    try:
        with pytest.raises(ExportError, match=r"bundle was not written: .*File too large"):
            export(study, tmp_path / "weights", target / "bundle")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
        signal.signal(signal.SIGXFSZ, ignored)
    assert list(target.iterdir()) == []

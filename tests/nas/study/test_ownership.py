"""A study owns its marked folders, and files with its own names in them; everything else is left alone."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from nas.study.files import RunFolder
from nas.study.ownership import MARKER
from results.store.store import Store
from runners.remote import RemoteFile
from search_space.errors import StorageError, StudyError


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every path under a folder, and of files, when they were changed and what they hold."""
    return {
        str(path.relative_to(folder)): (
            0 if path.is_dir() else path.lstat().st_mtime_ns,
            str(path.readlink()).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(folder.rglob("*"))
    }


def change(out: object, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(Path(str(out)) / "nas.db")) as connection, connection:
        connection.execute(statement, values)


@pytest.fixture
def data(tmp_path):
    """A folder of the user, with some file names that could be ours."""
    folder = tmp_path / "home" / "data"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "resnet50.pt").write_text("months of work")
    (folder / "labels.csv").write_text("cat,dog")
    (folder / "report.txt").write_text("of mine")
    return folder


# Searching.


def test_a_folder_that_is_not_a_studys_is_refused_and_nothing_is_left_behind(nas, settings, data):
    before = tree(data.parent)
    ran = nas("search", "--study", "data", "--out", data.parent, "--space", settings["space"], "--runner", "inline")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert f"the folder {data} exists already and does not belong to this study: it holds " in ran.err
    assert ran.err.endswith("checkpoints/resnet50.pt; choose another --study or --out\n")
    assert tree(data.parent) == before


@pytest.mark.parametrize("known", [True, False])
def test_it_is_refused_beside_other_studies_and_by_a_study_of_its_name(run, settings, data, known):
    run(out=str(data.parent), budget=1, finalists=0)
    if known:  # begun where its files lay elsewhere
        run(out=str(data.parent.parent / "runs"), storage=f"sqlite:///{data.parent}/nas.db", study="data", budget=1)
    before = tree(data)
    with pytest.raises(StorageError, match="does not belong to this study"):
        run(out=str(data.parent), study="data", budget=2)
    assert tree(data) == before
    with closing(Store(f"sqlite:///{data.parent}/nas.db")) as store:
        assert (store.study("data") is not None) == known
    assert not list(data.parent.glob("*data.lock")) or known


def test_the_same_holds_for_a_folder_of_checkpoints(run, settings, data):
    before = tree(data)
    with pytest.raises(StorageError, match=r"home/data exists already .* choose another --study or --checkpoint-dir"):
        run(study="data", checkpoint_dir=str(data.parent))
    assert tree(data) == before
    assert not Path(settings["out"]).exists()


def test_a_folder_of_a_study_of_another_database_is_refused(run, settings, tmp_path):
    run(budget=1, finalists=0)
    before = tree(tmp_path)
    with pytest.raises(StorageError, match=r"belongs to another study of the database sqlite:///.*/runs/nas\.db;"):
        run(storage=f"sqlite:///{tmp_path}/other.db")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("marker", ["", "[]", '{"uid": 1}', None])
def test_an_unreadable_marker_belongs_to_another_study(run, settings, tmp_path, marker):
    run(budget=1, finalists=0)
    path = Path(settings["out"]) / "study" / MARKER
    path.unlink()
    if marker is None:
        path.symlink_to(tmp_path)
    else:
        path.write_text(marker)
    with pytest.raises(StorageError, match="belongs to another study; choose"):
        run(budget=2)


def test_a_folder_of_an_earlier_version_is_taken_over(run, settings):
    run(budget=2, finalists=0)
    folder = RunFolder(Path(settings["out"]), "study")
    (folder.path / MARKER).unlink()
    folder.weights("trial-0000").write_bytes(b"of before")
    (folder.path / "ray" / "tune").mkdir(parents=True)
    (folder.path / "ray" / "tune" / "experiment_state-2026.json").write_text("{}")
    assert run(budget=3, finalists=0).evaluated == 3
    assert set(json.loads((folder.path / MARKER).read_text())) == {"uid", "database"}


def test_an_empty_folder_will_do(run, settings):
    (Path(settings["out"]) / "study" / "weights").mkdir(parents=True)
    assert run(budget=1, finalists=0).evaluated == 1


def test_objects_on_remote_storage_have_a_marker_too(tmp_path, monkeypatch):
    """A folder takes the place of the bucket."""
    from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

    from nas.study.ownership import Marker, Owner

    for name in ("checkpoints", "weights"):
        (tmp_path / "runs" / "study" / name).mkdir(parents=True)
    bucket = SubTreeFileSystem(str(tmp_path), LocalFileSystem())
    monkeypatch.setattr("runners.remote.connect", lambda root: (bucket, ""))
    folder = RunFolder(tmp_path / "out", "study", "s3://bucket/runs")
    with folder.made():
        folder.claim(Owner("study", Marker("1" * 32, "here")))
    assert RemoteFile(f"s3://bucket/runs/study/{MARKER}").read_bytes() == (folder.path / MARKER).read_bytes()
    (folder.path / MARKER).unlink()
    with pytest.raises(StorageError, match="s3://bucket/runs/study belongs to another study of the database here; "):
        folder.check(Owner("study", Marker("2" * 32, "there")))


# Deleting.


@pytest.fixture
def mixed(run, settings, tmp_path):
    """The folder of a study to which its user has added something; what they added."""
    run(budget=2, finalists=0)
    folder = RunFolder(Path(settings["out"]), "study")
    folder.weights("trial-0000").write_bytes(b"weights")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "trial-0000.pt").write_text("mine")
    (folder.path / "notes.txt").write_text("mine")
    (folder.weights_folder / "mine.safetensors").write_text("mine")
    folder.checkpoint("trial-0001").symlink_to(tmp_path / "precious" / "trial-0000.pt")
    (folder.path / "link").symlink_to(tmp_path / "precious")
    theirs = {"notes.txt", "weights/mine.safetensors", "checkpoints/trial-0001.pt", "link"}
    return folder, {"weights", "checkpoints", *theirs}


def test_deleting_a_study_leaves_what_it_did_not_write(nas, settings, mixed, tmp_path):
    folder, theirs = mixed
    ran = nas("studies", "delete", "study", "--yes", "--out", settings["out"])
    assert (ran.code, ran.err.count("\n")) == (0, 1)
    assert f"nas: {folder.path}/" in ran.err
    assert "and 3 more, which this program did not write for the study, is kept" in ran.err
    assert ran.out.endswith(f"3 files ({ran.out.partition('3 files (')[2].partition(')')[0]}) in {folder.path}.\n")
    assert set(tree(folder.path)) == theirs
    assert (tmp_path / "precious" / "trial-0000.pt").read_text() == "mine"
    assert [path.name for path in folder.path.parent.iterdir() if "nas.db" not in path.name] == ["study"]


def test_an_unmarked_folder_of_the_same_name_stays(nas, run, settings, data):
    run(budget=1, finalists=0, study="data")
    before = tree(data)
    database = f"sqlite:///{settings['out']}/nas.db"
    ran = nas("studies", "delete", "data", "--yes", "--storage", database, "--out", data.parent)
    assert ran.code == 0
    assert f"nas: {data}, which this program did not write for the study, is kept" in ran.err
    assert tree(data) == before
    assert (Path(settings["out"]) / "data" / "report.txt").exists()


def test_a_study_whose_name_is_no_folder_has_no_files(nas, run, settings):
    run(budget=1, finalists=0)
    run(budget=1, finalists=0, study="other")
    change(settings["out"], "UPDATE nas_studies SET name = '../other' WHERE name = 'study'")
    ran = nas("gc", "--out", settings["out"], "--delete")
    assert (ran.code, ran.err) == (0, "")
    assert (Path(settings["out"]) / "other" / MARKER).exists()


def test_collecting_leaves_what_it_did_not_write(nas, settings, mixed):
    folder, theirs = mixed
    change(settings["out"], "UPDATE nas_evaluations SET key = 'mine' WHERE key = 'trial-0001'")
    nas("gc", "--out", settings["out"], "--delete")
    assert set(tree(folder.path)) >= theirs


# Paths that a database names.


@pytest.mark.parametrize("command", [("gc", "--delete"), ("studies", "delete", "study", "--yes")])
def test_a_path_from_a_database_is_not_followed(nas, run, settings, tmp_path, command):
    run(budget=2, finalists=0)
    for name in ("checkpoints", "weights"):
        (tmp_path / "precious" / "study" / name).mkdir(parents=True)
    (tmp_path / "precious" / "study" / "checkpoints" / "trial-0000.pt").write_text("mine")
    (tmp_path / "precious" / "study" / "weights" / "trial-0000.safetensors").write_text("mine")
    before = tree(tmp_path / "precious")
    config = "UPDATE nas_studies SET config = json_set(config, '$.checkpoint_dir', ?)"
    change(settings["out"], config, str(tmp_path / "precious"))
    ran = nas(*command, "--out", settings["out"])
    assert ran.code == 0
    assert f"are in {tmp_path}/precious; they are not touched unless --checkpoint-dir {tmp_path}/precious is" in ran.err
    assert tree(tmp_path / "precious") == before


@pytest.mark.parametrize("command", ["gc", "delete", "rename"])
def test_a_path_that_the_user_names_is(nas, run, settings, tmp_path, command):
    place = tmp_path / "files"
    run(budget=2, finalists=0, checkpoint_dir=str(place))
    folder = RunFolder(place, "study")
    folder.checkpoint("trial-0000").write_text("old")
    options = "--out", settings["out"], "--checkpoint-dir", place
    if command == "gc":
        assert nas("gc", "--delete", *options).code == 0
        assert not list(folder.checkpoints.iterdir())
    elif command == "delete":
        assert nas("studies", "delete", "study", "--yes", *options).code == 0
        assert not list(place.iterdir())
    else:
        refused = nas("studies", "rename", "study", "other", "--out", settings["out"], "--checkpoint-dir", tmp_path)
        assert (refused.code, refused.err.count("\n")) == (2, 1)
        assert nas("studies", "rename", "study", "other", *options).code == 0
        assert [path.name for path in place.iterdir()] == ["other"]
        assert run(budget=3, finalists=0, study="other", checkpoint_dir=str(place)).evaluated == 3


def test_remote_storage_is_not_looked_through(nas, run, settings):
    run(budget=1, finalists=0)
    ran = nas("gc", "--out", settings["out"], "--checkpoint-dir", "s3://bucket/runs")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "s3://bucket/runs is remote storage; allowed: a path" in ran.err


# Locks.


@pytest.mark.parametrize("name", ["study", "../../outside", "x" * 300])
def test_a_listing_writes_nothing(nas, run, settings, tmp_path, name):
    run(budget=1, finalists=0)
    out = Path(settings["out"])
    change(out, "UPDATE nas_studies SET name = ?", name)
    (out / "nas.db.study.lock").write_text("4711")
    before = tree(tmp_path)
    listed = nas("studies", "--out", out, "--json")
    assert [study["name"] for study in json.loads(listed.out)] == [name]
    assert [study["state"] for study in json.loads(listed.out)] == ["finished"]
    assert tree(tmp_path) == before


def test_a_listing_does_not_keep_a_driver_out(nas, run, settings, monkeypatch):
    """At every moment of the listing a driver may begin."""
    run(budget=1, finalists=0)
    began: list[Any] = []
    with closing(Store(f"sqlite:///{settings['out']}/nas.db")) as store:
        from results.store import lease

        asked = lease.is_driven

        def begin(*arguments: Any) -> bool:
            with store.driving("study"):
                began.append(arguments)
            return asked(*arguments)

        monkeypatch.setattr(lease, "is_driven", begin)
        assert nas("studies", "--out", settings["out"]).code == 0
    assert began


def test_one_database_by_two_paths_has_one_lock(tmp_path):
    (tmp_path / "link").mkdir()
    with closing(Store(f"sqlite:///{tmp_path}/nas.db")) as first:
        (tmp_path / "link" / "other.db").symlink_to(tmp_path / "nas.db")
        (tmp_path / "folder").symlink_to(tmp_path)
        for path in ("link/other.db", "folder/nas.db"):
            with (
                closing(Store(f"sqlite:///{tmp_path}/{path}")) as second,
                first.driving("study"),
                pytest.raises(StudyError, match="is already being searched by process"),
                second.driving("study"),
            ):
                pass

"""The folder of a search."""

from __future__ import annotations

import pytest

from nas.run_folder import RunFolder, storage_url
from search_space.errors import StorageError


def test_where_files_lie(tmp_path):
    folder = RunFolder(tmp_path, "study")
    folder.make()
    folder.make()
    assert folder.weights("trial-0001") == tmp_path / "study" / "weights" / "trial-0001.safetensors"
    assert folder.checkpoint("trial-0001") == tmp_path / "study" / "checkpoints" / "trial-0001.pt"
    assert folder.weights_folder.is_dir()


def test_discarding_leaves_the_files_of_others(tmp_path):
    folder = RunFolder(tmp_path, "study")
    folder.make()
    for key in ("trial-0001", "trial-0002"):
        folder.weights(key).write_bytes(b"")
        folder.checkpoint(key).write_bytes(b"")
    folder.discard("trial-0001")
    folder.discard("trial-0001")
    assert sorted(path.stem for path in folder.path.rglob("*.*")) == ["trial-0002", "trial-0002"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/study cannot be written to: .*; choose another --out"):
        RunFolder(tmp_path / "file", "study").make()


def test_which_database(tmp_path, monkeypatch):
    monkeypatch.delenv("NAS_STORAGE", raising=False)
    assert storage_url(None, tmp_path) == f"sqlite:///{tmp_path}/nas.db"
    monkeypatch.setenv("NAS_STORAGE", "sqlite:///elsewhere.db")
    assert storage_url(None, tmp_path) == "sqlite:///elsewhere.db"
    assert storage_url("sqlite:///named.db", tmp_path) == "sqlite:///named.db"


def test_sweeping_keeps_the_checkpoints_that_are_needed(tmp_path):
    folder = RunFolder(tmp_path, "study")
    folder.make()
    for key in ("trial-0001", "trial-0002", "trial-0003"):
        folder.checkpoint(key).write_bytes(b"")
    folder.sweep(["trial-0002", "trial-0009"])
    assert [path.stem for path in folder.checkpoints.iterdir()] == ["trial-0002"]


def test_a_report_that_cannot_be_written_is_one_sentence(tmp_path):
    folder = RunFolder(tmp_path, "study")
    folder.make()
    folder.write_report("text", {"a": 1})
    assert (folder.path / "report.txt").read_text() == "text\n"
    (folder.path / "report.json").unlink()
    (folder.path / "report.json").mkdir()
    with pytest.raises(StorageError, match=r"the report .*/study/report.json cannot be written: Is a directory.*"):
        folder.write_report("text", {"a": 1})


def test_what_cannot_be_deleted_is_left_with_a_warning(tmp_path, caplog):
    """A folder in its place cannot be unlinked, not even by root."""
    folder = RunFolder(tmp_path, "study")
    folder.make()
    folder.checkpoint("trial-0001").mkdir()
    folder.weights("trial-0001").write_bytes(b"")
    folder.discard("trial-0001")
    folder.sweep([])
    assert folder.checkpoint("trial-0001").is_dir()
    assert not folder.weights("trial-0001").exists()
    assert caplog.text.count("trial-0001.pt cannot be deleted, nas gc may do so later") == 2

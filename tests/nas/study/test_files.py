"""The folder of a search."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.study.files import RunFolder, storage_url
from search_space.errors import StorageError


def made(out: Path) -> RunFolder:
    folder = RunFolder(out, "study")
    with folder.made():
        return folder


def test_new_folders_are_removed_if_the_study_is_refused(tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(ZeroDivisionError), RunFolder(tmp_path / "there" / "new", "study").made():
        raise ZeroDivisionError
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]


def test_the_places_of_files(tmp_path):
    folder = made(tmp_path)
    assert vars(made(tmp_path)) == vars(folder)
    assert folder.weights("trial-0001") == tmp_path / "study" / "weights" / "trial-0001.safetensors"
    assert folder.checkpoint("trial-0001") == tmp_path / "study" / "checkpoints" / "trial-0001.pt"
    assert folder.weights_folder.is_dir()


def test_discarding_leaves_the_files_of_others(tmp_path):
    folder = made(tmp_path)
    for key in ("trial-0001", "trial-0002"):
        folder.weights(key).write_bytes(b"")
        folder.checkpoint(key).write_bytes(b"")
    folder.discard("trial-0001")
    folder.discard("trial-0001")
    assert sorted(path.stem for path in folder.path.rglob("*.*")) == ["trial-0002", "trial-0002"]


@pytest.mark.parametrize("key", ["mine", "trial-1", "trial-00012x", "finalist-0001", "trial-\u0661\u0661\u0661\u0661"])
def test_a_key_that_is_none_of_ours_names_no_file(tmp_path, key):
    folder = made(tmp_path)
    (folder.checkpoints / f"{key}.pt").write_text("mine")
    with pytest.raises(StorageError, match=r"the evaluation .* cannot be the name of a file; allowed: such as"):
        folder.discard(key)
    assert (folder.checkpoints / f"{key}.pt").read_text() == "mine"


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/study cannot be written to: .*; choose another --out"):
        made(tmp_path / "file")


def test_which_database(tmp_path, monkeypatch):
    monkeypatch.delenv("NAS_STORAGE", raising=False)
    assert storage_url(None, tmp_path) == f"sqlite:///{tmp_path}/nas.db"
    monkeypatch.setenv("NAS_STORAGE", "sqlite:///elsewhere.db")
    assert storage_url(None, tmp_path) == "sqlite:///elsewhere.db"
    assert storage_url("sqlite:///named.db", tmp_path) == "sqlite:///named.db"


def test_sweeping_keeps_the_checkpoints_that_are_needed(tmp_path):
    folder = made(tmp_path)
    for key in ("trial-0001", "trial-0002", "trial-0003"):
        folder.checkpoint(key).write_bytes(b"")
    (folder.checkpoints / "mine.pt").write_bytes(b"")
    folder.sweep(["trial-0002", "trial-0009"])
    assert sorted(path.stem for path in folder.checkpoints.iterdir()) == ["mine", "trial-0002"]


def test_a_report_that_cannot_be_written_is_one_sentence(tmp_path):
    folder = made(tmp_path)
    folder.write_report("text", {"a": 1})
    assert (folder.path / "report.txt").read_text() == "text\n"
    (folder.path / "report.json").unlink()
    (folder.path / "report.json").mkdir()
    with pytest.raises(StorageError, match=r"the report .*/study/report.json cannot be written: Is a directory.*"):
        folder.write_report("text", {"a": 1})


def test_what_cannot_be_deleted_is_left_with_a_warning(tmp_path, caplog):
    """A folder in its place cannot be unlinked, not even by root."""
    folder = made(tmp_path)
    folder.checkpoint("trial-0001").mkdir()
    folder.weights("trial-0001").write_bytes(b"")
    folder.discard("trial-0001")
    folder.sweep([])
    assert folder.checkpoint("trial-0001").is_dir()
    assert not folder.weights("trial-0001").exists()
    assert caplog.text.count("; nas gc deletes it later") == 2

"""A folder of images is known by what its files hold; they are found and read once."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from runners.data import describe_dataset, digests, fingerprint, image_tree, load_splits, prepare, validation_images
from runners.data.base import find_dataset, has_files
from runners.data.digests import content_digests
from runners.protocol import DataSpec
from search_space.errors import DataError

WriteImages = Callable[..., Path]


@pytest.fixture
def root(write_images: WriteImages) -> Path:
    return write_images({name: [(20 * number, 9, 0) for number in range(12)] for name in "ab"})


@pytest.fixture
def spec(root: Path, tmp_path: Path) -> DataSpec:
    return DataSpec(f"imagefolder:{root}", str(tmp_path / "cache"), image_size=2)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and folders count as long written, though they were written just now."""
    monkeypatch.setattr(digests, "_SETTLED_NS", -(10**12))
    monkeypatch.setattr(image_tree, "_SETTLED_NS", -(10**12))


@pytest.fixture
def read_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read."""
    names: list[str] = []
    digest = digests._digest

    def record(path: str) -> bytes:
        names.append(Path(path).name)
        return digest(path)

    monkeypatch.setattr(digests, "_digest", record)
    return names


def test_it_says_how_many_images_and_what_they_hold(spec: DataSpec) -> None:
    assert re.fullmatch(r"24 images, content [0-9a-f]{32}", fingerprint(spec))


def test_images_behind_a_link_count(spec: DataSpec, root: Path, tmp_path: Path, write_images: WriteImages) -> None:
    before = fingerprint(spec)
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "a/linked").symlink_to(outside)
    assert fingerprint(spec) == before
    shutil.copy(root / "a/000.png", outside / "1.png")
    assert fingerprint(spec).startswith("25 images")


def test_files_of_equal_size_and_time_that_were_exchanged_are_noticed(
    spec: DataSpec, root: Path, settled: None
) -> None:
    one, other = root / "a/001.png", root / "b/002.png"
    for path in (one, other):
        path.write_bytes(path.read_bytes().ljust(500, path.name[2].encode()))
        os.utime(path, (1, 1))
    before, images = fingerprint(spec), load_splits(spec)
    one.rename(root / "kept")
    other.rename(one)
    (root / "kept").rename(other)
    assert one.stat().st_size == other.stat().st_size
    assert fingerprint(spec) != before
    assert fingerprint(spec).startswith("24 images")
    assert not load_splits(spec).train.images.equal(images.train.images)


def test_what_is_not_read_does_not_count(spec: DataSpec, root: Path) -> None:
    before = fingerprint(spec)
    (root / ".thumbnails").mkdir()
    shutil.copy(root / "a/000.png", root / ".thumbnails/1.png")
    (root / "notes.txt").write_text("mine")
    (root / "a/labels.csv").write_text("1,2")
    assert fingerprint(spec) == before


def test_a_moved_or_copied_folder_has_the_same(spec: DataSpec, root: Path, tmp_path: Path) -> None:
    before = fingerprint(spec)
    shutil.copytree(root, tmp_path / "copied")
    root.rename(tmp_path / "moved")
    for name in ("copied", "moved"):
        assert fingerprint(DataSpec(f"imagefolder:{tmp_path / name}", spec.directory)) == before


def test_one_of_an_earlier_version_is_compared_by_its_own_method(spec: DataSpec, root: Path) -> None:
    """The first digits of the SHA-256 of a line for each image: its path and size."""
    names = [f"{name}/{number:03}.png" for name in "ab" for number in range(12)]
    text = "\n".join(f"{name} {(root / name).stat().st_size}" for name in names)
    recorded = f"24 images, digest {hashlib.sha256(text.encode()).hexdigest()[:12]}"
    assert fingerprint(spec, recorded) == recorded
    (root / "b/003.png").unlink()
    assert re.fullmatch(r"23 images, digest [0-9a-f]{12}", fingerprint(spec, recorded))
    assert fingerprint(spec, "anything else") == fingerprint(spec)


@pytest.mark.parametrize("change", ["a folder of this version's splits", "a hidden copy", "an image of another kind"])
def test_what_an_earlier_version_read_in_another_way_is_not_the_same(
    tmp_path: Path, write_images: WriteImages, change: str
) -> None:
    root = write_images({f"{split}/{name}": [(9, 9, 0)] * 9 for split in ("train", "val") for name in "ab"})
    spec = DataSpec(f"imagefolder:{root}", str(tmp_path / "cache"), image_size=2)
    recorded = "36 images, digest 000000000000"
    same = fingerprint(spec, recorded)
    assert re.fullmatch(r"36 images, digest [0-9a-f]{12}", same)
    if change == "a folder of this version's splits":  # test images were carved from the training images
        write_images({"Testing/a": [(9, 9, 0)]})
    elif change == "a hidden copy":
        shutil.copytree(root / "train/a", root / "train/a/.copies")
    else:
        shutil.copy(root / "train/a/000.png", root / "train/a/000.jfif")
    assert fingerprint(spec, recorded).endswith(", read or split in another way")


def test_content_is_read_once(spec: DataSpec, root: Path, settled: None, read_files: list[str]) -> None:
    before = fingerprint(spec)
    assert len(read_files) == 24
    prepare(spec)
    load_splits(spec)
    assert fingerprint(spec) == before
    assert len(read_files) == 24
    (root / "a/003.png").write_bytes((root / "a/004.png").read_bytes())
    assert fingerprint(spec) != before
    assert read_files[24:] == ["003.png"]


def test_what_was_written_just_now_is_read_again(
    spec: DataSpec, read_files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may change once more without the file system's clock having gone on."""
    monkeypatch.setattr(digests, "_SETTLED_NS", 10**12)
    assert fingerprint(spec) == fingerprint(spec)
    assert len(read_files) == 48


@pytest.mark.parametrize("spoil", ["damaged", "cut off", "of another kind", "in the way"])
def test_the_digest_cache_is_optional(
    spec: DataSpec, tmp_path: Path, settled: None, read_files: list[str], spoil: str
) -> None:
    before = fingerprint(spec)
    kept = tmp_path / "cache" / digests.NAME
    if spoil == "damaged":
        kept.write_bytes(b"no database")
    elif spoil == "cut off":
        kept.write_bytes(kept.read_bytes()[:5000])
    else:
        kept.unlink()
        if spoil == "in the way":
            kept.mkdir()
        else:
            with closing(sqlite3.connect(kept)) as connection, connection:
                connection.execute("CREATE TABLE digests (other TEXT)")
            connection.close()
    assert fingerprint(spec) == before
    assert fingerprint(spec) == before
    assert len(read_files) == (72 if spoil == "in the way" else 48)


def test_several_processes_may_scan_at_once(root: Path, tmp_path: Path, settled: None) -> None:
    paths = [str(path) for path in sorted(root.rglob("*.png"))]
    found: list[list[bytes]] = []
    threads = [
        threading.Thread(target=lambda: found.append(content_digests(paths, tmp_path / "cache"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(digests == found[0] for digests in found)


def test_a_long_reading_is_said_before(spec: DataSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "WORTH_SAYING", 100)
    told: list[str] = []
    prepare(spec, told.append)
    assert [note for note in told if note.startswith("reading 24 image files (")]


def test_a_file_that_vanishes_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a/absent.png cannot be read: No such file"):
        content_digests([f"{root}/a/absent.png"], tmp_path)


def test_folders_are_read_once_until_they_change(
    spec: DataSpec, root: Path, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[str] = []
    read = image_tree._read
    monkeypatch.setattr(image_tree, "_read", lambda path: (folders.append(path), read(path))[1])
    describe_dataset(spec)
    validation_images(spec)
    prepare(spec)
    fingerprint(spec)
    assert sorted(folders) == [str(root), f"{root}/a", f"{root}/b"]
    shutil.copy(root / "a/000.png", root / "a/new.png")
    assert fingerprint(spec).startswith("25 images")
    assert len(folders) == 6


def test_a_node_that_sees_the_same_files_reads_none(spec: DataSpec, root: Path, read_files: list[str]) -> None:
    dataset = find_dataset(spec)
    known, marks = fingerprint(spec), dataset.file_marks(spec)
    read_files.clear()
    assert has_files(spec, known, marks)
    assert read_files == []
    os.utime(root / "a/000.png", (1, 1))  # a copy without its times: what it holds decides
    assert dataset.file_marks(spec) != marks
    assert has_files(spec, known, marks)
    assert not has_files(spec, known + "0", marks)
    assert not has_files(DataSpec("imagefolder:/absent"), known, marks)

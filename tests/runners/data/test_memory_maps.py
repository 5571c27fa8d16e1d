"""Arrays in files: a full disk is one clear message, and a damaged file is rewritten."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from runners.data import load_splits
from runners.data.memory_maps import create_array, open_array
from runners.protocol import DataSpec

DECODE = """
import sys
from runners.protocol import DataSpec
from runners.data import load_splits
from search_space.errors import DataError
try:
    load_splits(DataSpec(f"imagefolder:{sys.argv[1]}", sys.argv[2], image_size=64, image_cache="disk"))
except DataError as error:
    print(error)
"""
RECEIVE = """
import sys
import numpy as np
from runners.protocol import DataSpec
from runners.data.base import Augmentation, DatasetInfo
from runners.data.supplied import Listing, receive
from search_space.errors import DataError
spec, shape = DataSpec("imagefolder:/elsewhere", sys.argv[2]), (24, 3, 64, 64)
listing = Listing(spec, "", "", DatasetInfo(64, 3, 2), Augmentation(), {"train-images": (shape, "uint8", "")})
try:
    receive(listing, lambda name: [np.ones(shape, "uint8")])
except DataError as error:
    print(error)
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(("program", "takes"), [(DECODE, "168 KiB"), (RECEIVE, "288 KiB")], ids=["decode", "receive"])
def test_a_full_disk_is_said_and_nothing_is_left_over(
    small_disk: Path, write_images: Callable[..., Path], program: str, takes: str
) -> None:
    """14 of 24 images are for training: 14 x 3 x 64 x 64 bytes and a header."""
    root = write_images({name: [(20 * number, 9, 0) for number in range(12)] for name in "ab"})
    done = subprocess.run([sys.executable, "-c", program, root, small_disk], capture_output=True, text=True, check=True)
    assert f"No space left on device: it takes {takes}, and " in done.stdout
    assert "KiB are free there); give --data-dir, or NAS_DATA_DIR" in done.stdout
    left = [path for path in small_disk.rglob("*") if path.is_file() and path.stat().st_size > 0]
    assert [path.name for path in left if path.name != "digests.sqlite"] == []
    assert done.stderr == ""


def test_an_array_comes_back(tmp_path: Path) -> None:
    array = create_array(tmp_path / "a.npy", (2, 3), "int64")
    array[:] = [[1, 2, 3], [4, 5, 6]]
    array.flush()
    assert (np.load(tmp_path / "a.npy") == array).all()
    assert (open_array(tmp_path / "a.npy", (2, 3), "int64") == array).all()
    with pytest.raises(ValueError, match=r"an array of \(2, 3\) int64, not of \(3, 2\) int64"):
        open_array(tmp_path / "a.npy", (3, 2), "int64")


def test_more_than_any_disk_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"it takes .* TiB, and .* are free there"):
        create_array(tmp_path / "a.npy", (2**62, 2**62), "uint8")
    with pytest.raises(OSError, match=r"it takes 4194304 TiB, and .* are free there"):
        create_array(tmp_path / "b.npy", (2**62,), "uint8")


@pytest.mark.parametrize("spoil", ["cut off", "empty", "no array", "another array"])
def test_damaged_decoded_images_are_decoded_again(
    tmp_path: Path, write_images: Callable[..., Path], spoil: str
) -> None:
    root = write_images({name: [(20 * number, 9, 0) for number in range(12)] for name in "ab"})
    spec = DataSpec(f"imagefolder:{root}", str(tmp_path / "cache"), image_size=2)
    before = load_splits(spec)
    for path in (tmp_path / "cache/decoded").iterdir():
        content = path.read_bytes()
        spoiled = {"cut off": content[:-1], "empty": b"", "no array": b"\0" * len(content)}
        path.unlink()
        path.write_bytes(spoiled.get(spoil, b""))
        if spoil == "another array":
            np.save(path, np.zeros((7, 3, 2, 2), np.uint8))
    again = load_splits(spec)
    assert again.train.images.equal(before.train.images)
    assert again.validation.images.equal(before.validation.images)

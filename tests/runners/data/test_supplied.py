"""Images that arrive as arrays equal those of the files, complete, and are fetched once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runners.data import base, describe_dataset, fingerprint, load_splits, load_test, validation_images
from runners.data.supplied import Listing, read, receive
from runners.protocol import DataSpec
from search_space.errors import DataError

Arrays = dict[str, np.ndarray[Any, Any]]


@pytest.fixture
def spec(write_images: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSpec:
    monkeypatch.setattr(base, "_SUPPLIED", {})
    root = write_images({name: [(20 * number, 9, 0) for number in range(10)] for name in "ab"})
    return DataSpec(f"imagefolder:{root}", str(tmp_path / "cache"), image_size=8)


@pytest.fixture
def read_away(spec: DataSpec, tmp_path: Path) -> tuple[Listing, Arrays]:
    """The images of a folder that is gone afterwards."""
    listing, arrays = read(spec)
    Path(spec.name.partition(":")[2]).rename(tmp_path / "elsewhere")
    return listing, arrays


def by_three(arrays: Arrays, fetched: list[str] | None = None) -> Callable[[str], Iterator[np.ndarray[Any, Any]]]:
    def fetch(name: str) -> Iterator[np.ndarray[Any, Any]]:
        if fetched is not None:
            fetched.append(name)
        return (arrays[name][at : at + 3] for at in range(0, len(arrays[name]), 3))

    return fetch


def test_nothing_tells_them_from_the_files(spec: DataSpec, tmp_path: Path) -> None:
    before = load_splits(spec), load_test(spec)
    known = describe_dataset(spec), fingerprint(spec), validation_images(spec)
    listing, arrays = read(spec)
    Path(spec.name.partition(":")[2]).rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="there is no folder"):
        load_splits(spec)

    receive(listing, by_three(arrays))
    splits, test = load_splits(spec), load_test(spec)
    for here, there in ((splits.train, before[0].train), (splits.validation, before[0].validation), (test, before[1])):
        assert here.images.equal(there.images)
        assert here.labels.equal(there.labels)
    assert (splits.mean, splits.std, splits.augmentation) == (before[0].mean, before[0].std, before[0].augmentation)
    assert (describe_dataset(spec), fingerprint(spec), validation_images(spec)) == known


def test_of_many_that_want_them_at_once_one_fetches(spec: DataSpec, read_away: tuple[Listing, Arrays]) -> None:
    listing, arrays = read_away
    fetched: list[str] = []
    threads = [threading.Thread(target=receive, args=(listing, by_three(arrays, fetched))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(fetched) == sorted(arrays)
    assert len(load_splits(spec).train) == 12  # 20 less 4 for validation and 4 for testing


@pytest.mark.parametrize("spoil", [lambda array: array[:-1], lambda array: array ^ 1], ids=["short", "changed"])
def test_what_arrives_damaged_is_refused_and_leaves_nothing(
    spec: DataSpec, read_away: tuple[Listing, Arrays], tmp_path: Path, spoil: Callable[[Any], Any]
) -> None:
    listing, arrays = read_away
    spoiled = {**arrays, "test-labels": spoil(arrays["test-labels"])}
    with pytest.raises(DataError, match=r"the test-labels of imagefolder.* arrived damaged"):
        receive(listing, by_three(spoiled))
    assert [path.name for path in (tmp_path / "cache" / "supplied").iterdir()] == [f".{listing.digest}.lock"]
    receive(listing, by_three(arrays))
    assert len(load_test(spec)) == 4


def test_what_was_damaged_since_is_fetched_again(
    spec: DataSpec, read_away: tuple[Listing, Arrays], tmp_path: Path
) -> None:
    listing, arrays = read_away
    receive(listing, by_three(arrays))
    damaged = tmp_path / "cache" / "supplied" / listing.digest / "test-images.npy"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    receive(listing, by_three(arrays))
    assert len(load_test(spec)) == 4


def test_a_folder_that_cannot_be_written_is_named(
    spec: DataSpec, read_away: tuple[Listing, Arrays], tmp_path: Path
) -> None:
    listing, arrays = read_away
    (tmp_path / "cache" / "supplied").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot be written to .*/supplied .*NAS_DATA_DIR"):
        receive(listing, by_three(arrays))

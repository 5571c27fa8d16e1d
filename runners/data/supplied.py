"""Images received over the network as arrays, on a machine without the original files."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from runners.data.base import (
    Augmentation,
    Dataset,
    DatasetInfo,
    Split,
    data_directory,
    find_dataset,
    legible,
    supply,
)
from runners.data.memory_maps import create_array, open_array
from runners.protocol import DataSpec
from search_space.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Listing:
    """A description of images, without the images.

    Attributes:
        spec: The images.
        fingerprint: From `Dataset.fingerprint`, on the machine that has the files.
        marks: From `Dataset.file_marks`, on that machine.
        info: The sizes of the images.
        augmentation: How training images are varied.
        arrays: Name of every array (``train-images``, ``train-labels``, ...) with its shape, type and SHA-256 digest.
    """

    spec: DataSpec
    fingerprint: str
    marks: str
    info: DatasetInfo
    augmentation: Augmentation
    arrays: Mapping[str, tuple[tuple[int, ...], str, str]]

    @property
    def digest(self) -> str:
        """32 hexadecimal digits that identify the content of all arrays."""
        text = "\n".join(f"{name} {shape} {kind} {digest}" for name, (shape, kind, digest) in self.arrays.items())
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def read(spec: DataSpec) -> tuple[Listing, dict[str, NDArray[Any]]]:
    """All images of a spec, as arrays.

    Raises:
        DataError: If they cannot be read or downloaded.
    """
    dataset = find_dataset(spec)
    arrays = {}
    for part, split in zip(PARTS, (*dataset.load_development(spec), dataset.load_test(spec)), strict=True):
        arrays[f"{part}-images"], arrays[f"{part}-labels"] = split.images.numpy(), split.labels.numpy()
    described = {
        name: (array.shape, str(array.dtype), _digest([array[at : at + 1024] for at in range(0, len(array), 1024)]))
        for name, array in arrays.items()
    }
    known = dataset.fingerprint(spec), dataset.file_marks(spec), dataset.describe(spec), dataset.augmentation
    listing = Listing(spec, *known, described)
    return listing, arrays


def receive(listing: Listing, fetch: Callable[[str], Iterable[NDArray[Any]]]) -> None:
    """Make the images of a spec available in this process; fetch them if no process on this machine has done so.

    They are kept in the data directory under ``supplied/DIGEST``, a folder that appears only when it is complete and
    every digest is right. If several processes call this at the same time, one of them fetches and the others wait.

    Args:
        listing: The description of the images.
        fetch: Yields the pieces of an array by its name, split along the first axis.

    Raises:
        DataError: If the images cannot be written, or arrive damaged.
    """
    root = data_directory(listing.spec) / "supplied"
    folder = root / listing.digest
    try:
        root.mkdir(parents=True, exist_ok=True)
        with (root / f".{listing.digest}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _is_whole(folder, listing):
                shutil.rmtree(folder, ignore_errors=True)
                _write(folder, listing, fetch)
    except OSError as error:
        raise DataError(
            f"the images of {legible(listing.spec.name)} cannot be written to {legible(root)} ({error.strerror}); "
            "give --data-dir, or NAS_DATA_DIR on the nodes, a folder with room for them"
        ) from error
    supply(listing.spec, Supplied(folder, listing))


@dataclass(frozen=True)
class Supplied(Dataset):
    """Images in a folder of arrays, in place of a data set whose files are on another machine.

    Attributes:
        folder: The folder of the arrays.
        listing: Their description.
    """

    folder: Path
    listing: Listing

    @property
    def augmentation(self) -> Augmentation:  # type: ignore[override]
        """The augmentation of the original data set."""
        return self.listing.augmentation

    def describe(self, spec: DataSpec) -> DatasetInfo:
        return self.listing.info

    def fingerprint(self, spec: DataSpec) -> str:
        return self.listing.fingerprint

    def validation_images(self, spec: DataSpec) -> int:
        return self.listing.arrays["validation-labels"][0][0]

    def load_development(self, spec: DataSpec) -> tuple[Split, Split]:
        return self._load("train"), self._load("validation")

    def load_test(self, spec: DataSpec) -> Split:
        return self._load("test")

    def _load(self, part: str) -> Split:
        import torch

        from runners.data.stored_images import open_stored

        try:
            names = [f"{part}-{name}" for name in ("images", "labels")]
            shapes = [self.listing.arrays[name][:2] for name in names]
            files = [self.folder / f"{name}.npy" for name in names]
            images = open_stored(files[0], shapes[0][0], self.folder / f"{part}-levels.json")
            labels = torch.from_numpy(open_array(files[1], *shapes[1]))
        except (OSError, ValueError) as error:
            raise DataError(f"{legible(self.folder)} is damaged ({error}); the next search fetches it again") from error
        return Split(images, labels)


def _is_whole(folder: Path, listing: Listing) -> bool:
    """Whether all arrays are there; their content was checked on arrival."""
    try:
        for name, (shape, kind, _) in listing.arrays.items():
            open_array(folder / f"{name}.npy", shape, kind)
    except (OSError, ValueError):
        return False
    return True


def _write(folder: Path, listing: Listing, fetch: Callable[[str], Iterable[NDArray[Any]]]) -> None:
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # left by a process that was killed
    unfinished.mkdir()
    try:
        for name, (shape, kind, digest) in listing.arrays.items():
            array = create_array(unfinished / f"{name}.npy", shape, kind)
            at = 0
            hashed = hashlib.sha256()
            for piece in fetch(name):
                array[at : at + len(piece)] = piece
                hashed.update(_bytes(piece))
                at += len(piece)
            if at != shape[0] or hashed.hexdigest() != digest:
                raise DataError(f"the {name} of {legible(listing.spec.name)} arrived damaged: their digest is wrong")
            array.flush()
        unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _digest(pieces: Iterable[NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(_bytes(piece))
    return digest.hexdigest()


def _bytes(piece: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(piece).data

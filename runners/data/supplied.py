"""Images that came over the network as arrays, for a machine that does not have the files they were read from."""

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
    """What images there are, without the images.

    Attributes:
        spec: Whose images.
        fingerprint: As in `Dataset.fingerprint`, on the machine that has the files.
        marks: As in `Dataset.file_marks`, likewise.
        info: Their sizes.
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
        """32 hexadecimal digits that name the content of all arrays."""
        text = "\n".join(f"{name} {shape} {kind} {digest}" for name, (shape, kind, digest) in self.arrays.items())
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def read(spec: DataSpec) -> tuple[Listing, dict[str, NDArray[Any]]]:
    """All images behind a spec, as arrays.

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
    """Make the images behind a spec known in this process, fetching them if no process on this machine has yet.

    They are kept under the data directory (``supplied/DIGEST``), which appears as a whole and only if every digest is
    right. However many processes call this at the same time, one of them fetches, and the others wait.

    Args:
        listing: What there is.
        fetch: Gives the pieces of an array by its name, cut along the first axis.

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
    """Images in a folder of arrays, in the place of a data set whose files are elsewhere.

    Attributes:
        folder: Where the arrays lie.
        listing: What they are.
    """

    folder: Path
    listing: Listing

    @property
    def augmentation(self) -> Augmentation:  # type: ignore[override]
        """As of the data set itself."""
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

        try:
            names = [f"{part}-{name}" for name in ("images", "labels")]
            shapes = [self.listing.arrays[name][:2] for name in names]
            arrays = [
                open_array(self.folder / f"{name}.npy", *shape) for name, shape in zip(names, shapes, strict=True)
            ]
        except (OSError, ValueError) as error:
            raise DataError(f"{legible(self.folder)} is damaged ({error}); the next search fetches it again") from error
        return Split(*map(torch.from_numpy, arrays))


def _is_whole(folder: Path, listing: Listing) -> bool:
    """Whether all arrays are there; what they hold was checked when they came."""
    try:
        for name, (shape, kind, _) in listing.arrays.items():
            open_array(folder / f"{name}.npy", shape, kind)
    except (OSError, ValueError):
        return False
    return True


def _write(folder: Path, listing: Listing, fetch: Callable[[str], Iterable[NDArray[Any]]]) -> None:
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
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

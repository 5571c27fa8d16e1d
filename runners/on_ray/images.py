"""Sending a search's images to the nodes of a cluster that do not have them.

The driver decodes them and puts the arrays into Ray's object store once. Every node copies them into its data directory
once, however many workers it runs, and finds them there in later searches. Arrays are sent rather than files: every
data set has them, they are what workers would decode from the files, and one digest verifies them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError

from runners.data.base import find_dataset, has_files, legible
from runners.data.supplied import Listing, Supplied, read, receive
from runners.evaluator import prepare
from runners.on_ray.connection import first_words, on_every_node
from runners.protocol import DataSpec, EpochResult, Evaluator, Job, Measured
from search_space.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

PIECE_BYTES = 64 * 2**20
PROBE_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Parcel:
    """Images in Ray's object store.

    Attributes:
        listing: Their description.
        pieces: References to the pieces of every array, in order.
    """

    listing: Listing
    pieces: Mapping[str, tuple[Any, ...]]

    def open(self, spec: DataSpec) -> None:
        """Make the images of `spec` available in this process, unless this node has their files.

        Raises:
            DataError: If they cannot be fetched or written.
        """
        if spec != self.listing.spec or isinstance(find_dataset(spec), Supplied):
            return
        if not has_files(spec, self.listing.fingerprint, self.listing.marks):
            receive(self.listing, self._fetch)

    def _fetch(self, name: str) -> Iterator[NDArray[Any]]:
        for piece in self.pieces[name]:
            try:
                yield ray.get(piece)
            except RayError as error:
                reason = first_words(error)
                raise DataError(
                    f"the images of {legible(self.listing.spec.name)} could not be fetched: {reason}"
                ) from error


@dataclass(frozen=True)
class WithImages:
    """An evaluator that receives its images first.

    Attributes:
        evaluator: The wrapped evaluator.
        parcel: The images.
    """

    evaluator: Evaluator
    parcel: Parcel

    def prepare(self, images: DataSpec | None) -> None:
        """Load what the first job would otherwise have to wait for."""
        if images is not None:
            self.parcel.open(images)
        prepare(self.evaluator, images)

    def __call__(self, job: Job) -> Generator[EpochResult, None, Measured]:
        self.parcel.open(job.data)
        return (yield from self.evaluator(job))


def send(spec: DataSpec) -> Parcel | None:
    """Put the images of a spec into Ray's object store; None if no node needs them.

    No node needs them if they come with a Python package, or if all other nodes have the same files at the same path,
    as on a shared file system. A cluster of one node may grow, so the images are sent in that case, too, unless
    they are decoded in every epoch.

    Raises:
        DataError: If this machine does not have the images either.
    """
    dataset = find_dataset(spec)
    if dataset.embedded:
        return None
    fingerprint = dataset.fingerprint(spec)
    if fingerprint:
        have = on_every_node(has_files, spec, fingerprint, dataset.file_marks(spec), timeout_s=PROBE_TIMEOUT_S)
        if all(have) and (len(have) > 1 or not dataset.is_stored(spec)):
            return None
    listing, arrays = read(spec)
    return Parcel(listing, {name: tuple(map(ray.put, _cut(array))) for name, array in arrays.items()})


def _cut(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The array in pieces of about `PIECE_BYTES`, split along its first axis."""
    rows = max(1, PIECE_BYTES * len(array) // max(1, array.nbytes))
    return (array[at : at + rows] for at in range(0, len(array), rows))

"""Where the pixels of an image folder come from: decoded once and stored, or decoded in every epoch.

A stored photograph of 224 px is read in 1/50 of the time in which it is decoded from a JPEG file, and takes 147 KiB.
So images are decoded once where the disk has room, and streamed from their files where it has not, or where the user
wants that. The pixels, and therefore all results, are the same.
"""

from __future__ import annotations

import fcntl
import hashlib
import math
import os
import shutil
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from runners.data.base import legible
from runners.data.digests import WORTH_SAYING
from runners.data.image_decoding import MODES, read_image
from runners.data.lazy_images import Array, LazyImages
from runners.data.memory_maps import create_array, open_array
from runners.data.scanning import Content
from runners.data.stored_images import open_stored
from search_space.errors import DataError
from search_space.size import Size, canonical, plain, sides
from search_space.units import format_bytes

_READING = 3
"""Increase it whenever images are read in another way, so that earlier decoded images are not used."""
FREE_SHARE = 0.9
"""Share of the free disk space that decoded images may take unless the user asks for more. Arbitrary."""

_at = threading.local()
"""The file that a thread is decoding, which Pillow's warnings do not name."""


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """The image files of one split, and where their pixels are stored.

    Attributes:
        paths: Image files.
        contents: What they contain, which identifies the stored pixels.
        size: Side, or height and width, of the images to decode, in pixels.
        folder: Folder of the stored pixels.
        channels: Channels to decode, one of `runners.data.image_decoding.MODES`.
    """

    paths: Sequence[str]
    contents: Sequence[Content]
    size: Size
    folder: Path
    channels: int = 3

    @cached_property
    def shape(self) -> tuple[int, int, int, int]:
        """B, C, H, W."""
        return len(self.paths), self.channels, *sides(self.size)

    @cached_property
    def stored(self) -> Path:
        """File of the decoded images."""
        digests = b"".join(content.digest for content in self.contents)
        name = hashlib.sha256(f"{MODES[self.channels]} {plain(self.size)} {_READING}\n".encode() + digests).hexdigest()[
            :32
        ]
        return self.folder / f"{name}.npy"

    @property
    def levels(self) -> Path:
        """File of the counts of their levels."""
        return self.stored.with_suffix(".levels.json")

    @property
    def streamed(self) -> Path:
        """The same if the images are streamed. It exists if all of them could be decoded."""
        return self.stored.with_suffix(".streamed.json")

    @property
    def missing(self) -> int:
        """Bytes to write until all are stored."""
        return 0 if self.stored.is_file() else math.prod(self.shape)


def open_images(files: ImageFiles, cache: str, notify: Callable[[str], None] = lambda _: None) -> Tensor | LazyImages:
    """The images, decoded now unless they are stored or streamed.

    Args:
        files: The files.
        cache: One of `runners.protocol.IMAGE_CACHES`.
        notify: Called with Pillow's warnings about the files when they are decoded.

    Returns:
        (B, C, H, W) uint8.

    Raises:
        DataError: If an image cannot be read, naming it; or if the decoded images cannot be written.
    """
    if cache == "none" or (cache == "auto" and files.missing and (files.streamed.is_file() or not _fit([files]))):
        return StreamedImages(files, files.streamed)
    try:
        try:
            return open_stored(files.stored, files.shape, files.levels)
        except (FileNotFoundError, ValueError):  # missing or truncated
            _decode_once(files, notify)
            return open_stored(files.stored, files.shape, files.levels)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(
            f"decoded images cannot be written to {legible(files.folder)} ({reason}); give --data-dir, or "
            "NAS_DATA_DIR, a folder with room for them"
        ) from error


def choose(splits: Sequence[ImageFiles], cache: str, notify: Callable[[str], None]) -> str:
    """Whether images are stored on "disk" or streamed ("none"), before any is decoded.

    Args:
        splits: All images of a data set.
        cache: One of `runners.protocol.IMAGE_CACHES`.
        notify: Called with a sentence if they are streamed for lack of room.

    Raises:
        DataError: If they have to be stored, but there is no room.
    """
    missing = sum(files.missing for files in splits)
    if cache == "none" or not missing or _fit(splits, 1.0 if cache == "disk" else FREE_SHARE):
        return "none" if cache == "none" else "disk"
    folder = splits[0].folder
    room = f"the decoded images take {format_bytes(missing)}, and {format_bytes(_free(folder))} are free in "
    if cache == "disk":
        raise DataError(
            f"{room}{legible(folder)}; give --data-dir, or NAS_DATA_DIR, a folder with room for them, or let "
            "--image-cache none decode them in every epoch"
        )
    notify(
        f"{room}{legible(folder)}, so they are decoded from their files in every epoch, which takes longer; "
        "--data-dir names a folder with more room"
    )
    return "none"


class StreamedImages(LazyImages):
    """Images that are decoded from their files whenever they are used.

    Args:
        files: The files.
        levels: See `LazyImages`.
    """

    def __init__(self, files: ImageFiles, levels: Path) -> None:
        super().__init__(files.shape, levels)
        self._files = files
        # Reported once, by `decode_all`.
        warnings.filterwarnings("ignore", module=r"PIL\.|runners\.data\.image_decoding")

    def read(self, index: int, out: Array) -> None:
        _at.path = path = self._files.paths[index]
        out[...] = read_image(path, canonical(out.shape[1:]), len(out), self._files.contents[index].state)

    def decode_all(self, notify: Callable[[str], None], take: Callable[[Tensor], object] = lambda images: None) -> None:
        """Decode all images once; see `LazyImages.survey`. Reports how many files Pillow has warnings about.

        Raises:
            DataError: If an image cannot be read.
        """
        if self.numel() >= WORTH_SAYING:
            notify(f"decoding {len(self):,} images once ({format_bytes(self.numel())} of pixels)")
        odd: dict[str, str] = {}

        def hear(message: Warning | str, *_: Any, **__: Any) -> None:
            odd.setdefault(getattr(_at, "path", ""), str(message))

        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = hear
            self.survey(take)
        if odd:
            path = min(odd)
            of = f"{len(odd):,} of {len(self):,} image files"
            said = legible(" ".join(odd[path].split()))
            notify(f"Pillow finds something odd about {of}, such as {legible(path)}: {said}")

    def numpy(self) -> Array:
        raise DataError(
            f"the decoded images would take {format_bytes(self.numel())} and are not stored, so they cannot be sent to "
            "other nodes; have their folder at the same path on all of them, or give --data-dir a folder with room"
        )


def _decode_once(files: ImageFiles, notify: Callable[[str], None]) -> None:
    """Store all images, or wait for another process that is already doing so."""
    files.folder.mkdir(parents=True, exist_ok=True)
    with files.stored.with_name(f".{files.stored.stem}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(FileNotFoundError, ValueError):
            open_array(files.stored, files.shape, "uint8")
            return
        unfinished = files.stored.with_name(f".{files.stored.stem}.unfinished")
        unfinished.unlink(missing_ok=True)  # left by a process that was killed
        try:
            start = create_array(unfinished, files.shape, "uint8").offset
            with unfinished.open("r+b") as file:  # what is written through a map counts as memory of this process
                file.seek(start)
                StreamedImages(files, files.levels).decode_all(notify, lambda images: file.write(images.numpy().data))
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(files.stored)
        finally:
            unfinished.unlink(missing_ok=True)


def _fit(splits: Sequence[ImageFiles], share: float = FREE_SHARE) -> bool:
    return sum(files.missing for files in splits) <= share * _free(splits[0].folder)


def _free(folder: Path) -> int:
    """Free bytes of the disk that a folder is or will be on."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
    return shutil.disk_usage(there).free

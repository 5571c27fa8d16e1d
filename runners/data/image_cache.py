"""Image files decoded once, in parallel, into a memory map of bytes that later runs and other processes reuse."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from runners.data.base import legible
from runners.data.image_decoding import read_image
from runners.data.memory_maps import create_array, open_array
from search_space.errors import DataError
from search_space.size import Size, canonical, plain, sides

_READING = 3
"""Increase it whenever images are read in another way, so that earlier decoded images are not used."""
_ROUND = 8192

Array = np.ndarray[Any, np.dtype[Any]]


def decoded(
    paths: Sequence[str],
    digests: Sequence[bytes],
    size: Size,
    cache: Path,
    notify: Callable[[str], None] = lambda _: None,
) -> Tensor:
    """The images in RGB, all of one size.

    Args:
        paths: Image files.
        digests: Digests of their content, the key of the cache.
        size: Their side, or height and width, in pixels.
        cache: Folder of the memory maps.
        notify: Called with Pillow's warnings about the files when they are decoded.

    Returns:
        (B, 3, H, W) uint8, mapped from the file; changes stay in this process.

    Raises:
        DataError: If an image cannot be read, naming it; or if the cache cannot be written.
    """
    name = hashlib.sha256(f"RGB {plain(size)} {_READING}\n".encode() + b"".join(digests)).hexdigest()[:32]
    target, shape = cache / f"{name}.npy", (len(paths), 3, *sides(size))
    try:
        try:
            array = open_array(target, shape, "uint8")
        except (FileNotFoundError, ValueError):  # missing or truncated
            array = _decode_once(paths, shape, target, notify)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(
            f"decoded images cannot be written to {legible(cache)} ({reason}); give --data-dir, or NAS_DATA_DIR, "
            "a folder with room for them"
        ) from error
    return torch.from_numpy(array)


def _decode_once(
    paths: Sequence[str], shape: tuple[int, int, int, int], target: Path, notify: Callable[[str], None]
) -> Array:
    """Decode all images, or wait for another process that is already doing so."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f".{target.stem}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(FileNotFoundError, ValueError):
            return open_array(target, shape, "uint8")
        unfinished = target.with_name(f".{target.stem}.unfinished")
        unfinished.unlink(missing_ok=True)  # left by a process that was killed
        try:
            _decode_all(paths, create_array(unfinished, shape, "uint8"), notify)
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
        return open_array(target, shape, "uint8")


def _decode_all(paths: Sequence[str], images: np.memmap[Any, Any], notify: Callable[[str], None]) -> None:
    with _heard(paths, notify) as at, ThreadPoolExecutor(os.cpu_count()) as pool:

        def decode(index: int) -> None:
            at.path = paths[index]
            images[index] = read_image(paths[index], canonical(images.shape[2:]))

        # Pillow releases the interpreter lock while it decodes and resizes, so threads are enough.
        for first in range(0, len(paths), _ROUND):  # a million futures would take much memory
            for _ in pool.map(decode, range(first, min(first + _ROUND, len(paths)))):
                pass
    images.flush()


@contextmanager
def _heard(paths: Sequence[str], notify: Callable[[str], None]) -> Iterator[Any]:
    """Collect Pillow's warnings and report how many files they concern; yields a place for threads to name their
    file.
    """
    at = threading.local()
    odd: dict[str, str] = {}

    def hear(message: Warning | str, *_: Any, **__: Any) -> None:
        odd.setdefault(getattr(at, "path", ""), str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = hear
        yield at
    if odd:
        path = min(odd)
        of = f"{len(odd):,} of {len(paths):,} image files"
        notify(
            f"Pillow finds something odd about {of}, such as {legible(path)}: {legible(' '.join(odd[path].split()))}"
        )

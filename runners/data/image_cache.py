"""Image files decoded once, in parallel, into a memory map of bytes that later runs and other processes reuse."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from search_space.errors import DataError


def decoded(paths: Sequence[Path], size: int, cache: Path) -> Tensor:
    """The images as RGB squares.

    Args:
        paths: Image files.
        size: Side of the squares, in pixels.
        cache: Folder of the memory maps. The file's name is a digest of what was decoded (paths, sizes, times of
            change), so a changed folder is decoded anew.

    Returns:
        (B, 3, size, size) uint8, mapped from the file; changes to it stay in this process.

    Raises:
        DataError: If an image cannot be read, naming it; or if the cache cannot be written.
    """
    target = cache / f"{_digest(paths, size)}.npy"
    if not target.is_file():
        try:
            _decode_all(paths, size, target)
        except OSError as error:
            raise DataError(f"decoded images cannot be written to {cache} ({error}); set NAS_DATA_DIR") from error
    return torch.from_numpy(np.load(target, mmap_mode="c"))


def _decode_all(paths: Sequence[Path], size: int, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        unfinished = Path(scratch) / target.name
        shape = (len(paths), 3, size, size)
        images = np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.uint8, shape=shape)

        def decode(index: int) -> None:
            images[index] = _read(paths[index], size)

        # Pillow releases the interpreter lock while it decodes and resizes, so threads are enough.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for future in [pool.submit(decode, index) for index in range(len(paths))]:
                future.result()
        images.flush()
        unfinished.replace(target)


def _read(path: Path, size: int) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    try:
        with Image.open(path) as image:
            square = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BILINEAR)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read as an image: {error}") from error
    return np.asarray(square).transpose(2, 0, 1)


def _digest(paths: Sequence[Path], size: int) -> str:
    digest = hashlib.sha256(f"RGB {size}".encode())
    for path in paths:
        status = path.stat()
        digest.update(f"\n{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}".encode())
    return digest.hexdigest()[:32]

"""Memory-mapped arrays in files, with a clear error if the disk is full."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from search_space.units import format_bytes


def create_array(path: Path, shape: tuple[int, ...], kind: str) -> np.memmap[Any, np.dtype[Any]]:
    """A new memory-mapped array in a ``.npy`` file, with its disk space reserved.

    Without the reservation the file has holes, and the first write to a hole on a full disk kills the process (a bus
    error).

    Raises:
        OSError: If there is no room; its text says how much is needed and how much is free.
    """
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(kind)), "fortran_order": False, "shape": shape}
    with path.open("xb") as file:
        np.lib.format.write_array_header_2_0(file, header)
        start = file.tell()
        size = start + int(np.prod(shape, dtype=object)) * np.dtype(kind).itemsize
        file.flush()
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or "too large"
            free = shutil.disk_usage(path.parent).free
            raise OSError(
                getattr(error, "errno", None) or 0,
                f"{reason}: it takes {format_bytes(size)}, and {format_bytes(free)} are free there",
            ) from error
    return np.memmap(path, np.dtype(kind), mode="r+", offset=start, shape=shape)


def open_array(path: Path, shape: tuple[int, ...], kind: str) -> np.memmap[Any, np.dtype[Any]]:
    """The array in a file, memory-mapped so that changes stay in this process.

    Raises:
        OSError: If there is no such file, or it cannot be read.
        ValueError: If the file is damaged or holds a different array.
    """
    array: np.memmap[Any, np.dtype[Any]] = np.lib.format.open_memmap(path, mode="c")
    if array.shape != shape or array.dtype != np.dtype(kind):
        raise ValueError(f"it holds an array of {array.shape} {array.dtype}, not of {shape} {kind}")
    return array

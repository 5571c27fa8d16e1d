"""Images outside memory, which are read when they are used.

They are read by as many threads as torch uses, which are as many as the CPUs that a trial reserves. What is read does
not depend on the threads: each image has its place in the result, and no randomness is drawn here.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from runners.data.statistics import LEVELS, Statistics, count_levels, statistics_of
from runners.files import write_atomically

READ_AHEAD = 2
"""Chunks that are read while a GPU works on an earlier one."""
PARTS = 4
"""Parts of a chunk for each thread: more of them balance slow images, fewer cost less to hand out."""
SURVEY = 256
"""Images to read at a time when all are read. Arbitrary."""

Array = np.ndarray[Any, np.dtype[Any]]


class LazyImages(ABC):
    """Stands in for a tensor (B, C, H, W) of uint8 in a `runners.data.Split`.

    Args:
        shape: B, C, H, W.
        levels: File in which the counts of the images' levels are kept; only a cache.
    """

    device = torch.device("cpu")
    dtype = torch.uint8

    def __init__(self, shape: Sequence[int], levels: Path) -> None:
        self.shape = torch.Size(shape)
        self.levels = levels

    @abstractmethod
    def read(self, index: int, out: Array) -> None:
        """Read one image into `out`, (C, H, W) uint8; called by several threads at once.

        Raises:
            DataError: If it cannot be read; the message names the file.
        """

    @abstractmethod
    def numpy(self) -> Array:
        """All images as one array that is mapped from a file.

        Raises:
            DataError: If there is no such file.
        """

    def __len__(self) -> int:
        return self.shape[0]

    def numel(self) -> int:
        """Bytes of all images."""
        return self.shape.numel()

    def __getitem__(self, chosen: Tensor | slice) -> Tensor:
        """The images at these indices: (N, C, H, W) uint8, read while the caller waits."""
        indices = range(len(self))[chosen] if isinstance(chosen, slice) else chosen.tolist()
        return _Reading(self, indices, torch.get_num_threads(), pinned=False).finish()

    def split(self, size: int) -> Iterator[Tensor]:
        """All images in order, `size` at a time."""
        return (self[at : at + size] for at in range(0, len(self), size))

    def ahead(self, chunks: Iterable[Tensor], threads: int, pinned: bool = False) -> Iterator[Tensor]:
        """The images of every chunk of indices, read while the caller uses earlier ones.

        Args:
            chunks: (N,) int64 each.
            threads: Threads that read, beside that of the caller.
            pinned: Whether to read into page-locked memory, which a GPU copies from while others work.
        """
        pending: deque[_Reading] = deque()
        try:
            for chunk in chunks:
                pending.append(_Reading(self, chunk.tolist(), threads, pinned))
                if len(pending) > READ_AHEAD:
                    yield pending.popleft().finish()
            while pending:
                yield pending.popleft().finish()
        finally:
            for reading in pending:
                reading.cancel()

    def to(self, device: torch.device) -> Tensor:
        """All images on another device."""
        images = torch.empty(self.shape, dtype=self.dtype, device=device)
        for at, chunk in zip(range(0, len(self), SURVEY), self.split(SURVEY), strict=True):
            images[at : at + SURVEY] = chunk.to(device)
        return images

    def statistics(self) -> Statistics:
        """Mean and standard deviation of every channel; all images are read unless they were surveyed before.

        Raises:
            DataError: If an image cannot be read.
        """
        with suppress(OSError, ValueError, TypeError, RuntimeError):  # missing or damaged
            counts = torch.tensor(json.loads(self.levels.read_bytes()), dtype=torch.int64)
            pixels = self.numel() // self.shape[1]
            if counts.shape == (self.shape[1], LEVELS) and counts.min() >= 0 and counts.sum(dim=1).eq(pixels).all():
                return statistics_of(counts)
        return statistics_of(self.survey())

    def survey(self, take: Callable[[Tensor], object] = lambda images: None) -> Tensor:
        """Read all images once, and record how often each level occurs in each channel.

        Args:
            take: Called with successive images (N, C, H, W).

        Returns:
            (C, 256) int64.

        Raises:
            DataError: If an image cannot be read.
        """
        counts = torch.zeros(self.shape[1], LEVELS, dtype=torch.int64)
        chunks = torch.arange(len(self)).split(SURVEY)
        for images in self.ahead(chunks, torch.get_num_threads()):
            counts += count_levels(images)
            take(images)
        with suppress(OSError):
            write_atomically(self.levels, json.dumps(counts.tolist()).encode())
        return counts


class _Reading:
    """Images that are being read by several threads."""

    def __init__(self, source: LazyImages, indices: Sequence[int], threads: int, pinned: bool) -> None:
        self.images = torch.empty((len(indices), *source.shape[1:]), dtype=source.dtype, pin_memory=pinned)
        array = self.images.numpy()

        def read(start: int) -> None:
            for place in range(start, min(start + size, len(indices))):
                source.read(indices[place], array[place])

        size = max(1, math.ceil(len(indices) / (PARTS * threads)))
        pool = _threads(threads)
        self._parts = [pool.submit(read, start) for start in range(0, len(indices), size)]

    def finish(self) -> Tensor:
        """Wait; the first image in order that cannot be read decides the error."""
        try:
            for part in self._parts:
                part.result()
        finally:
            self.cancel()
        return self.images

    def cancel(self) -> None:
        """Read no more than what has begun."""
        for part in self._parts:
            part.cancel()


@lru_cache(maxsize=1)
def _threads(number: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(number, thread_name_prefix="images")

"""Turns bytes into normalised, augmented batches on the training device.

B images of a batch or chunk, C channels, H and W pixels.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from runners.data import Split
from runners.data.lazy_images import LazyImages
from runners.training.variation import Variation

CHUNK_BYTES = 64 * 2**20
"""Float pixels to prepare at a time: a whole epoch of digits, but never of a large data set."""
RESIDENT_SHARE = 0.25
"""A split is moved to an accelerator once if it takes at most this share of its free memory."""


class Normaliser:
    """(B, C, H, W) uint8 -> float32 with mean 0 and deviation 1 per channel over the training images."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: torch.device) -> None:
        self._scale = (1 / (255 * torch.tensor(std, dtype=torch.float32, device=device))).view(1, -1, 1, 1)
        self._shift = (-torch.tensor(mean, device=device) / torch.tensor(std, device=device)).view(1, -1, 1, 1)

    def __call__(self, images: Tensor) -> Tensor:
        pixels = images.to(torch.float32)
        # In place, unless `images` itself would change: new memory takes a third of the time.
        return torch.addcmul(self._shift, pixels, self._scale, out=None if pixels is images else pixels)


def place(split: Split, device: torch.device) -> Split:
    """The split on `device` if it is small enough to stay there, else unchanged."""
    if device.type == "cpu":
        return split
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if split.images.numel() > RESIDENT_SHARE * free:
            return split
    return Split(split.images.to(device), split.labels.to(device))


def training_batches(
    split: Split, batch_size: int, normalise: Normaliser, variation: Variation, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield one epoch in random order, on the generator's device.

    Many batches are gathered and augmented at once, since a small batch is dominated by overhead. Images that do not
    fill a batch are left out of this epoch, so that no step depends on a handful of images.

    Yields:
        Images (batch_size, C, H, W) float32 and labels: (batch_size,) int64, or shares of classes (batch_size, K) if
        images are mixed.
    """
    device = generator.device
    draws = random.Random(generator.initial_seed())
    order = torch.randperm(len(split), device=device, generator=generator)
    order = variation.order(order, steps_per_epoch(split, batch_size) * batch_size)
    pixels = batch_size * split.images.shape[1:].numel() * 4
    for images, labels in _fetched(split, order.split(batch_size * max(1, CHUNK_BYTES // pixels)), device):
        images = normalise(variation.pixels(images, generator, draws))
        labels = variation.finish(images, labels, batch_size, generator, draws)
        yield from zip(images.split(batch_size), labels.split(batch_size), strict=True)


def evaluation_batches(
    split: Split, batch_size: int, normalise: Normaliser, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield all images in order.

    Yields:
        Images (B, C, H, W) float32 and labels (B,) int64, B at most `batch_size`.
    """
    if isinstance(split.images, LazyImages):
        for images, labels in _fetched(split, torch.arange(len(split)).split(batch_size), device):
            yield normalise(images), labels
        return
    for images, labels in zip(split.images.split(batch_size), split.labels.split(batch_size), strict=True):
        yield normalise(_move(images, device)), _move(labels, device)


def steps_per_epoch(split: Split, batch_size: int) -> int:
    """Number of full batches in a split."""
    return len(split) // batch_size


def _fetched(split: Split, chunks: Sequence[Tensor], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Images (uint8) and labels of each chunk of indices, on `device`.

    On a CPU, a training waits while its images are read by all its threads, so it never uses more CPUs than it has
    reserved. On a GPU, they are read ahead.
    """
    chunks = [chunk.to(split.images.device) for chunk in chunks]
    images: Iterable[Tensor]
    if isinstance(split.images, LazyImages) and device.type == "cuda":
        images = split.images.ahead(chunks, max(1, torch.get_num_threads() - 1), pinned=True)
    else:
        images = (split.images[chunk] for chunk in chunks)
    for chunk, some in zip(chunks, images, strict=True):
        yield _move(some, device), _move(split.labels[chunk], device)


def _move(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)

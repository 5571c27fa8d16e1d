"""The images that proxies are computed on: from the training split only, the same for every architecture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from runners.data import Splits, data_directory, load_splits
from runners.protocol import DataSpec
from runners.training.batches import Normaliser
from search_space.architecture import Architecture
from search_space.errors import DataError

BATCH = 64
"""Images per gradient: enough for the statistics of a BatchNorm."""
BATCHES = 2
"""ZiCo needs at least two gradients, and its authors found two to be enough (arXiv 2301.11300, section 5)."""


@dataclass(frozen=True, eq=False)
class Images:
    """Training images for scoring architectures.

    Attributes:
        splits: Their source; the validation split is not used.
        seed: Seed of their selection.
        device: The device they are on.
    """

    splits: Splits
    seed: int
    device: torch.device

    @cached_property
    def normalise(self) -> Normaliser:
        """Normalise images as in a training."""
        return Normaliser(self.splits.mean, self.splits.std, self.device)

    @cached_property
    def whole(self) -> tuple[Tensor, Tensor]:
        """The images to measure on: (B, C, H, W) float32, and their labels (B,)."""
        train = self.splits.train
        chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(self.seed))[: BATCH * BATCHES]
        images, labels = train.images[chosen].to(self.device), train.labels[chosen].to(self.device)
        return self.normalise(images), labels

    @cached_property
    def batches(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """The same in `BATCHES` batches of equal size."""
        images, labels = self.whole
        return tuple(zip(images.chunk(BATCHES), labels.chunk(BATCHES), strict=True))

    def check(self, architecture: Architecture) -> None:
        """Raise DataError unless an architecture fits these images and classes."""
        for name in ("image_size", "in_channels", "classes"):
            here, there = getattr(architecture, name), getattr(self.splits.info, name)
            if here != there:
                raise DataError(f"the architecture has {name} {here}, but the data set {there}")


def load_images(data: DataSpec, seed: int, device: torch.device) -> Images:
    """The images of a data set.

    Raises:
        DataError: If they cannot be read.
    """
    return _load(replace(data, directory=str(data_directory(data))), seed, device)


@lru_cache(maxsize=2)
def _load(data: DataSpec, seed: int, device: torch.device) -> Images:
    return Images(load_splits(data), seed, device)

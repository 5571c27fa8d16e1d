"""All random changes of training images that a recipe asks for, in addition to the data set's own augmentation.

In this order: the augmentation of the data set (shifts, rotations, mirroring), a random resized crop, RandAugment or
TrivialAugment; then, on normalised images, random erasing, and mixing with other images.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from runners.data import Augmentation
from runners.recipe import Recipe
from runners.training.augmentation import augment
from runners.training.boxes import erase, resized_crop
from runners.training.mixing import Mixing
from runners.training.operations import TRIVIAL_AUGMENT, operate, rand_augment

PIECE_BYTES = 8 * 2**20
"""On a CPU, images are varied in pieces of this size as floats, which stay in its caches: at 3 x 64 x 64, RandAugment
takes 0.6 times as long in pieces as for 1,024 images at once, and at 3 x 32 x 32 as long (AMD EPYC, 2 cores)."""


class Variation:
    """Varies training images, many batches at a time.

    Args:
        augmentation: The augmentation of the data set.
        recipe: The recipe; None for the data set's augmentation alone.
        classes: Number of classes, for labels that are mixed.
    """

    def __init__(self, augmentation: Augmentation, recipe: Recipe | None = None, classes: int = 0) -> None:
        self._augmentation = augmentation
        self.repeats = 1 if recipe is None else recipe.repeats
        self._crop = 1.0 if recipe is None else recipe.crop
        self._erasing = 0.0 if recipe is None else recipe.erasing
        self._policy = None
        self._mixing = None
        if recipe is not None and (recipe.rand_augment or recipe.trivial_augment):
            self._policy = TRIVIAL_AUGMENT if recipe.trivial_augment else rand_augment(recipe.rand_augment)
        if recipe is not None and recipe.mixes:
            self._mixing = Mixing(recipe.mixup, recipe.cutmix, classes)

    def order(self, order: Tensor, count: int) -> Tensor:
        """The first `count` images of an epoch: with repeated augmentation, each comes several times in a row.

        Repeated augmentation (https://arxiv.org/abs/1901.09335) keeps the number of steps, so an epoch sees a part of
        the images.
        """
        if self.repeats > 1:
            order = order[: -(-count // self.repeats)].repeat_interleave(self.repeats)
        return order[:count]

    def pixels(self, images: Tensor, generator: torch.Generator, draws: random.Random) -> Tensor:
        """Vary images, (B, C, H, W) uint8 -> uint8 or float32 in 0..255.

        Args:
            images: The images.
            generator: Source of randomness, on the device of `images`.
            draws: Source of randomness for what is decided on the CPU.
        """
        images = augment(images, self._augmentation, generator)
        if self._crop == 1 and self._policy is None:
            return images
        return torch.cat([self._varied(piece.float(), generator, draws) for piece in _pieces(images)])

    def _varied(self, images: Tensor, generator: torch.Generator, draws: random.Random) -> Tensor:
        if self._crop < 1:
            images = resized_crop(images, self._crop, generator)
        if self._policy is not None:
            images = operate(images, self._policy, generator, draws)
        return images

    def finish(
        self, images: Tensor, labels: Tensor, batch_size: int, generator: torch.Generator, draws: random.Random
    ) -> Tensor:
        """Vary normalised images of several batches in place; returns their labels. See `Mixing` for the shapes."""
        if self._erasing > 0:
            for piece in _pieces(images):
                erase(piece, self._erasing, generator)
        return labels if self._mixing is None else self._mixing(images, labels, batch_size, draws)


def _pieces(images: Tensor) -> Sequence[Tensor]:
    if images.device.type != "cpu":
        return (images,)
    pieces: Sequence[Tensor] = images.split(max(1, PIECE_BYTES // (4 * images[0].numel())))
    return pieces

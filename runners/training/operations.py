"""RandAugment and TrivialAugment for whole batches, on the device that the images are on.

The operations and their strengths are torchvision's (`torchvision.transforms.v2`), with bilinear interpolation. A batch
is shuffled and cut into one slice for each operation, so every image gets a random operation, and each operation runs
once, on images of different strengths. The sizes of the slices do not depend on data on a GPU, so nothing waits for it.

B images of a batch, C channels, H and W pixels; pixels are floats from 0 to 255.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from runners.training.pixels import autocontrast, equalize, mix_with, posterize, sharpness, solarize, to_grey

BINS = 30
"""Strengths are whole numbers from 0 to this, as in torchvision."""


@dataclass(frozen=True)
class Policy:
    """A random augmentation.

    Attributes:
        rounds: Operations for each image.
        level: Strength of all operations, from 0 to 1; None for a random one for each image.
        shear: Largest shear, as the tangent of an angle.
        shift: Largest translation, as a share of the side.
        degrees: Largest rotation.
        colour: Largest change of brightness, colour, contrast and sharpness.
        bits: Bits that posterizing drops at most.
    """

    rounds: int
    level: float | None
    shear: float
    shift: float
    degrees: float
    colour: float
    bits: int


def rand_augment(magnitude: int) -> Policy:
    """RandAugment (https://arxiv.org/abs/1909.13719) with two operations of one magnitude, from 0 to 30."""
    return Policy(rounds=2, level=magnitude / BINS, shear=0.3, shift=150 / 331, degrees=30, colour=0.9, bits=4)


TRIVIAL_AUGMENT = Policy(rounds=1, level=None, shear=0.99, shift=150 / 331, degrees=135, colour=0.99, bits=6)
"""TrivialAugment Wide (https://arxiv.org/abs/2103.10158). It moves images by up to 32 pixels, for images of 32 and of
224 pixels alike; here it is RandAugment's share of the side, since an image of 8 pixels would leave the frame."""

_Operation = Callable[[Tensor, Tensor, Tensor, Policy], Tensor]
"""(images, levels from 0 to 1, signs, policy) -> images; levels and signs are (B,)."""


def operate(images: Tensor, policy: Policy, generator: torch.Generator, draws: random.Random) -> Tensor:
    """Apply random operations to every image.

    Args:
        images: (B, C, H, W).
        policy: Which strengths.
        generator: Source of randomness, on the device of `images`.
        draws: Source of randomness for the sizes of slices.

    Returns:
        (B, C, H, W), in the order of `images`.
    """
    b, device = len(images), images.device
    for _ in range(policy.rounds):
        order = torch.randperm(b, device=device, generator=generator)
        signs = 1 - 2 * torch.randint(2, (b,), device=device, generator=generator).to(images.dtype)
        if policy.level is None:
            levels = torch.randint(BINS + 1, (b,), device=device, generator=generator).to(images.dtype) / BINS
        else:
            levels = torch.full((b,), policy.level, device=device, dtype=images.dtype)
        # Systematic sampling: every operation gets the same number of images on average, whatever the batch.
        offset, count = draws.random(), len(_OPERATIONS)
        edges = [int(index * b / count + offset) for index in range(count)] + [b]
        edges[0] = 0
        shuffled, done = images[order], []
        for operation, first, last in zip(_OPERATIONS, edges, edges[1:], strict=False):
            if first < last:
                some = slice(first, last)
                done.append(operation(shuffled[some], levels[some], signs[some], policy))
        images = torch.empty_like(images).index_copy_(0, order, torch.cat(done))
    return images


def _affine(images: Tensor, rows: list[list[Tensor]]) -> Tensor:
    """Sample images at the positions that (2, 3) matrices give, in coordinates from -1 to 1."""
    theta_b23 = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
    grid = functional.affine_grid(theta_b23, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def _shear_x(images: Tensor, levels: Tensor, signs: Tensor, policy: Policy) -> Tensor:
    shear = signs * levels * policy.shear * (images.shape[2] / images.shape[3])  # about the upper left corner
    one, zero = torch.ones_like(shear), torch.zeros_like(shear)
    return _affine(images, [[one, shear, shear], [zero, one, zero]])


def _shear_y(images: Tensor, levels: Tensor, signs: Tensor, policy: Policy) -> Tensor:
    shear = signs * levels * policy.shear * (images.shape[3] / images.shape[2])
    one, zero = torch.ones_like(shear), torch.zeros_like(shear)
    return _affine(images, [[one, zero, zero], [shear, one, shear]])


def _shift_x(images: Tensor, levels: Tensor, signs: Tensor, policy: Policy) -> Tensor:
    w = images.shape[3]
    shift = (signs * levels * policy.shift * w).trunc() * (2 / w)
    one, zero = torch.ones_like(shift), torch.zeros_like(shift)
    return _affine(images, [[one, zero, -shift], [zero, one, zero]])


def _shift_y(images: Tensor, levels: Tensor, signs: Tensor, policy: Policy) -> Tensor:
    h = images.shape[2]
    shift = (signs * levels * policy.shift * h).trunc() * (2 / h)
    one, zero = torch.ones_like(shift), torch.zeros_like(shift)
    return _affine(images, [[one, zero, zero], [zero, one, -shift]])


def _rotate(images: Tensor, levels: Tensor, signs: Tensor, policy: Policy) -> Tensor:
    angle = signs * levels * (policy.degrees * math.pi / 180)
    aspect, cos, sin, zero = images.shape[2] / images.shape[3], angle.cos(), angle.sin(), torch.zeros_like(angle)
    return _affine(images, [[cos, -sin * aspect, zero], [sin / aspect, cos, zero]])


def _factors(levels: Tensor, signs: Tensor, policy: Policy) -> Tensor:
    return (1 + signs * levels * policy.colour)[:, None, None, None]


def _brightness(images: Tensor, levels: Tensor, signs: Tensor, policy: Policy) -> Tensor:
    return mix_with(torch.zeros_like(images), images, _factors(levels, signs, policy))


def _colour(images: Tensor, levels: Tensor, signs: Tensor, policy: Policy) -> Tensor:
    return mix_with(to_grey(images), images, _factors(levels, signs, policy))


def _contrast(images: Tensor, levels: Tensor, signs: Tensor, policy: Policy) -> Tensor:
    return mix_with(to_grey(images).mean(dim=(1, 2, 3), keepdim=True), images, _factors(levels, signs, policy))


def _sharpness(images: Tensor, levels: Tensor, signs: Tensor, policy: Policy) -> Tensor:
    return sharpness(images, _factors(levels, signs, policy))


_OPERATIONS: tuple[_Operation, ...] = (
    lambda images, levels, signs, policy: images,
    _shear_x,
    _shear_y,
    _shift_x,
    _shift_y,
    _rotate,
    _brightness,
    _colour,
    _contrast,
    _sharpness,
    lambda images, levels, signs, policy: posterize(images, (levels * policy.bits).round()),
    lambda images, levels, signs, policy: solarize(images, 255 * (1 - levels)),
    lambda images, levels, signs, policy: autocontrast(images),
    lambda images, levels, signs, policy: equalize(images),
)
"""The operations of both papers, in torchvision's order."""

"""Random boxes of images: cut out and enlarged (random resized crop), or erased.

B images of a batch, C channels, H and W pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

CROP_RATIO = (3 / 4, 4 / 3)
"""Width of a crop over its height, as in torchvision and timm."""
ERASED_AREA, ERASED_RATIO = (0.02, 1 / 3), (0.3, 1 / 0.3)
"""Share of an image that is erased, and width over height of the box, as in the paper and timm."""


def resized_crop(images: Tensor, smallest: float, generator: torch.Generator) -> Tensor:
    """Cut a random box out of every image, and enlarge it to the size of the image (bilinear).

    As in https://arxiv.org/abs/1409.4842, section 6. A box that would be wider or higher than the image is as wide or
    high as it; torchvision draws another.

    Args:
        images: (B, C, H, W).
        smallest: Smallest share of the area that is kept.
        generator: Source of randomness, on the device of `images`.

    Returns:
        (B, C, H, W) float32.
    """
    height, width = _sides(len(images), (smallest, 1.0), CROP_RATIO, generator)
    down, right = ((1 - side) * (2 * _uniform(len(images), generator) - 1) for side in (height, width))
    zero = torch.zeros_like(height)
    theta_b23 = torch.stack([width, zero, right, zero, height, down], dim=1).view(-1, 2, 3)
    grid = functional.affine_grid(theta_b23, list(images.shape), align_corners=False)
    return functional.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)


def erase(images: Tensor, share: float, generator: torch.Generator) -> None:
    """Set a random box of some images to 0, the mean colour of normalised images, in place.

    Random erasing (https://arxiv.org/abs/1708.04896), with the mean in place of random colours.

    Args:
        images: (B, C, H, W).
        share: Share of the images that lose a box.
        generator: Source of randomness, on the device of `images`.
    """
    b, _, h, w = images.shape
    height, width = _sides(b, ERASED_AREA, ERASED_RATIO, generator)
    chosen = _uniform(b, generator) < share
    rows = _inside(h, (height * h).round(), generator) & chosen[:, None]
    columns = _inside(w, (width * w).round(), generator)
    images.masked_fill_((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)


def _sides(
    b: int, areas: tuple[float, float], ratios: tuple[float, float], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Heights and widths of random boxes, (B,), as shares of the sides of an image."""
    area = areas[0] + (areas[1] - areas[0]) * _uniform(b, generator)
    low, high = map(math.log, ratios)
    ratio = torch.exp(low + (high - low) * _uniform(b, generator))
    return (area / ratio).sqrt().clamp(max=1.0), (area * ratio).sqrt().clamp(max=1.0)


def _inside(side: int, length: Tensor, generator: torch.Generator) -> Tensor:
    """(B, side) bool: which rows or columns are in boxes of these lengths, at random places."""
    first = (_uniform(len(length), generator) * (side - length + 1)).floor()
    index = torch.arange(side, device=length.device)
    return (index >= first[:, None]) & (index < (first + length)[:, None])


def _uniform(b: int, generator: torch.Generator) -> Tensor:
    return torch.rand(b, device=generator.device, generator=generator)

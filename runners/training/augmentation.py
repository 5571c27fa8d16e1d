"""Augments training images, a batch at a time, on the device they are on.

B images of a batch, C channels, H and W pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from runners.data import Augmentation


def augment(images: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Move and mirror every image independently.

    Shifts by whole pixels are copied; rotated, zoomed or finely shifted images are interpolated (bilinear). The area
    moved in from outside is 0.

    Args:
        images: (B, C, H, W) uint8.
        augmentation: The transformations and their ranges.
        generator: Source of randomness, on the device of `images`.

    Returns:
        (B, C, H, W), uint8 or float32 in 0..255; `images` itself if there is nothing to do.
    """
    if augmentation.degrees > 0 or augmentation.scale > 0 or not float(augmentation.shift).is_integer():
        return _warp(images, augmentation, generator)
    if augmentation.shift > 0 or augmentation.flip:
        return _shift(images, augmentation, generator)
    return images


def _shift(images: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Padding and a random crop, as on CIFAR (https://arxiv.org/abs/1512.03385, section 4.2), in one gather."""
    shift, device = int(augmentation.shift), images.device
    b, _, h, w = images.shape
    columns_bw = torch.arange(w, device=device).expand(b, w)
    if augmentation.flip:
        columns_bw = torch.where(_chosen(b, 0.5, generator), w - 1 - columns_bw, columns_bw)
    moved = _chosen(b, augmentation.share, generator)
    down, right = (
        torch.randint(2 * shift + 1, (b, 1), device=device, generator=generator).where(moved, shift) for _ in range(2)
    )
    rows_bh, columns_bw = torch.arange(h, device=device) + down, columns_bw + right
    padded = functional.pad(images, (shift, shift, shift, shift))
    which_b = torch.arange(b, device=device)[:, None, None]
    picked_bhwc = padded[which_b, :, rows_bh[:, :, None], columns_bw[:, None, :]]  # indexing moves the channels last
    return picked_bhwc.permute(0, 3, 1, 2).contiguous()


def _warp(images: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """A random similarity of the plane for every image."""
    b, c, h, w = images.shape
    angle = _uniform(b, augmentation.degrees * math.pi / 180, generator)
    zoom = (1 + augmentation.scale) ** _uniform(b, 1.0, generator)
    mirror = 1 - 2 * _chosen(b, 0.5, generator).float()[:, 0] if augmentation.flip else torch.ones_like(zoom)
    moved = _chosen(b, augmentation.share, generator)[:, 0]
    angle, zoom = angle.where(moved, 0.0), zoom.where(moved, 1.0)
    # The grid runs from -1 to 1, so a pixel measures 2 / side.
    right = _uniform(b, 2 * augmentation.shift / w, generator).where(moved, 0.0)
    down = _uniform(b, 2 * augmentation.shift / h, generator).where(moved, 0.0)
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    theta_b23 = torch.stack([cos * mirror, -sin, right, sin * mirror, cos, down], dim=1).view(b, 2, 3)
    grid = functional.affine_grid(theta_b23, [b, c, h, w], align_corners=False)
    return functional.grid_sample(images.float(), grid, align_corners=False)


def _uniform(b: int, largest: float, generator: torch.Generator) -> Tensor:
    """(B,) uniform in +- `largest`."""
    return (2 * torch.rand(b, device=generator.device, generator=generator) - 1) * largest


def _chosen(b: int, share: float, generator: torch.Generator) -> Tensor:
    """(B, 1) bool, True for about `share` of the images."""
    return torch.rand((b, 1), device=generator.device, generator=generator) < share

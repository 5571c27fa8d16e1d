"""Changes of colours for batches of images, each image with a strength of its own; pixels are floats from 0 to 255.

They compute what the functions of the same name in `torchvision.transforms.v2.functional` compute for one image.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_LUMA = (0.2989, 0.587, 0.114)
"""Shares of red, green and blue in the brightness of a pixel, as in torchvision (ITU-R BT.601)."""


def mix_with(other: Tensor, images: Tensor, factors: Tensor) -> Tensor:
    """`factors` of the images and the rest of `other`, clamped; a factor above 1 moves away from `other`."""
    return torch.lerp(other.expand_as(images), images, factors.expand_as(images)).clamp_(0, 255)


def to_grey(images: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 1, H, W), unless the images are grey, or have other channels than red, green and blue."""
    if images.shape[1] != len(_LUMA):
        return images
    return (images * images.new_tensor(_LUMA)[:, None, None]).sum(dim=1, keepdim=True)


def sharpness(images: Tensor, factors: Tensor) -> Tensor:
    """Mix images with smooth ones; the pixels at the border stay as they are."""
    c, h, w = images.shape[1:]
    if h <= 2 or w <= 2:
        return images
    kernel = images.new_full((c, 1, 3, 3), 1 / 13)
    kernel[:, :, 1, 1] = 5 / 13
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = functional.conv2d(images, kernel, groups=c)
    return mix_with(smooth, images, factors)


def posterize(images: Tensor, dropped: Tensor) -> Tensor:
    """Set the lowest bits of every pixel to 0; `dropped` says how many, (B,)."""
    step = torch.exp2(dropped)[:, None, None, None]
    return (images / step).floor() * step


def solarize(images: Tensor, thresholds: Tensor) -> Tensor:
    """Invert the pixels from a threshold on, (B,)."""
    return torch.where(images >= thresholds[:, None, None, None], 255 - images, images)


def autocontrast(images: Tensor) -> Tensor:
    """Stretch every channel of every image to 0..255; one of a single brightness stays as it is."""
    lowest, highest = images.aminmax(dim=3, keepdim=True)
    lowest, highest = lowest.amin(dim=2, keepdim=True), highest.amax(dim=2, keepdim=True)
    span = highest - lowest
    return torch.where(span > 0, (images - lowest) * (255 / span.clamp(min=1e-6)), images).clamp_(0, 255)


def equalize(images: Tensor) -> Tensor:
    """Make the histogram of every channel of every image flat, as Pillow does it."""
    b, c, h, w = images.shape
    bytes_ = images.round().long().view(b * c, h * w)
    histogram = torch.zeros(b * c, 256, dtype=torch.long, device=images.device)
    histogram.scatter_add_(1, bytes_, torch.ones_like(bytes_))
    cumulative = histogram.cumsum(dim=1)
    brightest = (histogram > 0).long().mul(torch.arange(256, device=images.device)).amax(dim=1, keepdim=True)
    step = (h * w - histogram.gather(1, brightest)) // 255
    table = (functional.pad(cumulative, (1, 0))[:, :-1] + step // 2) // step.clamp(min=1)
    equal = table.clamp_(0, 255).gather(1, bytes_)
    return torch.where(step > 0, equal, bytes_).view_as(images).to(images.dtype)

"""Mean and standard deviation of pixels, for normalising images."""

from __future__ import annotations

from torch import Tensor

CHUNK = 4096
"""Images to process at a time, so that a memory-mapped data set is never in memory as a whole."""


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of every channel, with pixels scaled to 0..1.

    Args:
        images: (B, C, H, W) uint8.

    Returns:
        C means and C standard deviations; that of a constant channel is 1.
    """
    count = images.numel() // images.shape[1]
    total = images.new_zeros(images.shape[1]).double()
    squares = total.clone()
    for chunk in images.split(CHUNK):
        # Sums of integers up to 255^2 are exact in float64.
        values = chunk.transpose(0, 1).flatten(1).double()
        total += values.sum(dim=1)
        squares += values.square().sum(dim=1)
    mean = total / count
    std = (squares / count - mean.square()).clamp_(min=0).sqrt()
    std[std == 0] = 255
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())

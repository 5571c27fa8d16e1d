"""Mixup and CutMix: images mixed in pairs, and their labels with them.

B images of a batch, C channels, H and W pixels, K classes.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Mixing:
    """Mixup (https://arxiv.org/abs/1710.09412) and CutMix (https://arxiv.org/abs/1905.04899), as in timm.

    Every batch is mixed with itself in reverse order, by a share that is drawn for the batch. With both, each batch
    gets one of them, with equal probability.

    Attributes:
        mixup: Alpha of the beta distribution of the share; 0 for no mixup.
        cutmix: The same for CutMix, where the share is that of the area.
        classes: Number of classes.
    """

    mixup: float
    cutmix: float
    classes: int

    def __call__(self, images: Tensor, labels: Tensor, batch_size: int, draws: random.Random) -> Tensor:
        """Mix several batches in place.

        Args:
            images: (N, C, H, W) float32, N a multiple of B.
            labels: (N,) int64.
            batch_size: B.
            draws: Source of randomness.

        Returns:
            Labels, (N, K) float32: shares of classes.
        """
        shares = []
        for some, wanted in zip(images.split(batch_size), labels.split(batch_size), strict=True):
            own = functional.one_hot(wanted, self.classes).to(images.dtype)
            shares.append(torch.lerp(own, own.flip(0), self._mix(some, draws)))
        return torch.cat(shares)

    def _mix(self, images: Tensor, draws: random.Random) -> float:
        """Mix a batch with itself; returns the share of the other image."""
        cuts = self.cutmix > 0 and (self.mixup == 0 or draws.random() < 0.5)
        alpha = self.cutmix if cuts else self.mixup
        share = 1 - draws.betavariate(alpha, alpha)
        if not cuts:
            images.lerp_(images.flip(0), share)
            return share
        h, w = images.shape[2:]
        top, bottom = _edges(h, share, draws)
        left, right = _edges(w, share, draws)
        box = images[:, :, top:bottom, left:right]
        box.copy_(box.flip(0))
        return (bottom - top) * (right - left) / (h * w)


def _edges(side: int, share: float, draws: random.Random) -> tuple[int, int]:
    """Where a box of this share of the area begins and ends along a side; what is outside of the image is cut off."""
    half, centre = int(side * math.sqrt(share)) // 2, draws.randrange(side)
    return max(centre - half, 0), min(centre + half, side)

"""Mixup and CutMix: images mixed in pairs, and their labels with them.

S batches of B images each, C channels, H and W pixels, K classes.
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

    def __call__(self, images: Tensor, labels: Tensor, batch_size: int, draws: random.Random) -> tuple[Tensor, Tensor]:
        """Mix several batches.

        Args:
            images: (S * B, C, H, W) float32.
            labels: (S * B,) int64.
            batch_size: B.
            draws: Source of randomness.

        Returns:
            Images like `images`, and labels (S * B, K) float32: shares of classes.
        """
        images = images.unflatten(0, (-1, batch_size))
        labels = functional.one_hot(labels, self.classes).to(images.dtype).unflatten(0, (-1, batch_size))
        s, (h, w) = len(images), images.shape[-2:]
        shares, boxes = [], []  # of the other image, by mixup and by CutMix
        for _ in range(s):
            share, box = self._drawn(h, w, draws)
            shares.append(share)
            boxes.append(box)
        blend = images.new_tensor(shares)[:, None, None, None, None]
        mixed = torch.lerp(images, images.flip(1), blend)
        area = torch.zeros_like(blend[:, :, :, 0, 0])
        if self.cutmix > 0:
            top, bottom, left, right = torch.tensor(boxes, device=images.device)[:, :, None].unbind(1)  # (S, 1) each
            row, column = (torch.arange(side, device=images.device) for side in (h, w))
            rows, columns = (row >= top) & (row < bottom), (column >= left) & (column < right)
            inside = (rows[:, :, None] & columns[:, None, :])[:, None, None]
            mixed = torch.where(inside, images.flip(1), mixed)
            area = ((bottom - top) * (right - left))[:, :, None] / (h * w)
        of_other = blend[:, :, :, 0, 0] + area  # one of them is 0
        return mixed.flatten(0, 1), torch.lerp(labels, labels.flip(1), of_other).flatten(0, 1)

    def _drawn(self, h: int, w: int, draws: random.Random) -> tuple[float, tuple[int, int, int, int]]:
        """The share that mixup takes of the other image, and the box that CutMix does: top, bottom, left, right."""
        cuts = self.cutmix > 0 and (self.mixup == 0 or draws.random() < 0.5)
        alpha = self.cutmix if cuts else self.mixup
        share = 1 - draws.betavariate(alpha, alpha)
        if not cuts:
            return share, (0, 0, 0, 0)
        height, width = (int(side * math.sqrt(share)) for side in (h, w))
        row, column = draws.randrange(h), draws.randrange(w)  # the centre; what is outside of the image is cut off
        edges = (row - height // 2, row + height // 2, column - width // 2, column + width // 2)
        return 0.0, tuple(min(max(edge, 0), side) for edge, side in zip(edges, (h, h, w, w), strict=True))  # type: ignore[return-value]

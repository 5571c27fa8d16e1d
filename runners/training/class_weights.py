"""Weights of classes in the loss, for data sets whose classes have very different numbers of images."""

from __future__ import annotations

import torch
from torch import Tensor


def balanced_weights(labels: Tensor, classes: int) -> Tensor:
    """Weights that give every class the same share of the loss: n / (K n_c), as in scikit-learn.

    Their mean over the images is 1, so the learning rate need not change.

    Args:
        labels: (n,) int64, of the training split.
        classes: Number of classes. K is how many of them occur; the others have the weight 0.

    Returns:
        (classes,) float32, on the device of the labels.
    """
    counts = torch.bincount(labels, minlength=classes).double()
    occurs = counts > 0
    return torch.where(occurs, len(labels) / (occurs.sum() * counts.clamp(min=1)), 0.0).float()

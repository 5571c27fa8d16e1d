"""The figures of a classifier on a split, from what it predicts for every image.

N images, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BINS = 15
"""Bins of equal width of the calibration error, as in Guo et al. 2017 (https://arxiv.org/abs/1706.04599)."""


@dataclass(frozen=True)
class Metrics:
    """The figures of a model on a split; the names are those of `runners.protocol.EpochResult`.

    Attributes:
        nll: Mean negative log-likelihood, in nats.
        accuracy: Share of the images classified correctly.
        balanced_accuracy: Mean over the classes of the share of a class's images that is classified correctly; classes
            without images are left out.
        macro_f1: Mean over the classes of the F1 score, the harmonic mean of precision and recall; classes that neither
            occur nor are predicted are left out.
        calibration_error: Mean over the images of the difference between confidence and accuracy in their bin (expected
            calibration error); 0 if a model is right as often as it claims.
    """

    nll: float
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    calibration_error: float


def metrics_of(nll: Tensor, predicted: Tensor, confidence: Tensor, labels: Tensor, classes: int) -> Metrics:
    """Compute all figures on the device of the predictions, and wait for it once.

    Args:
        nll: The sum of the negative log-likelihoods, a scalar.
        predicted: The most probable class of every image, of shape (N,), int64.
        confidence: The probability that the model gives it, of shape (N,).
        labels: The classes of the images, of shape (N,), int64.
        classes: K.
    """
    images, device = len(labels), predicted.device
    right = predicted == labels
    # One row each for the images of a class, the predictions of it, and the correct ones among them. scatter_add_ does
    # not wait for a GPU, as bincount does.
    counts = torch.zeros(3, classes, dtype=torch.int64, device=device)
    index = torch.stack([labels, predicted, predicted])
    counts.scatter_add_(1, index, torch.stack([torch.ones_like(right), torch.ones_like(right), right]).long())
    actual, claimed, hits = counts.double()
    balanced = (hits / actual.clamp(min=1)).sum() / (actual > 0).sum()
    f1 = (2 * hits / (actual + claimed).clamp(min=1)).sum() / (actual + claimed > 0).sum()
    # Of shape (BINS,): the sum over the images of a bin of correct (1 or 0) minus confidence. Bins are open below: a
    # confidence of exactly 1 / BINS is in the first.
    gaps = torch.zeros(BINS, dtype=torch.float64, device=device)
    bins = ((confidence.double() * BINS).ceil().long() - 1).clamp(0, BINS - 1)
    gaps.index_add_(0, bins, right.double() - confidence.double())
    figures = torch.stack(
        [nll.double() / images, right.sum().double() / images, balanced, f1, gaps.abs().sum() / images]
    )
    return Metrics(*figures.tolist())

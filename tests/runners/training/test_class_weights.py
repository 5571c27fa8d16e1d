"""Weights of classes: as scikit-learn's, and applied to the shares of labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from runners.data import load_splits
from runners.data.base import Split
from runners.protocol import DataSpec
from runners.recipe import Recipe
from runners.training.class_weights import balanced_weights
from runners.training.loss import Loss
from runners.training.memory import gradients

CPU = torch.device("cpu")


def make_loss(labels: torch.Tensor, **recipe: object) -> Loss:
    splits = load_splits(DataSpec("digits"))
    skewed = replace(splits, train=Split(splits.train.images[: len(labels)], labels))
    return Loss(Recipe(epochs=1, class_weights="balanced", **recipe), skewed, (CPU,))


def test_by_hand() -> None:
    """Six images of class 0, two of class 1 and none of class 2: 8 / (2 * 6) and 8 / (2 * 2)."""
    weights = balanced_weights(torch.tensor([0] * 6 + [1] * 2), 3)
    assert weights.tolist() == pytest.approx([2 / 3, 2.0, 0.0])


def test_scikit_learn_agrees() -> None:
    labels = torch.multinomial(
        torch.arange(1.0, 8.0), 500, replacement=True, generator=torch.Generator().manual_seed(0)
    )
    expected = compute_class_weight("balanced", classes=np.arange(7), y=labels.numpy())
    assert balanced_weights(labels, 7).tolist() == pytest.approx(expected)
    assert balanced_weights(labels, 7)[labels].mean().item() == pytest.approx(1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weights_apply_to_the_shares_of_the_labels(smoothing: float) -> None:
    """The mean over images of - sum over classes of w_c q_c log p_c, q the labels after smoothing and mixing."""
    labels = torch.tensor([0] * 9 + list(range(10)))
    loss, weights = make_loss(labels, label_smoothing=smoothing), balanced_weights(labels, 10)
    scores = torch.randn(19, 10, generator=torch.Generator().manual_seed(0))
    certain = torch.nn.functional.one_hot(labels, 10).float()
    mixed = 0.75 * certain + 0.25 * certain.flip(0)
    for given, shares in ((labels, certain), (mixed, mixed)):
        smooth = (1 - smoothing) * shares + smoothing / 10
        expected = -(weights * smooth * scores.log_softmax(dim=1)).sum(dim=1).mean()
        torch.testing.assert_close(loss(scores, torch.empty(0), given), expected)


def test_parts_of_a_batch_add_up() -> None:
    """Whatever classes they hold."""
    labels = torch.tensor([0] * 9 + list(range(10)))
    loss = make_loss(labels)
    whole, parts = (torch.zeros(19, 10, requires_grad=True) for _ in range(2))
    for scores, size in ((whole, 19), (parts, 4)):
        gradients([lambda some, wanted: loss(some, some, wanted)], scores, labels, size)
    torch.testing.assert_close(parts.grad, whole.grad)


def test_rare_classes_are_learned() -> None:
    """The gradient at equal scores pulls every class equally: none is favoured for being frequent."""
    labels = torch.tensor([0] * 9 + list(range(10)))
    bias = torch.zeros(10, requires_grad=True)
    make_loss(labels, label_smoothing=0.0)(bias.expand(19, 10), torch.empty(0), labels).backward()
    torch.testing.assert_close(bias.grad, torch.zeros(10), rtol=0, atol=1e-6)

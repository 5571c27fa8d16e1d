"""How good a model is on a split: mean negative log-likelihood and accuracy."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.nn import functional

from runners.data import Split
from runners.training.batches import Normaliser, evaluation_batches
from runners.training.memory import within_memory
from search_space.models.model import VisionModel

EVALUATION_BATCH = 512


@torch.inference_mode()
def evaluate(
    model: VisionModel,
    split: Split,
    normalise: Normaliser,
    device: torch.device,
    autocast: AbstractContextManager[object],
    batch_size: int = EVALUATION_BATCH,
) -> tuple[float, float]:
    """Mean negative log-likelihood in nats, and accuracy in 0..1, over a split."""
    model.eval()
    nll, correct = torch.zeros((), device=device, dtype=torch.float64), torch.zeros((), device=device)
    for images, labels in evaluation_batches(split, batch_size, normalise, device):
        with autocast:
            scores: Tensor = model(images)
        nll += functional.cross_entropy(scores.float(), labels, reduction="sum")
        correct += (scores.argmax(dim=1) == labels).sum()
    return nll.item() / len(split), correct.item() / len(split)


def first_batch(split: Split) -> int:
    """Images that go through a model at once, unless memory is short."""
    return min(EVALUATION_BATCH, len(split))


def evaluate_within_memory(
    model: VisionModel,
    split: Split,
    normalise: Normaliser,
    device: torch.device,
    autocast: AbstractContextManager[object],
    batch_size: int,
) -> tuple[tuple[float, float], int]:
    """Like `evaluate`, with smaller batches if memory is short; returns the metrics and the batch size."""
    return within_memory(
        lambda size: evaluate(model, split, normalise, device, autocast, size),
        batch_size,
        first_batch(split),
        device,
    )

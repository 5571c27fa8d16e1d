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
"""On an accelerator."""
CPU_EVALUATION_BATCH = 128
"""Larger activations leave the caches of a core, and the allocator returns them to the system after every layer.

CPU time in batches of 128 over that of one large batch, one core of an AMD EPYC (Zen 3), torch 2.13: for 512 images of
digits, mixer 0.6 to 1.0, gMLP 0.5 to 0.9, ViT 0.8; for 256 images of 28 x 28 and 500,000 parameters, mixer 0.7, ResMLP,
gMLP and ViT 0.8, the others 1.0.
"""


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


def first_batch(split: Split, device: torch.device) -> int:
    """Images that go through a model at once, unless memory is short."""
    return min(CPU_EVALUATION_BATCH if device.type == "cpu" else EVALUATION_BATCH, len(split))


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
        first_batch(split, device),
        device,
    )

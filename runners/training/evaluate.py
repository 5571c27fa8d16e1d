"""How good a model is on a split."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.nn import functional

from runners.data import Split
from runners.training.batches import Normaliser, evaluation_batches
from runners.training.memory import within_memory
from runners.training.metrics import Metrics, metrics_of
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
) -> Metrics:
    """The figures of a model on a split, which must not be empty."""
    model.eval()
    nll = torch.zeros((), device=device, dtype=torch.float64)
    found: list[tuple[Tensor, Tensor, Tensor]] = []  # predicted class, its probability, and the label
    for images, labels in evaluation_batches(split, batch_size, normalise, device):
        with autocast:
            scores: Tensor = model(images)
        log_probabilities = functional.log_softmax(scores.float(), dim=1)
        nll += functional.nll_loss(log_probabilities, labels, reduction="sum")
        found.append((scores.argmax(dim=1), log_probabilities.amax(dim=1).exp(), labels))
    predicted, confidence, truth = (torch.cat(parts) for parts in zip(*found, strict=True))
    return metrics_of(nll, predicted, confidence, truth, scores.shape[1])


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
) -> tuple[Metrics, int]:
    """Like `evaluate`, with smaller batches if memory is short; returns the metrics and the batch size."""
    return within_memory(
        lambda size: evaluate(model, split, normalise, device, autocast, size),
        batch_size,
        first_batch(split, device),
        device,
    )

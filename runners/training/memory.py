"""Continuing when memory runs out: the same batch in smaller parts, from the start of the epoch.

The gradient of a batch's mean loss is the sum of those of its micro-batches, each weighted by its share of the images;
so the steps are the same up to rounding. Two layers are exceptions: batch norm takes its statistics from micro-batches,
and stochastic depth draws in another order.
"""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from runners.execution.failures import first_line, is_out_of_memory
from runners.protocol import Cause, EvaluationError
from runners.training.flat import FlatOptimizer

log = logging.getLogger(__name__)

SMALLEST_SHARE = 16
"""Maximum number of parts of a batch, roughly; with more, a training would take forever. Arbitrary."""

Result = TypeVar("Result")
Loss = Callable[[Tensor, Tensor], Tensor]


def within_memory(compute: Callable[[int], Result], size: int, whole: int, device: torch.device) -> tuple[Result, int]:
    """Compute with `size` images at a time, and with half as many each time memory runs out.

    Args:
        compute: The computation, called with the number of images at a time, and again after each failure.
        size: Images at a time to begin with.
        whole: Images of the whole batch, of which `size` may already be a part.
        device: The device whose memory may run out.

    Returns:
        The result, and the number of images at a time that fitted.

    Raises:
        EvaluationError: OUT_OF_MEMORY if even the smallest part is too large.
    """
    while True:
        try:
            return compute(size), size
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = f"out of memory with {size} of {whole} images at a time: {first_line(error)}".rstrip(": ")
        # The error is freed by now, and with it the frames that held tensors.
        if size // 2 < max(1, whole // SMALLEST_SHARE):
            raise EvaluationError(Cause.OUT_OF_MEMORY, reason)
        size //= 2
        log.warning("%s; continuing with %d", reason, size)
        _release(device)


def gradients(losses: Sequence[Loss], images: Tensor, labels: Tensor, micro_batch: int) -> Tensor:
    """Add up the gradients of a batch's mean loss, `micro_batch` images at a time.

    Args:
        losses: Functions from images and labels to their mean loss. If there are several (`runners.training.replicas`),
            each gets an equal part of the batch.
        images: (B, ...).
        labels: (B,).
        micro_batch: Images that go through a model at once.

    Returns:
        The mean loss of the whole batch, detached.
    """
    size = min(micro_batch, math.ceil(len(images) / len(losses)))
    if size == len(images):
        loss = losses[0](images, labels)
        loss.backward()
        return loss.detach()
    parts = []
    for some, wanted, loss_of in zip(images.split(size), labels.split(size), cycle(losses)):
        loss = loss_of(some, wanted) * (len(some) / len(images))
        loss.backward()
        parts.append(loss.detach().to(images.device, non_blocking=True))
    return torch.stack(parts).sum()


class Snapshot:
    """A snapshot of a model and its optimizer to return to, in CPU memory."""

    def __init__(self, model: nn.Module, optimizer: FlatOptimizer) -> None:
        self._optimizer, self._tensors = optimizer, [optimizer.weights, *model.buffers()]
        self._values, self._moments = _copied(self._tensors), _copied(optimizer.flat_state())

    @torch.no_grad()
    def restore(self) -> None:
        """Restore the model and its optimizer; gradients are dropped."""
        self._optimizer.zero_grad()
        for tensor, value in zip(self._tensors, self._values, strict=True):
            tensor.copy_(value)
        self._optimizer.load_flat_state(_copied(self._moments))


def _copied(value: Any) -> Any:
    """A state dict with copies of its tensors."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


def _release(device: torch.device) -> None:
    """Free the memory of the failed attempt, and reset the peak, which says nothing about the training's needs."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    elif device.type == "mps":
        torch.mps.empty_cache()

"""Going on where memory runs out: the same batch in smaller parts, from where the epoch began.

The gradient of a batch's mean loss is the sum of those of its micro-batches, each weighted by its share of the images;
so the steps are the same up to rounding. Two layers see the difference: batch norm takes its statistics from
micro-batches, and stochastic depth draws in another order.
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

log = logging.getLogger(__name__)

SMALLEST_SHARE = 16
"""A batch is cut into at most about so many parts, of one image at least: beyond that a training takes for ever."""

Result = TypeVar("Result")
Loss = Callable[[Tensor, Tensor], Tensor]


def within_memory(compute: Callable[[int], Result], size: int, whole: int, device: torch.device) -> tuple[Result, int]:
    """Compute with `size` images at a time, with half as many where memory runs out, and so on.

    Args:
        compute: What to do with so many images at a time; it is called anew after each failure.
        size: Images to begin with.
        whole: Images of the whole batch, of which `size` may be a part already.
        device: Where the memory is.

    Returns:
        What it came to, and the images at a time that it took.

    Raises:
        EvaluationError: OUT_OF_MEMORY if the smallest part is too large as well.
    """
    while True:
        try:
            return compute(size), size
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = f"out of memory with {size} of {whole} images at a time: {first_line(error)}".rstrip(": ")
        # Here the error is gone, and with it the frames that held on to tensors.
        if size // 2 < max(1, whole // SMALLEST_SHARE):
            raise EvaluationError(Cause.OUT_OF_MEMORY, reason)
        size //= 2
        log.warning("%s; going on with %d", reason, size)
        _release(device)


def gradients(losses: Sequence[Loss], images: Tensor, labels: Tensor, micro_batch: int) -> Tensor:
    """Add up the gradients of a batch's mean loss, `micro_batch` images at a time.

    Args:
        losses: The mean loss of images and labels. Where there are several (`runners.training.replicas`), each gets
            an equal part of the batch.
        images: (B, ...).
        labels: (B,).
        micro_batch: How many go through a model at once.

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


class Beginning:
    """A model and its optimizer as they are now, to come back to. It is kept in the memory of the CPU."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._model, self._optimizer = model, optimizer
        self._weights, self._moments = _copied(model.state_dict()), _copied(optimizer.state_dict())

    def restore(self) -> None:
        """Put them back; gradients are dropped."""
        self._optimizer.zero_grad()
        self._model.load_state_dict(self._weights)
        self._optimizer.load_state_dict(_copied(self._moments))


def _copied(value: Any) -> Any:
    """A state dict with copies of its tensors."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


def _release(device: torch.device) -> None:
    """Free what the failed attempt left; its peak says nothing of what the training needs."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    elif device.type == "mps":
        torch.mps.empty_cache()

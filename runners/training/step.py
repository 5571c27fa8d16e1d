"""One step of a training: loss, gradients, clipping, update. Eager on every device, or replayed as one CUDA graph.

Both compute the same with the same kernels. A small model's step is hundreds of kernels of a few microseconds each, and
launching them one by one from Python takes a GPU longer than computing them; a graph launches all of them at once.

A step never waits for the device: it reads no number back, and what it returns is a tensor.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from runners.execution.failures import first_line, is_out_of_memory
from runners.training.flat import FlatOptimizer
from runners.training.memory import Loss, gradients
from runners.training.replicas import Replicas

log = logging.getLogger(__name__)

WARM_UP = 3
"""Steps before a graph is captured, as in torch's documentation of CUDA graphs: libraries choose and load their kernels
in them. They are steps of the training, so nothing is computed twice."""


class Step(Protocol):
    """One step of a training."""

    def __call__(self, images: Tensor, labels: Tensor, rate: float) -> Tensor:
        """Update the model in place.

        Args:
            images: A batch, (B, C, H, W) float32; B is the same for all steps.
            labels: (B,) int64, or shares of classes (B, K).
            rate: The learning rate.

        Returns:
            The mean loss before the update, a detached scalar on the first device. The next step may overwrite it.
        """


class EagerStep:
    """A step whose operations are launched one by one.

    Args:
        losses: Functions from images and labels to their mean loss, one for each device.
        replicas: The models of these functions.
        optimizer: Over the parameters of the first of these models.
        micro_batch: Images that go through a model at once.
    """

    def __init__(self, losses: Sequence[Loss], replicas: Replicas, optimizer: FlatOptimizer, micro_batch: int) -> None:
        self._losses, self._replicas = losses, replicas
        self._optimizer, self._micro_batch = optimizer, micro_batch

    def __call__(self, images: Tensor, labels: Tensor, rate: float) -> Tensor:
        self._optimizer.set_rate(rate)
        return self.update(images, labels)

    def update(self, images: Tensor, labels: Tensor) -> Tensor:
        """A step with the learning rate that is set."""
        self._replicas.spread()
        loss = gradients(self._losses, images, labels, self._micro_batch)
        self._replicas.gather()
        self._optimizer.step()
        return loss


class GraphedStep:
    """A step that is captured as a CUDA graph after `WARM_UP` eager ones, and replayed from then on.

    If it cannot be captured, the reason is logged and the steps stay eager. A shortage of memory is raised: the
    training then makes a new step with smaller parts of a batch.

    Args:
        eager: The step to capture; on one GPU.
        optimizer: Its optimizer.
        generator: The generator that the model draws from.
    """

    def __init__(self, eager: EagerStep, optimizer: FlatOptimizer, generator: torch.Generator) -> None:
        self._eager, self._optimizer, self._generator = eager, optimizer, generator
        self._device = optimizer.weights.device
        self._stream = torch.cuda.Stream(self._device)
        self._rate = torch.zeros((), device=self._device)
        self._warm = 0
        self._captured: tuple[torch.cuda.CUDAGraph, Tensor, Tensor, Tensor] | None = None
        self._given_up = False

    def __call__(self, images: Tensor, labels: Tensor, rate: float) -> Tensor:
        if self._given_up:
            return self._eager(images, labels, rate)
        if self._warm < WARM_UP:
            self._warm += 1
            current = torch.cuda.current_stream(self._device)
            self._stream.wait_stream(current)
            with torch.cuda.stream(self._stream):
                loss = self._eager(images, labels, rate)
            current.wait_stream(self._stream)
            return loss
        if self._captured is None and not self._capture(images, labels):
            return self._eager(images, labels, rate)
        assert self._captured is not None
        graph, graph_images, graph_labels, loss = self._captured
        graph_images.copy_(images)
        graph_labels.copy_(labels)
        self._rate.fill_(rate)  # a kernel with a constant: nothing is copied from the host
        graph.replay()
        return loss

    def _capture(self, images: Tensor, labels: Tensor) -> bool:
        """Capture a step, without computing anything; False if that is not possible."""
        graph_images, graph_labels = images.clone(), labels.clone()
        graph = torch.cuda.CUDAGraph()
        was = [{name: group.get(name) for name in ("lr", "capturable")} for group in self._optimizer.groups]
        try:
            graph.register_generator_state(self._generator)
            for group in self._optimizer.groups:
                group.update({"lr": self._rate, **({"capturable": True} if "capturable" in group else {})})
            # Another thread of this process may use the GPU meanwhile.
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                loss = self._eager.update(graph_images, graph_labels)
        except Exception as error:
            for group, settings in zip(self._optimizer.groups, was, strict=True):
                group.update({name: value for name, value in settings.items() if name in group})
            self._optimizer.zero_grad()
            if is_out_of_memory(error) or not isinstance(error, (RuntimeError, AttributeError, TypeError)):
                raise
            self._given_up = True
            log.warning("the steps are not captured as a CUDA graph, and stay eager: %s", first_line(error))
            return False
        self._captured = graph, graph_images, graph_labels, loss
        return True


def make_step(
    losses: Sequence[Loss],
    replicas: Replicas,
    optimizer: FlatOptimizer,
    micro_batch: int,
    *,
    graphed: bool = True,
) -> Step:
    """The fastest step for the devices of the replicas.

    Args:
        losses: As in `EagerStep`.
        replicas: As in `EagerStep`.
        optimizer: As in `EagerStep`.
        micro_batch: As in `EagerStep`.
        graphed: Whether a step on a GPU may be a graph.
    """
    eager = EagerStep(losses, replicas, optimizer, micro_batch)
    if not graphed or replicas.devices[0].type != "cuda":
        return eager
    if len(replicas.devices) > 1:
        log.info("the steps are not captured as a CUDA graph, and stay eager: they run on several GPUs")
        return eager
    return GraphedStep(eager, optimizer, replicas.draws[0])

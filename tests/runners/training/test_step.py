"""A step as a CUDA graph, by a graph that is recorded and replayed on the CPU; `tests/test_gpu.py` has real ones."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from runners.recipe import Recipe
from runners.training.flat import FlatOptimizer
from runners.training.optimisation import make_optimizer
from runners.training.replicas import Replicas
from runners.training.step import WARM_UP, EagerStep, GraphedStep, make_step
from search_space import Architecture, build
from search_space.models.model import VisionModel

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=1, lr=1e-2, clip_norm=0.1)
RATES = [0.001 * index for index in range(1, WARM_UP + 5)]


class Graph:
    """Stands in for `torch.cuda.CUDAGraph`: while it captures nothing is computed, and a replay computes it.

    Attributes:
        registered: Generators whose state is the graph's.
        replays: How often it was replayed.
    """

    capturing: Graph | None = None

    def __init__(self) -> None:
        self.registered: list[torch.Generator] = []
        self.replays = 0
        self.work: Callable[[], Tensor] | None = None
        self.result = torch.zeros(())

    def register_generator_state(self, generator: torch.Generator) -> None:
        self.registered.append(generator)

    def replay(self) -> None:
        assert self.work is not None
        self.result.copy_(self.work())
        self.replays += 1


class Capture(AbstractContextManager[None]):
    """Stands in for `torch.cuda.graph`."""

    def __init__(self, graph: Graph, stream: object, capture_error_mode: str) -> None:
        self._graph = graph

    def __enter__(self) -> None:
        Graph.capturing = self._graph

    def __exit__(self, *error: object) -> None:
        Graph.capturing = None


class Stream:
    def __init__(self, device: torch.device) -> None: ...

    def wait_stream(self, other: object) -> None: ...


class Recorded(EagerStep):
    """An eager step that is recorded while a graph captures."""

    failure: Exception | None = None

    def update(self, images: Tensor, labels: Tensor) -> Tensor:
        graph = Graph.capturing
        if graph is None:
            return super().update(images, labels)
        if self.failure is not None:
            raise self.failure
        graph.work = lambda: super(Recorded, self).update(images, labels)
        return graph.result


@pytest.fixture(autouse=True)
def cuda(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    """Replaces what a step uses of `torch.cuda`; returns the graphs that were made."""
    made: list[Graph] = []

    def make_graph() -> Graph:
        made.append(Graph())
        return made[-1]

    monkeypatch.setattr(torch.cuda, "CUDAGraph", make_graph)
    monkeypatch.setattr(torch.cuda, "graph", Capture)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    return made


def loss_of(model: VisionModel) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda images, labels: functional.cross_entropy(model(images), labels)


def parts_of(model: VisionModel) -> tuple[list[Any], Replicas, FlatOptimizer]:
    replicas = Replicas(model, [CPU])
    replicas.seed([5])
    return [loss_of(model)], replicas, FlatOptimizer(make_optimizer(model, RECIPE), RECIPE.clip_norm)


@pytest.fixture
def models(make_architecture: Callable[..., Architecture]) -> list[VisionModel]:
    """The same model twice, with stochastic depth."""
    model = build(make_architecture(drop_path=0.3)).train()
    return [model, copy.deepcopy(model)]


@pytest.fixture
def batches() -> list[tuple[Tensor, Tensor]]:
    draws = torch.Generator().manual_seed(2)
    return [(torch.randn(16, 1, 8, 8, generator=draws), torch.randint(10, (16,), generator=draws)) for _ in RATES]


def test_replays_are_the_eager_steps(
    models: list[VisionModel], batches: list[tuple[Tensor, Tensor]], cuda: list[Graph]
) -> None:
    """Every batch, every learning rate and every draw arrives; nothing is computed twice.

    By the loss, as a learning rate on a device is rounded to float32.
    """
    eager = make_step(*parts_of(models[0]), 16)
    losses, replicas, optimizer = parts_of(models[1])
    graphed = GraphedStep(Recorded(losses, replicas, optimizer, 16), optimizer, replicas.draws[0])

    for (images, labels), rate in zip(batches, RATES, strict=True):
        assert eager(images, labels, rate).item() == pytest.approx(graphed(images, labels, rate).item(), rel=1e-6)

    assert [graph.replays for graph in cuda] == [len(RATES) - WARM_UP]
    assert cuda[0].registered == replicas.draws
    assert optimizer.state_dict()["param_groups"][0]["lr"] == pytest.approx(RATES[-1])  # a number, not a tensor


def test_a_step_that_cannot_be_captured_stays_eager(
    models: list[VisionModel],
    batches: list[tuple[Tensor, Tensor]],
    cuda: list[Graph],
    caplog: pytest.LogCaptureFixture,
) -> None:
    eager = make_step(*parts_of(models[0]), 16)
    losses, replicas, optimizer = parts_of(models[1])
    recorded = Recorded(losses, replicas, optimizer, 16)
    recorded.failure = RuntimeError("operation not permitted when stream is capturing\nand more")
    graphed = GraphedStep(recorded, optimizer, replicas.draws[0])

    for (images, labels), rate in zip(batches, RATES, strict=True):
        assert eager(images, labels, rate).item() == graphed(images, labels, rate).item()

    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "the steps are not captured as a CUDA graph, and stay eager: operation not permitted when stream is capturing"
    )
    assert len(cuda) == 1  # it is not tried again
    assert [group["lr"] for group in optimizer.groups] == [RATES[-1]] * 2


def test_a_shortage_of_memory_is_no_reason_to_stay_eager(
    models: list[VisionModel], batches: list[tuple[Tensor, Tensor]]
) -> None:
    losses, replicas, optimizer = parts_of(models[0])
    recorded = Recorded(losses, replicas, optimizer, 16)
    recorded.failure = torch.cuda.OutOfMemoryError("CUDA out of memory")
    graphed = GraphedStep(recorded, optimizer, replicas.draws[0])

    for batch in batches[:WARM_UP]:
        graphed(*batch, 0.01)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        graphed(*batches[WARM_UP], 0.01)


def test_steps_on_a_cpu_are_eager(models: list[VisionModel]) -> None:
    assert isinstance(make_step(*parts_of(models[0]), 16), EagerStep)

"""What each part of the training loop brings: from the plain loop to packed and stacked trainings, on one device.

    plain     `benchmarks.plain`: DataLoader, eager float32
    resident  our loop without a graph: images on the device, batched augmentation, flat and fused optimizer
    bf16      and autocast to bfloat16
    graph     and every step replayed as a CUDA graph (on a CPU there is none, so nothing changes)
    packed    1 to 16 processes at once, each with the training of the previous row
    stacked   several models of one shape in one step (`torch.func`), as a graph on a GPU

A figure is images per second through the training loop, validation included but for `stacked`; the first epoch warms
up. Images are random, so only times are of interest. `benchmarks.gpu` runs all of it.

Stacked models do not pay on a CPU, so trainings are never stacked there. One core of an AMD EPYC (Zen 3), torch 2.13,
digits-sized models, n = 7, CPU time of single steps over that of a stacked one: 3 models, 0.90 (gMLP) to 1.17 (ViP),
median 1.00; 8 models, 1.01 (gMLP) to 1.51 (RepMLP), median 1.09; with 28 x 28 pixels and 100,000 parameters, n = 5, 3
models, 0.84 (gMLP) to 1.12 (ViP), median 0.91.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Barrier
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional

from benchmarks.common import summary
from benchmarks.plain import plain_epochs
from runners.data import Dataset, DatasetInfo, Split
from runners.data.base import supply
from runners.measuring.device import synchronize
from runners.protocol import DataSpec, Job
from runners.recipe import Recipe
from runners.training.step import WARM_UP
from runners.training.train import train
from search_space import Architecture, Limits, build, load_space
from search_space.zoo.scaled import family_points

CLASSES = 10


@dataclass(frozen=True)
class Size:
    """Random images of one size, and models for them.

    Attributes:
        side: Height and width, in pixels.
        channels: Channels.
        images: Training images; a tenth as many are validated.
        params: Limit that the families are scaled to.
        batch_size: Images a step.
        epochs: Epochs of a training; the first does not count.
    """

    side: int
    channels: int
    images: int
    params: int
    batch_size: int = 256
    epochs: int = 4

    @property
    def data(self) -> DataSpec:
        """A name for the images, which every process supplies itself."""
        return DataSpec(f"random_{self.side}_{self.channels}_{self.images}")

    @property
    def recipe(self) -> Recipe:
        return Recipe(epochs=self.epochs, batch_size=self.batch_size, precision="fp32")

    def families(self, names: Sequence[str] = ()) -> dict[str, Architecture]:
        """The families of the zoo within the limit; all unless some are named."""
        space = load_space("mlp_family", image_size=self.side, in_channels=self.channels, classes=CLASSES)
        points = family_points(space, Limits(max_params=self.params))
        return {name: points[name] for name in names or points if name in points}

    def supply(self) -> None:
        """Make the images available in this process."""
        supply(self.data, RandomImages(self))


SIZES = {
    "28 px grey, 500k parameters": Size(28, 1, 10_000, 500_000),
    "32 px colour, 2M parameters": Size(32, 3, 20_000, 2_000_000),
    "64 px colour, 2M parameters": Size(64, 3, 10_000, 2_000_000),
}
TINY = {"8 px grey, 10k parameters": Size(8, 1, 128, 10_000, batch_size=32, epochs=2)}
"""For a test on a CPU."""


class RandomImages(Dataset):
    """Noise with random labels."""

    def __init__(self, size: Size) -> None:
        self.size = size

    def describe(self, spec: DataSpec) -> DatasetInfo:
        return DatasetInfo(image_size=self.size.side, in_channels=self.size.channels, classes=CLASSES)

    def load_development(self, spec: DataSpec) -> tuple[Split, Split]:
        return self._noise(self.size.images, 0), self._noise(max(1, self.size.images // 10), 1)

    def load_test(self, spec: DataSpec) -> Split:
        return self._noise(1, 2)

    def _noise(self, count: int, seed: int) -> Split:
        draws = torch.Generator().manual_seed(seed)
        shape = (count, self.size.channels, self.size.side, self.size.side)
        images = torch.randint(256, shape, dtype=torch.uint8, generator=draws)
        return Split(images, torch.randint(CLASSES, (count,), generator=draws))


def ladder(size: Size, device: str, names: Sequence[str] = ()) -> dict[str, Any]:
    """Images per second of every rung in this process, by family, and ratios to the plain loop."""
    size.supply()
    figures: dict[str, Any] = {}
    for name, architecture in size.families(names).items():
        rungs: dict[str, Callable[[], Iterator[object]]] = {
            "plain": lambda architecture=architecture: plain_epochs(architecture, size.data, size.recipe, 0, device),
            "resident": lambda architecture=architecture: _ours(architecture, size, device, "fp32", graphed=False),
            "bf16": lambda architecture=architecture: _ours(architecture, size, device, "bf16", graphed=False),
            "graph": lambda architecture=architecture: _ours(architecture, size, device, "bf16"),
            "graph without bf16": lambda architecture=architecture: _ours(architecture, size, device, "fp32"),
        }
        speeds = {rung: [size.images / epoch for epoch in _seconds(act())[1:]] for rung, act in rungs.items()}
        plain = statistics.median(speeds["plain"])
        figures[name] = {
            rung: {"images_a_second": summary(found, 1), "over_plain": round(statistics.median(found) / plain, 2)}
            for rung, found in speeds.items()
        }
    return figures


def packing(size: Size, device: str, name: str, processes: Sequence[int]) -> dict[str, Any]:
    """Images per second of several processes together, each with the whole training, by their number."""
    figures: dict[str, Any] = {}
    context = multiprocessing.get_context("spawn")
    for count in processes:
        barrier, results = context.Barrier(count), context.Queue()
        workers = [context.Process(target=_work, args=(size, device, name, barrier, results)) for _ in range(count)]
        for worker in workers:
            worker.start()
        found = [results.get() for _ in workers]
        for worker in workers:
            worker.join()
        taken = max(end for _, end in found) - min(start for start, _ in found)
        figures[str(count)] = round(count * size.images * (size.epochs - 1) / taken, 1)
    return figures


def stacked(size: Size, device: str, name: str, counts: Sequence[int], repeats: int = 10) -> dict[str, Any]:
    """Images per second of steps that train several models of one shape at once, by their number."""
    (architecture,) = size.families([name]).values()
    figures: dict[str, Any] = {}
    for count in counts:
        act = stacked_step(architecture, count, size.batch_size, torch.device(device))
        times = []
        for _ in range(repeats + 1):
            synchronize(torch.device(device))
            started = time.perf_counter()
            act()
            synchronize(torch.device(device))
            times.append(time.perf_counter() - started)
        figures[str(count)] = summary([count * size.batch_size / taken for taken in times[1:]], 1)
    return figures


def stacked_step(architecture: Architecture, count: int, batch: int, device: torch.device) -> Callable[[], None]:
    """One step of `count` models, on one batch for each: forward, backward and AdamW; a graph on a GPU."""
    models = [
        build(architecture, generator=torch.Generator().manual_seed(seed), device=device) for seed in range(count)
    ]
    params, buffers = stack_module_state([model.train() for model in models])  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(params.values(), lr=1e-3, fused=True, capturable=device.type == "cuda")
    images = torch.randn(count, batch, architecture.in_channels, *[architecture.image_size] * 2, device=device)
    labels = torch.randint(architecture.classes, (count * batch,), device=device)
    forward = vmap(lambda weights, stats, some: functional_call(models[0], (weights, stats), (some,)))

    def act() -> None:
        scores: Tensor = forward(params, buffers, images)
        loss = functional.cross_entropy(scores.flatten(0, 1), labels) * count
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    if device.type != "cuda":
        return act
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            act()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        act()
    return graph.replay


def _ours(
    architecture: Architecture, size: Size, device: str, precision: Any, *, graphed: bool = True
) -> Iterator[object]:
    """The epochs of our loop."""
    recipe = replace(size.recipe, precision=precision)
    eager = patch("runners.training.step.GraphedStep", lambda step, *_: step)
    with nullcontext() if graphed else eager:
        yield from train(Job("ladder", architecture, size.data, recipe, seed=0, device=device))


def _seconds(epochs: Iterator[object]) -> list[float]:
    """Wall time of every epoch; each ends with a number that was read, so a GPU has finished."""
    taken, started = [], time.perf_counter()
    for _ in epochs:
        now = time.perf_counter()
        taken.append(now - started)
        started = now
    return taken


def _work(size: Size, device: str, name: str, barrier: Barrier, results: Any) -> None:
    """A process of `packing`: sends when its second epoch began and its last one ended."""
    torch.set_num_threads(1)
    size.supply()
    (architecture,) = size.families([name]).values()
    epochs = _ours(architecture, size, device, "bf16")
    next(epochs)
    barrier.wait()
    started = time.monotonic()
    for _ in epochs:
        pass
    results.put((started, time.monotonic()))

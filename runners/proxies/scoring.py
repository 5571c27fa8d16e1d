"""`score`: scores many architectures by many proxies, in one process."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence

import torch

from runners.measuring.device import describe_device, pick_device, synchronize, versions
from runners.protocol import DataSpec, EpochResult, Job, Measured, Score
from runners.proxies.base import NEEDS, Need, Proxy, find_proxies
from runners.proxies.images import load_images
from runners.proxies.material import Material
from runners.recipe import Recipe
from search_space.architecture import Architecture


def score(
    architectures: Sequence[Architecture],
    names: Sequence[str],
    data: DataSpec,
    recipe: Recipe,
    seed: int,
    device: str = "auto",
) -> list[dict[str, Score]]:
    """Score architectures by proxies, on training images only.

    An architecture's scores depend only on itself and the seed, not on the others.

    Args:
        architectures: The architectures to score.
        names: Names of the proxies.
        data: The images.
        recipe: How an architecture would be trained; proxies that train a few steps start in the same way.
        seed: Seed of weights, images and first steps.
        device: "auto", "cpu", "cuda", "cuda:1", ...

    Returns:
        The scores of every architecture by proxy, in order. Seconds are CPU time on a CPU, else wall time.

    Raises:
        ConfigError: If there is no proxy with one of the names.
        DataError: If the images cannot be read or do not fit an architecture.
        RunnerError: If there is no such device.
    """
    proxies, place = find_proxies(names), pick_device(device)
    images = load_images(data, seed, place)
    for architecture in architectures:
        images.check(architecture)
    return [_score(Material(architecture, images, recipe, seed), proxies, place) for architecture in architectures]


def evaluate(job: Job) -> Generator[EpochResult, None, Measured]:
    """The evaluator of "score" jobs: yields no epochs, and returns the scores of `job.batch`.

    Raises:
        ConfigError: If there is no proxy with one of the names.
        DataError: If the images cannot be read or do not fit an architecture.
        RunnerError: If there is no such device.
    """
    scores = score(job.batch, job.proxies, job.data, job.recipe, job.seed, job.device)
    yield from ()
    return Measured(device=describe_device(pick_device(job.device)), versions=versions(), scores=tuple(scores))


def _score(material: Material, proxies: Sequence[Proxy], device: torch.device) -> dict[str, Score]:
    """Scores of one architecture; each proxy's seconds include everything it needs, as if it were the only one."""
    made: dict[Need, float] = {}
    for need in NEEDS:
        if any(need in proxy.needs for proxy in proxies):
            began = _clock(device)
            getattr(material, need)
            made[need] = _clock(device) - began
    scores = {}
    for proxy in proxies:
        began = _clock(device)
        value = proxy.compute(material)
        seconds = _clock(device) - began + sum(made[need] for need in proxy.needs)
        scores[proxy.name] = Score(value if math.isfinite(value) else None, seconds)
    return scores


def _clock(device: torch.device) -> float:
    synchronize(device)
    return time.process_time() if device.type == "cpu" else time.perf_counter()

"""How long a forward pass takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from runners.measuring.device import describe_device, synchronize
from runners.protocol import Latency
from search_space.models.model import VisionModel

WARM_UP = 10
REPEATS = 50
MIN_PASSES = 5
MAX_PASSES = 1000
WARM_UP_SHARE = 0.2
"""Share of the time for measuring after which no further pass warms up."""


@torch.inference_mode()
def measure_latency(model: VisionModel, device: torch.device) -> Latency:
    """Wall time of a float32 forward pass of a batch of one, with what it depends on.

    The median shrugs off the passes that another process disturbed; the distance of the quartiles tells how many there
    were. The number of threads is the process's own.

    Args:
        model: On `device`; left in the mode it was in.
        device: Where to measure.
    """
    architecture, was_training = model.architecture, model.training
    image = torch.zeros(1, architecture.in_channels, architecture.image_size, architecture.image_size, device=device)
    model.eval()
    for _ in range(WARM_UP):
        model(image)
    times = [_seconds(lambda: model(image), device) for _ in range(REPEATS)]
    model.train(was_training)
    timing = _timing(times, WARM_UP)
    return Latency(
        device=describe_device(device),
        threads=torch.get_num_threads(),
        batch_size=1,
        precision="fp32",
        warm_up=timing.warm_up,
        repeats=timing.passes,
        median_ms=timing.median_ms,
        lower_ms=timing.quartiles_ms[0],
        upper_ms=timing.quartiles_ms[1],
    )


@dataclass(frozen=True)
class Timing:
    """Wall times of equal passes, in milliseconds.

    Attributes:
        median_ms: Their median.
        quartiles_ms: Their first and third quartile.
        passes: How many there were.
        warm_up: How many passes were made before, and not counted.
    """

    median_ms: float
    quartiles_ms: tuple[float, float]
    passes: int
    warm_up: int


@torch.inference_mode()
def time_in_turn(passes: Sequence[Callable[[], object]], device: torch.device, seconds: float) -> list[Timing]:
    """Time several things in turn (a, b, a, b, ...), so that whatever drifts meets all of them alike.

    Args:
        passes: What to time, in inference mode.
        device: Where it computes.
        seconds: Time for each of them, warm-up included; at least MIN_PASSES are counted, and at most MAX_PASSES.
    """
    warm_ups = [_warm_up(one, device, WARM_UP_SHARE * seconds) for one in passes]
    times: list[list[float]] = [[] for _ in passes]
    until = time.perf_counter() + (1 - WARM_UP_SHARE) * seconds * len(passes)
    for number in range(MAX_PASSES):
        if number >= MIN_PASSES and time.perf_counter() > until:
            break
        for own, one in zip(times, passes, strict=True):
            own.append(_seconds(one, device))
    return [_timing(own, warm_up) for own, warm_up in zip(times, warm_ups, strict=True)]


def _warm_up(one: Callable[[], object], device: torch.device, seconds: float) -> int:
    """Make passes until the time is over or there are enough; how many there were, at least one."""
    until = time.perf_counter() + seconds
    for number in range(1, WARM_UP + 1):
        _seconds(one, device)
        if time.perf_counter() > until:
            return number
    return WARM_UP


def _timing(times: Sequence[float], warm_up: int) -> Timing:
    lower, median, upper = statistics.quantiles(times, n=4, method="inclusive")
    return Timing(1000 * median, (1000 * lower, 1000 * upper), len(times), warm_up)


def _seconds(one: Callable[[], object], device: torch.device) -> float:
    """Wall time of one pass."""
    synchronize(device)
    started = time.perf_counter()
    one()
    synchronize(device)
    return time.perf_counter() - started

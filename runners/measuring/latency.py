"""How long a forward pass takes: the one loop that times passes (`times_in_turn`), and what is read from it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from runners.measuring.device import describe_device, synchronize
from runners.protocol import Latency
from search_space.models.model import VisionModel

# All arbitrary.
WARM_UP = 10
"""Passes that warm up."""
REPEATS = 50
"""Passes of `measure_latency` that count."""
MIN_PASSES = 5
MAX_PASSES = 1000
WARM_UP_SHARE = 0.2
"""Share of the time for measuring after which no further pass warms up."""


@torch.inference_mode()
def measure_latency(model: VisionModel, device: torch.device) -> Latency:
    """Wall time of a float32 forward pass of a batch of one, and its conditions.

    The median is robust to passes that another process disturbed; the distance of the quartiles shows how many there
    were. The number of threads is that of the process.

    Args:
        model: On `device`; left in the mode it was in.
        device: Where to measure.
    """
    architecture, was_training = model.architecture, model.training
    image = torch.zeros(1, architecture.in_channels, architecture.image_size, architecture.image_size, device=device)
    model.eval()
    for _ in range(WARM_UP):
        model(image)
    (times,) = times_in_turn([lambda: model(image)], device, range(REPEATS))
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
        warm_up: How many passes were made before and not counted.
    """

    median_ms: float
    quartiles_ms: tuple[float, float]
    passes: int
    warm_up: int


@torch.inference_mode()
def time_in_turn(passes: Sequence[Callable[[], object]], device: torch.device, seconds: float) -> list[Timing]:
    """Time several passes in turn, in inference mode, for as long as there is time.

    Args:
        passes: What to time.
        device: Where it computes.
        seconds: Time for each of them, warm-up included; at least MIN_PASSES are counted, and at most MAX_PASSES.
    """
    warm_ups = [times_in_turn([one], device, rounds(1, WARM_UP, WARM_UP_SHARE * seconds))[0] for one in passes]
    counted = rounds(MIN_PASSES, MAX_PASSES, (1 - WARM_UP_SHARE) * seconds * len(passes))
    times = times_in_turn(passes, device, counted)
    return [_timing(own, len(warm_up)) for own, warm_up in zip(times, warm_ups, strict=True)]


def times_in_turn(
    passes: Sequence[Callable[[], object]], device: torch.device, turns: Iterable[int]
) -> list[list[float]]:
    """Wall times of several passes in seconds, taken in turn (a, b, a, b, ...), so that a drift affects all alike.

    Args:
        passes: What to time.
        device: Where it computes.
        turns: In each of them every pass is timed once.
    """
    times: list[list[float]] = [[] for _ in passes]
    for _ in turns:
        for own, one in zip(times, passes, strict=True):
            own.append(_seconds(one, device))
    return times


def rounds(least: int, most: int, seconds: float) -> Iterator[int]:
    """Count 1, 2, ... until the time is over: to `least` in any case, and not beyond `most`."""
    until = time.perf_counter() + seconds
    for number in range(1, most + 1):
        yield number
        if number >= least and time.perf_counter() > until:
            return


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

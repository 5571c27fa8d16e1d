"""How long a forward pass takes: the loop that times passes (`times_in_turn`), and statistics of its times."""

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
"""Number of warm-up passes."""
REPEATS = 50
"""Number of passes that `measure_latency` counts."""
MIN_PASSES = 5
MAX_PASSES = 1000
WARM_UP_SHARE = 0.2
"""Share of the measuring time after which warm-up ends."""


@torch.inference_mode()
def measure_latency(model: VisionModel, device: torch.device) -> Latency:
    """Wall time of a float32 forward pass with batch size 1, and its conditions.

    The median is robust to passes that another process disturbed; the distance between the quartiles shows how many
    were. The number of threads is that of the process.

    Args:
        model: On `device`; its mode is restored.
        device: Where to measure.
    """
    architecture, was_training = model.architecture, model.training
    image = torch.zeros(1, *architecture.input_shape, device=device)
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
        passes: Number of passes.
        warm_up: Number of uncounted passes before them.
    """

    median_ms: float
    quartiles_ms: tuple[float, float]
    passes: int
    warm_up: int


@torch.inference_mode()
def time_in_turn(passes: Sequence[Callable[[], object]], device: torch.device, seconds: float) -> list[Timing]:
    """Time several passes alternately, in inference mode, until the time is up.

    Args:
        passes: The functions to time.
        device: The device on which they compute.
        seconds: Time for each of them, including warm-up; at least MIN_PASSES and at most MAX_PASSES are counted.
    """
    warm_ups = [times_in_turn([one], device, rounds(1, WARM_UP, WARM_UP_SHARE * seconds))[0] for one in passes]
    counted = rounds(MIN_PASSES, MAX_PASSES, (1 - WARM_UP_SHARE) * seconds * len(passes))
    times = times_in_turn(passes, device, counted)
    return [_timing(own, len(warm_up)) for own, warm_up in zip(times, warm_ups, strict=True)]


def times_in_turn(
    passes: Sequence[Callable[[], object]], device: torch.device, turns: Iterable[int]
) -> list[list[float]]:
    """Wall times of several passes in seconds, taken alternately (a, b, a, b, ...), so that drift affects all alike.

    Args:
        passes: The functions to time.
        device: The device on which they compute.
        turns: The rounds, in each of which every pass is timed once.
    """
    times: list[list[float]] = [[] for _ in passes]
    for _ in turns:
        for own, one in zip(times, passes, strict=True):
            own.append(_seconds(one, device))
    return times


def rounds(least: int, most: int, seconds: float) -> Iterator[int]:
    """Count 1, 2, ... until the time is up: at least to `least`, and at most to `most`."""
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

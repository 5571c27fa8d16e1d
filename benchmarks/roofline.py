"""Time of a training step over the least time that its arithmetic and its memory traffic allow, by mixer.

The least time is the larger of two: three passes of the exact MACs at the fastest matrix product measured here, and the
bytes that must be moved at the fastest copy measured here: what autograd keeps is written and read once, parameters and
moments pass through the optimizer once. Small models are far below a share of 1, as their kernels are too small to fill
a GPU.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional

from benchmarks.common import summary
from benchmarks.ladder import Size
from runners.measuring.device import synchronize
from runners.measuring.profile import activation_bytes
from runners.training.flat import FlatOptimizer
from runners.training.optimisation import make_optimizer
from runners.training.replicas import Replicas
from runners.training.step import WARM_UP, make_step
from search_space import Architecture, build

PARAMETER_PASSES = 10
"""Times that a parameter's four bytes are moved in a step.

The weight is read in both passes and the gradient is written; AdamW reads weight, gradient and two moments, and writes
all but the gradient.
"""


def peaks(device: torch.device, dtype: torch.dtype, side: int, copied: int) -> tuple[float, float]:
    """Measured FLOP/s of a square matrix product, and bytes/s of a copy (read and write)."""
    one = torch.randn(side, side, device=device, dtype=dtype)
    source = torch.empty(copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    multiply = min(times(lambda: one @ one, device, 20))
    copy = min(times(lambda: target.copy_(source), device, 20))
    return 2 * side**3 / multiply, 2 * copied / copy


def roofline(size: Size, device: str, names: Sequence[str] = (), repeats: int = 30) -> dict[str, Any]:
    """Step times and shares of the roofline, by family, in float32."""
    on = torch.device(device)
    flops, bandwidth = peaks(on, torch.float32, *((8192, 2**30) if on.type == "cuda" else (512, 2**24)))
    figures: dict[str, Any] = {"peak_tflops": round(flops / 1e12, 3), "peak_gb_a_second": round(bandwidth / 1e9, 1)}
    for name, architecture in size.families(names).items():
        taken = step_times(architecture, size, on, repeats)
        compute = 6 * architecture.macs * size.batch_size / flops
        memory = bytes_moved(architecture, size.batch_size) / bandwidth
        least = max(compute, memory)
        figures[name] = {
            "step_ms": summary([1000 * each for each in taken], 4),
            "least_ms": round(1000 * least, 4),
            "bound": "arithmetic" if compute > memory else "memory",
            "share": round(least / statistics.median(taken), 3),
        }
    return figures


def bytes_moved(architecture: Architecture, batch: int) -> int:
    """The least bytes that a step in float32 moves."""
    kept = sum(activation_bytes(build(architecture)).values())
    return 2 * batch * kept + 4 * PARAMETER_PASSES * architecture.params


def step_times(architecture: Architecture, size: Size, device: torch.device, repeats: int) -> list[float]:
    """Seconds of the steps of our loop on one batch, once it is as fast as it becomes."""
    model = build(architecture, device=device).train()
    replicas, optimizer = Replicas(model, [device]), FlatOptimizer(make_optimizer(model, size.recipe), 1.0)
    images = torch.randn(size.batch_size, size.channels, size.side, size.side, device=device)
    labels = torch.zeros(size.batch_size, dtype=torch.int64, device=device)
    step = make_step(
        [lambda some, wanted: functional.cross_entropy(model(some), wanted)], replicas, optimizer, size.batch_size
    )
    return times(lambda: step(images, labels, 1e-3), device, repeats, warm_up=WARM_UP + 2)


def times(act: Callable[[], object], device: torch.device, repeats: int, warm_up: int = 3) -> list[float]:
    """Seconds of each call, after some that do not count."""
    taken = []
    for _ in range(warm_up + repeats):
        synchronize(device)
        started = time.perf_counter()
        act()
        synchronize(device)
        taken.append(time.perf_counter() - started)
    return taken[warm_up:]

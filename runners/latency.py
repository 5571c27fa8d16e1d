"""How long a forward pass of one image takes."""

from __future__ import annotations

import statistics
import time

import torch

from runners.device import synchronize
from search_space.model import VisionModel

WARM_UP = 10
REPEATS = 50


@torch.inference_mode()
def measure_latency_ms(model: VisionModel, device: torch.device) -> float:
    """Median wall time of a float32 forward pass of a batch of one, in milliseconds.

    The median shrugs off the passes that another process disturbed. The number of threads is the process's own.

    Args:
        model: On `device`; left in the mode it was in.
        device: Where to measure.
    """
    architecture, was_training = model.architecture, model.training
    image = torch.zeros(1, architecture.in_channels, architecture.image_size, architecture.image_size, device=device)
    model.eval()
    for _ in range(WARM_UP):
        model(image)
    times = []
    for _ in range(REPEATS):
        synchronize(device)
        started = time.perf_counter()
        model(image)
        synchronize(device)
        times.append(time.perf_counter() - started)
    model.train(was_training)
    return 1000 * statistics.median(times)

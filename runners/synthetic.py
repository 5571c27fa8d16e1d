"""An evaluator that trains nothing: for trying out searches, and for measuring the cost of everything else.

Its learning curves are a smooth function of the architecture and the seed. They say nothing about real images.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Generator

from runners.files import write_atomically
from runners.protocol import EpochResult, Job, Measured


def synthetic(job: Job) -> Generator[EpochResult, None, Measured]:
    """Yield the missing epochs of a synthetic learning curve at once; larger models end slightly lower."""
    architecture = job.architecture
    floor = 0.2 + 0.2 * _share(architecture.hash) - 0.01 * math.log10(architecture.params)
    floor += 0.02 * _share(f"{architecture.hash}/{job.seed}")
    for epoch in range(job.reported + 1, job.recipe.epochs + 1):
        nll = floor + math.exp(-3.0 * epoch / job.recipe.epochs)
        yield EpochResult(epoch, nll + 0.1, nll, math.exp(-nll), 0.0)
    if job.weights is not None and job.task == "train":
        write_atomically(job.weights, b"")
    return Measured(device="nothing was computed")


def _share(text: str) -> float:
    """A number in [0, 1) that depends only on a text."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32

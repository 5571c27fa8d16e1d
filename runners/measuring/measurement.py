"""How architectures are measured, and what comes of it; no torch is needed to say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class MeasuringSettings:
    """How to measure.

    Attributes:
        device: "auto", "cpu", "cuda", "cuda:1", ...
        dtype: What weights and images are cast to, one of `DTYPES`.
        batch: Images in a batch for the throughput; None for `profiler.BATCH`, fewer where that would take long.
        threads: CPU threads of torch; None for as many as it takes by itself.
        timing: Whether to measure latency and throughput.
        seconds: Time for each timing; a few passes are made in any case.
    """

    device: str = "auto"
    dtype: str = "float32"
    batch: int | None = None
    threads: int | None = None
    timing: bool = True
    seconds: float = 3.0


@dataclass
class Measurement:
    """What was measured of an architecture.

    Attributes:
        activations: Bytes that autograd keeps for one image, by piece of the breakdown; None if not measured.
        latency: Wall time of a batch of one, as plain data; None if not measured.
        throughput: Images a second in larger batches, as plain data; None if not measured.
        time_shares: Share of every piece in the latency; empty if not measured.
        reasons: Why something is missing that was asked for, by name.
    """

    activations: Mapping[str, int] | None = None
    latency: dict[str, Any] | None = None
    throughput: dict[str, Any] | None = None
    time_shares: Mapping[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def activation_bytes(self) -> int | None:
        """All of the activations."""
        return None if self.activations is None else sum(self.activations.values())

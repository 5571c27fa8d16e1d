"""Settings and results of measurements, without torch."""

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
        dtype: The type that weights and images are cast to, one of `DTYPES`.
        batch: Batch size for the throughput; None for `profiler.BATCH`, or less if that would take long.
        threads: CPU threads of torch; None for torch's default.
        timing: Whether to measure latency and throughput.
        seconds: Time for each timing; a few passes are always made.
    """

    device: str = "auto"
    dtype: str = "float32"
    batch: int | None = None
    threads: int | None = None
    timing: bool = True
    seconds: float = 3.0


@dataclass
class Measurement:
    """The measurements of an architecture.

    Attributes:
        activations: Bytes that autograd keeps for one image, by part of the breakdown; None if not measured.
        latency: Wall time with batch size 1, as plain data; None if not measured.
        throughput: Images per second in larger batches, as plain data; None if not measured.
        time_shares: Share of every part in the latency; empty if not measured.
        reasons: Why a requested measurement is missing, by name.
    """

    activations: Mapping[str, int] | None = None
    latency: dict[str, Any] | None = None
    throughput: dict[str, Any] | None = None
    time_shares: Mapping[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def activation_bytes(self) -> int | None:
        """Sum of the activations."""
        return None if self.activations is None else sum(self.activations.values())

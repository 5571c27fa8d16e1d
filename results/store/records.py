"""The records of an evaluation: before it runs, epoch by epoch, and when it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from results.database.schema import Role, State
from search_space.architecture import Architecture
from search_space.space import mixers_of


def attrs_at_start(architecture: Architecture, choices: Mapping[str, Any], origin: str, phase: str) -> dict[str, Any]:
    """The user attributes of a trial in Optuna's tables that are known before it runs."""
    return {
        "architecture": architecture.hash,
        "mixers": mixers_of(choices),
        "params": architecture.deployed.params,
        "macs": architecture.deployed.macs,
        "origin": origin,
        "stage": phase,  # the name that trials of all versions have
    }


def attrs_at_end(
    *,
    seconds: float,
    epochs_trained: int | None = None,
    quality: Mapping[str, float | None] | None = None,
    latency_ms: float | None = None,
    cause: str | None = None,
) -> dict[str, Any]:
    """The user attributes of a trial in Optuna's tables that are known when it has ended; None is left out.

    Args:
        seconds: Compute time of all attempts.
        epochs_trained: Epochs trained.
        quality: Its figures on the validation split, by name.
        latency_ms: Its latency.
        cause: Why it failed.
    """
    found = {
        "seconds": round(seconds, 3),
        **{f"val_{name}": value for name, value in (quality or {}).items()},
        "epochs_trained": epochs_trained,
        "cause": cause,
        "latency_ms": latency_ms,
    }
    return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class NewEvaluation:
    """An evaluation before it runs; see `results.database.schema.EvaluationRow`.

    Attributes:
        attrs: User attributes for Optuna's tables if the role is "trial".
    """

    key: str
    role: Role
    number: int
    architecture: Architecture
    origin: str
    choices: Mapping[str, Any]
    seed: int
    epochs_planned: int
    attrs: Mapping[str, Any] = field(default_factory=dict)
    phase: str = ""


@dataclass(frozen=True)
class EpochRecord:
    """One epoch to be stored; see `results.database.schema.EpochRow`."""

    epoch: int
    train_loss: float
    nll: float
    accuracy: float
    seconds: float
    balanced_accuracy: float | None = None
    macro_f1: float | None = None
    calibration_error: float | None = None


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Measurements besides the epochs; see `results.database.schema.EvaluationRow`. Empty values change nothing."""

    latency_ms: float | None = None
    latency: Mapping[str, Any] | None = None
    peak_memory_mib: float | None = None
    micro_batch: int | None = None
    weights_sha256: str | None = None
    device: str = ""
    versions: Mapping[str, Any] = field(default_factory=dict)

    def columns(self) -> dict[str, Any]:
        """The columns to write."""
        facts = {
            "latency_ms": self.latency_ms,
            "latency": self.latency and dict(self.latency),
            "peak_memory_mib": self.peak_memory_mib,
            "micro_batch": self.micro_batch,
            "weights_sha256": self.weights_sha256,
            "device": self.device[:200],
            "versions": dict(self.versions),
        }
        return {name: value for name, value in facts.items() if value is not None and value not in ("", {})}


@dataclass(frozen=True)
class Ending(Facts):
    """How an evaluation ended; see `results.database.schema.EvaluationRow`.

    Attributes:
        values: Of the objectives, for Optuna's tables; None for none.
        attrs: Further user attributes for Optuna's tables.
    """

    state: State
    seconds: float
    cause: str | None = None
    message: str | None = None
    values: Sequence[float] | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)

"""What an objective is, and how one is registered.

An objective is one class, and everything that depends on objectives uses it: flags, samplers, the ranking of
candidates, the report, the Pareto front, the hypervolume, and the check of the database.

Example:
    >>> @register_objective("peak_memory_mib")
    ... class PeakMemory(Objective):
    ...     \"\"\"Most memory that the device held at once in training, in MiB.\"\"\"
    ...
    ...     title, heading, unit = "peak memory (MiB)", "MiB", "MiB"
    ...     kind = "measured"
    ...
    ...     def read(self, figures):
    ...         return figures.peak_memory_mib
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

from search_space.architecture import Architecture
from search_space.registry import Registry
from search_space.space import SearchSpace
from search_space.units import format_count

if TYPE_CHECKING:  # the tables load SQLAlchemy, which flags do not need
    from results.database.schema import EvaluationRow, FinalistRow


QUALITY_FIGURES = ("nll", "accuracy", "balanced_accuracy", "macro_f1", "calibration_error")
"""The figures of a model on a split: columns of epochs and evaluations, and with a prefix of finalists.

Earlier versions measured the first two only.
"""
SEED_FIGURES = ("seeds", "sd_nll", *(prefix + name for prefix in ("mean_", "test_") for name in QUALITY_FIGURES))
"""The figures of a finalist over its seeds."""


@dataclass(frozen=True)
class Figures:
    """The figures of an evaluated architecture; None for what was not measured.

    Attributes:
        nll: Validation NLL in nats; infinite if nothing was trained.
        accuracy: Validation accuracy, 0 to 1; 0 if nothing was trained.
        balanced_accuracy: Mean over the classes of the share of a class's images that is classified correctly.
        macro_f1: Mean over the classes of the F1 score.
        calibration_error: Expected calibration error, 0 to 1.
        params: Trainable parameters of the deployed form.
        macs: MACs of the deployed form for one image.
        latency_ms: Median time of a forward pass of one image.
        peak_memory_mib: Peak memory on the device in training.
        device: What it was trained on; latency_device what its latency was measured on.
    """

    nll: float
    accuracy: float
    params: int | None
    macs: int | None
    latency_ms: float | None = None
    peak_memory_mib: float | None = None
    device: str | None = None
    latency_device: str | None = None
    balanced_accuracy: float | None = None
    macro_f1: float | None = None
    calibration_error: float | None = None

    @classmethod
    def of_row(cls, row: EvaluationRow, finalist: FinalistRow | None = None) -> Figures:
        """The figures in an evaluation's row; its quality is the mean over fresh seeds if it was retrained."""
        architecture = row.architecture_row  # None if it is lost
        source, prefix = (row, "") if finalist is None else (finalist, "mean_")
        quality = {name: getattr(source, prefix + name) for name in QUALITY_FIGURES}
        nll, accuracy = quality.pop("nll"), quality.pop("accuracy")
        return cls(
            nll=math.inf if nll is None else nll,
            accuracy=0.0 if accuracy is None else accuracy,
            params=None if architecture is None else architecture.params,
            macs=None if architecture is None else architecture.macs,
            latency_ms=row.latency_ms,
            peak_memory_mib=row.peak_memory_mib,
            device=row.device,
            latency_device=row.latency["device"] if row.latency else row.device,
            **quality,
        )


class Objective(ABC):
    """One thing to optimise.

    Args:
        name: As in `--objective`, and in the database.

    Attributes:
        title: Its name in Optuna's dashboard, with its unit.
        heading: The heading of its column in the report, at most 8 characters.
        direction: Which way is better.
        ideal: A bound that no architecture can exceed: its coordinate of the hypervolume's ideal point.
        unit: Unit of its values; empty for a count or a share.
        kind: How it is obtained. "quality" comes from training: it is known after every epoch, from
            `QUALITY_FIGURES` alone, and may be the first objective. "exact" needs only the architecture. "measured"
            needs a device.
        limit: The setting that limits it, and is then its reference point; None if there is none.
        measure: What must be measured for it besides training; None for nothing.
        always_shown: Whether the report's tables always have a column for it.
    """

    title: ClassVar[str]
    heading: ClassVar[str]
    direction: ClassVar[Literal["minimize", "maximize"]] = "minimize"
    ideal: ClassVar[float] = 0.0
    unit: ClassVar[str] = ""
    kind: ClassVar[Literal["quality", "exact", "measured"]]
    limit: ClassVar[str | None] = None
    measure: ClassVar[Literal["latency"] | None] = None
    always_shown: ClassVar[bool] = False

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def read(self, figures: Figures) -> float | None:
        """Its value for an evaluated architecture; None if it is not known."""

    def worst(self, space: SearchSpace) -> float | None:
        """The worst value that a result may have and still count if there is no limit; None if it is unknown.

        It must be known before the first trial: a measured value would change with the results.
        """
        return None

    def estimate(self, architecture: Architecture) -> float:
        """An estimate that ranks architectures before they are evaluated; positive, by default their MACs."""
        return architecture.deployed.macs

    def device(self, figures: Figures) -> str | None:
        """The device on which its value depends; None if it is the same on all devices."""
        return None

    def format(self, value: float) -> str:
        """A value as shown in the report."""
        return f"{value:.4g}" if abs(value) < 1000 else format_count(round(value))

    def value(self, figures: Figures) -> float:
        """Its value for an architecture; the worst possible if it is not known."""
        value = self.read(figures)
        return self.sign * math.inf if value is None else float(value)

    def loss(self, figures: Figures) -> float:
        """Its value, with the sign changed if necessary so that less is better."""
        return self.sign * self.value(figures)

    @property
    def is_quality(self) -> bool:
        """Whether it comes from training, so that it may be the first objective."""
        return self.kind == "quality"

    @property
    def sign(self) -> int:
        """1 if less is better, -1 if more is."""
        return 1 if self.direction == "minimize" else -1

    def reference(self, space: SearchSpace, limits: Mapping[str, float | None]) -> float | None:
        """Its coordinate of the hypervolume's reference point: the limit that is set, else `worst`.

        Args:
            space: The search space.
            limits: The limits of the study by setting: `max_params`, `max_macs`, `max_latency_ms`.
        """
        limit = None if self.limit is None else limits[self.limit]
        return self.worst(space) if limit is None else float(limit)


OBJECTIVES: Registry[Objective] = Registry("objective")
"""All objectives by name."""
Class = TypeVar("Class", bound=type[Objective])


def register_objective(name: str) -> Callable[[Class], Class]:
    """Decorator that registers an objective by name.

    Raises:
        ValueError: If the name is taken.
    """

    def decorate(objective: Class) -> Class:
        OBJECTIVES.add(name, objective(name))
        return objective

    return decorate

"""What a search optimises: first quality, then the objectives that are traded off against it.

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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

from search_space.architecture import Architecture
from search_space.errors import MOST_SHOWN, ConfigError, allowed, brief, printable
from search_space.registry import Registry
from search_space.space import SearchSpace
from search_space.units import format_count

if TYPE_CHECKING:  # the tables load SQLAlchemy, which flags do not need
    from results.database.schema import EvaluationRow, FinalistRow


@dataclass(frozen=True)
class Figures:
    """The figures of an evaluated architecture; None for what was not measured.

    Attributes:
        nll: Validation NLL in nats; infinite if nothing was trained.
        accuracy: Validation accuracy, 0 to 1; 0 if nothing was trained.
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

    @classmethod
    def of_row(cls, row: EvaluationRow, finalist: FinalistRow | None = None) -> Figures:
        """The figures in an evaluation's row; its quality is the mean over fresh seeds if it was retrained."""
        architecture = row.architecture_row  # None if it is lost
        nll, accuracy = (row.nll, row.accuracy) if finalist is None else (finalist.mean_nll, finalist.mean_accuracy)
        return cls(
            nll=math.inf if nll is None else nll,
            accuracy=0.0 if accuracy is None else accuracy,
            params=None if architecture is None else architecture.params,
            macs=None if architecture is None else architecture.macs,
            latency_ms=row.latency_ms,
            peak_memory_mib=row.peak_memory_mib,
            device=row.device,
            latency_device=row.latency["device"] if row.latency else row.device,
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
        kind: How it is obtained. "quality" comes from training: it is known after every epoch, from NLL and accuracy
            alone, and may be the first objective. "exact" needs only the architecture. "measured" needs a device.
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


@register_objective("nll")
class NLL(Objective):
    """Validation NLL, in nats; the worst value that counts is that of guessing."""

    title, heading, unit = "validation NLL (nats)", "val NLL", "nats"
    kind = "quality"
    always_shown = True

    def read(self, figures: Figures) -> float | None:
        return figures.nll

    def worst(self, space: SearchSpace) -> float:
        return math.log(space.classes)

    def format(self, value: float) -> str:
        return f"{value:.4f}"


@register_objective("accuracy")
class Accuracy(Objective):
    """Validation accuracy, 0 to 1; the worst value that counts is that of guessing."""

    title, heading = "validation accuracy", "val acc"
    direction = "maximize"
    ideal = 1.0
    kind = "quality"
    always_shown = True

    def read(self, figures: Figures) -> float | None:
        return figures.accuracy

    def worst(self, space: SearchSpace) -> float:
        return 1 / space.classes

    def format(self, value: float) -> str:
        return f"{100 * value:.2f} %"


@register_objective("params")
class Params(Objective):
    """Trainable parameters of the deployed form."""

    title, heading = "parameters", "params"
    kind = "exact"
    limit = "max_params"
    always_shown = True

    def read(self, figures: Figures) -> float | None:
        return figures.params

    def worst(self, space: SearchSpace) -> float:
        return float(space.cost_range()[1].params)

    def estimate(self, architecture: Architecture) -> float:
        return architecture.deployed.cost.params

    def format(self, value: float) -> str:
        return format_count(round(value))


@register_objective("macs")
class MACs(Objective):
    """Multiply-accumulates of the deployed form for one image."""

    title, heading = "MACs", "MACs"
    kind = "exact"
    limit = "max_macs"
    always_shown = True

    def read(self, figures: Figures) -> float | None:
        return figures.macs

    def worst(self, space: SearchSpace) -> float:
        return float(space.cost_range()[1].macs)

    def estimate(self, architecture: Architecture) -> float:
        return architecture.deployed.cost.macs

    def format(self, value: float) -> str:
        return format_count(round(value))


@register_objective("latency")
class Latency(Objective):
    """Median time of a forward pass of one image, in ms."""

    title, heading, unit = "latency (ms)", "ms", "ms"
    kind = "measured"
    limit = "max_latency_ms"
    measure = "latency"

    def read(self, figures: Figures) -> float | None:
        return figures.latency_ms

    def device(self, figures: Figures) -> str | None:
        return figures.latency_device

    def format(self, value: float) -> str:
        return f"{value:.3g}"


def parse_objectives(names: Sequence[str]) -> tuple[Objective, ...]:
    """The objectives with these names.

    Raises:
        ConfigError: If one is unknown or named twice, or if the first is not a quality.
    """
    for name in names:
        if name not in OBJECTIVES:
            raise ConfigError(f"--objective names {brief(name)}; {allowed(name, OBJECTIVES)}")
    if len(set(names)) < len(names):
        raise ConfigError(f"--objective names one objective twice: {printable(', '.join(names), MOST_SHOWN)}")
    if not names or not OBJECTIVES[names[0]].is_quality:
        first = names[0] if names else "nothing"
        raise ConfigError(
            f"the first --objective is {first}; allowed: {', '.join(qualities())} (the first is the quality)"
        )
    return tuple(OBJECTIVES[name] for name in names)


def qualities() -> list[str]:
    """The names of the objectives that may be the first."""
    return [name for name, objective in OBJECTIVES.items() if objective.is_quality]


def shown_with(objectives: Sequence[Objective]) -> list[Objective]:
    """The objectives with columns in a study's tables: those that are always shown, cost first, then the study's
    others.
    """
    always = [objective for objective in OBJECTIVES.values() if objective.always_shown]
    others = [objective for objective in objectives if objective not in always]
    return [*sorted(always, key=lambda objective: objective.is_quality), *others]

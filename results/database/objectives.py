"""What a search optimises: first quality, then the objectives that are traded off against it.

`results.database.objective` says what an objective is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from results.database.objective import (
    OBJECTIVES,
    QUALITY_FIGURES,
    SEED_FIGURES,
    Figures,
    Objective,
    register_objective,
)
from search_space.architecture import Architecture
from search_space.errors import MOST_SHOWN, ConfigError, allowed, brief, printable
from search_space.space import SearchSpace
from search_space.units import format_count


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


class _Share(Objective):
    """A share of images, 0 to 1; the worst value that counts is that of guessing between equally frequent classes."""

    direction = "maximize"
    ideal = 1.0
    kind = "quality"

    def worst(self, space: SearchSpace) -> float:
        return 1 / space.classes

    def format(self, value: float) -> str:
        return f"{100 * value:.2f} %"


@register_objective("accuracy")
class Accuracy(_Share):
    """Validation accuracy, 0 to 1; the worst value that counts is that of guessing."""

    title, heading = "validation accuracy", "val acc"
    always_shown = True

    def read(self, figures: Figures) -> float | None:
        return figures.accuracy


@register_objective("balanced_accuracy")
class BalancedAccuracy(_Share):
    """Mean over the classes of the share of a class's validation images that is classified correctly, 0 to 1."""

    title, heading = "validation balanced accuracy", "bal acc"

    def read(self, figures: Figures) -> float | None:
        return figures.balanced_accuracy


@register_objective("macro_f1")
class MacroF1(_Share):
    """Mean over the classes of the F1 score on the validation split, 0 to 1."""

    title, heading = "validation macro F1", "macro F1"

    def read(self, figures: Figures) -> float | None:
        return figures.macro_f1


@register_objective("calibration_error")
class CalibrationError(Objective):
    """Expected calibration error on the validation split, 0 to 1; the worst that counts is that of certain guesses.

    A model that always predicts the frequencies of the classes is perfectly calibrated: this belongs beside an
    objective such as NLL.
    """

    title, heading = "validation calibration error", "cal err"
    kind = "quality"

    def read(self, figures: Figures) -> float | None:
        return figures.calibration_error

    def worst(self, space: SearchSpace) -> float:
        return 1 - 1 / space.classes

    def format(self, value: float) -> str:
        return f"{value:.4f}"


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


__all__ = [
    "OBJECTIVES",
    "QUALITY_FIGURES",
    "SEED_FIGURES",
    "Figures",
    "Objective",
    "parse_objectives",
    "qualities",
    "register_objective",
    "shown_with",
]

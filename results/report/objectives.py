"""What a search optimises: measured quality first, then whatever it trades off against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from search_space.errors import MOST_SHOWN, ConfigError, allowed, brief, printable


@dataclass(frozen=True)
class Figures:
    """What is known of an evaluated architecture.

    Attributes:
        nll: Validation NLL in nats.
        accuracy: Validation accuracy, 0 to 1.
        params: Trainable parameters.
        macs: MACs for one image.
        latency_ms: Median time of a forward pass of one image; None if it was not measured.
    """

    nll: float
    accuracy: float
    params: int
    macs: int
    latency_ms: float | None = None


@dataclass(frozen=True)
class Objective:
    """One thing to optimise.

    Attributes:
        name: As in ``--objective``.
        direction: Which way is better.
        title: What the dashboard calls it.
        field: The field of `Figures` that holds it.
        is_quality: Whether it comes from training, so that it may stand first.
    """

    name: str
    direction: Literal["minimize", "maximize"]
    title: str
    field: str
    is_quality: bool = False

    def value(self, figures: Figures) -> float:
        """Its value for an architecture."""
        value = getattr(figures, self.field)
        return float("inf") if value is None else float(value)

    def loss(self, figures: Figures) -> float:
        """Its value, turned so that less is better."""
        return self.value(figures) if self.direction == "minimize" else -self.value(figures)


OBJECTIVES = {
    objective.name: objective
    for objective in (
        Objective("nll", "minimize", "validation NLL (nats)", "nll", is_quality=True),
        Objective("accuracy", "maximize", "validation accuracy", "accuracy", is_quality=True),
        Objective("params", "minimize", "parameters", "params"),
        Objective("macs", "minimize", "MACs", "macs"),
        Objective("latency", "minimize", "latency (ms)", "latency_ms"),
    )
}


def parse_objectives(names: Sequence[str]) -> tuple[Objective, ...]:
    """The objectives of these names.

    Raises:
        ConfigError: If one is unknown or named twice, or if the first does not measure quality.
    """
    for name in names:
        if name not in OBJECTIVES:
            raise ConfigError(f"--objective names {brief(name)}; {allowed(name, OBJECTIVES)}")
    if len(set(names)) < len(names):
        raise ConfigError(f"--objective names one objective twice: {printable(', '.join(names), MOST_SHOWN)}")
    if not names or not OBJECTIVES[names[0]].is_quality:
        first = names[0] if names else "nothing"
        raise ConfigError(f"the first --objective is {first}; allowed: nll, accuracy (it is the quality searched for)")
    return tuple(OBJECTIVES[name] for name in names)

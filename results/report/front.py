"""The Pareto front of a study, each point with what its quality rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from results.database.schema import EvaluationRow, FinalistRow, State
from results.report.pareto import pareto_front


@dataclass(frozen=True)
class FrontPoint:
    """An architecture that no other one dominates.

    Attributes:
        trial: Number of its trial.
        mixers: The token mixers of its stages.
        hash: Of the architecture.
        params: Trainable parameters.
        macs: MACs for one image.
        latency_ms: Measured latency of one image, if it was measured.
        nll: Validation NLL in nats, the mean over `seeds`.
        accuracy: Validation accuracy, the mean over `seeds`.
        epochs: Epochs of the trainings behind these figures.
        epochs_planned: Epochs of a full training.
        seeds: How many trainings they are means of.
        fresh: Whether those had other seeds than the search. The search chose by the figures of its own seed, which
            flatters what was chosen.
    """

    trial: int
    mixers: str
    hash: str
    params: int
    macs: int
    latency_ms: float | None
    nll: float
    accuracy: float
    epochs: int
    epochs_planned: int
    seeds: int
    fresh: bool

    def value(self, objective: str) -> float | None:
        """Its value for an objective; None if it is not known."""
        values = {
            "nll": self.nll,
            "accuracy": self.accuracy,
            "params": self.params,
            "macs": self.macs,
            "latency": self.latency_ms,
        }
        return values[objective]


def make_front(
    trials: Sequence[EvaluationRow], finalists: Sequence[FinalistRow], objectives: Sequence[str]
) -> list[FrontPoint]:
    """The front of the trials that were trained in full, best quality first; [] with a single objective.

    A trial that was retrained stands there with its mean over fresh seeds. One that was stopped early, or of which an
    objective is not known, is no point.
    """
    if len(objectives) < 2:
        return []
    retrained = {row.number: row for row in finalists if row.mean_nll is not None and row.mean_accuracy is not None}
    points = [_point(row, retrained.get(row.number)) for row in trials if row.state == State.COMPLETE]
    known = [(losses, point) for point in points if (losses := _losses(point, objectives)) is not None]
    front = [known[index] for index in pareto_front([losses for losses, _ in known])]
    return [point for _, point in sorted(front, key=lambda pair: pair[0])]


def _point(row: EvaluationRow, finalist: FinalistRow | None) -> FrontPoint:
    nll, accuracy = row.quality
    if finalist is not None and finalist.mean_nll is not None and finalist.mean_accuracy is not None:
        nll, accuracy = finalist.mean_nll, finalist.mean_accuracy
    return FrontPoint(
        trial=row.number,
        mixers=row.mixers,
        hash=row.architecture.hash,
        params=row.architecture.params,
        macs=row.architecture.macs,
        latency_ms=row.latency_ms,
        nll=nll,
        accuracy=accuracy,
        epochs=row.epochs_trained,
        epochs_planned=row.epochs_planned,
        seeds=1 if finalist is None else finalist.seeds,
        fresh=finalist is not None,
    )


def _losses(point: FrontPoint, objectives: Sequence[str]) -> list[float] | None:
    """Its objectives, turned so that less is better."""
    values = [point.value(name) for name in objectives]
    if any(value is None for value in values):
        return None
    return [
        -value if name == "accuracy" else value
        for name, value in zip(objectives, values, strict=True)
        if value is not None
    ]

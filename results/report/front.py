"""The Pareto front of a study, each point with the trainings behind its quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from results.database.objectives import Figures, Objective, shown_with
from results.database.schema import EvaluationRow, FinalistRow, State
from results.report.pareto import pareto_front


@dataclass(frozen=True)
class FrontPoint:
    """An architecture that no other dominates.

    Attributes:
        trial: Number of its trial.
        mixers: The token mixers of its stages.
        hash: Hash of the architecture.
        params: Trainable parameters.
        macs: MACs for one image.
        latency_ms: Measured latency of one image, if it was measured.
        nll: Validation NLL in nats, the mean over `seeds`.
        accuracy: Validation accuracy, the mean over `seeds`; the metrics beyond it are among the `values` if the study
            optimises them.
        epochs: Epochs of the trainings behind these figures.
        epochs_planned: Epochs of a full training.
        seeds: Number of trainings in these means.
        fresh: Whether those trainings used other seeds than the search. The search selected by the figures of its own
            seed, so these are biased in favour of what it selected.
        values: Values by objective: those of the study, and those that are always shown.
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
    values: Mapping[str, float | None]


def make_front(
    trials: Sequence[EvaluationRow], finalists: Sequence[FinalistRow], objectives: Sequence[Objective]
) -> list[FrontPoint]:
    """The front of the trials that were trained in full, best quality first; [] with a single objective.

    A retrained trial is represented by its means over fresh seeds. A trial that was stopped early, or lacks a value for
    an objective, is not on the front.
    """
    if len(objectives) < 2:
        return []
    retrained = {row.number: row for row in finalists if row.mean_nll is not None and row.mean_accuracy is not None}
    known: list[tuple[list[float], FrontPoint]] = []
    for row in trials:
        if row.state != State.COMPLETE:
            continue
        finalist = retrained.get(row.number)
        figures = Figures.of_row(row, finalist)
        if all(objective.read(figures) is not None for objective in objectives):
            losses = [objective.loss(figures) for objective in objectives]
            known.append((losses, _point(row, figures, finalist, objectives)))
    front = [known[index] for index in pareto_front([losses for losses, _ in known])]
    return [point for _, point in sorted(front, key=lambda pair: pair[0])]


def _point(
    row: EvaluationRow, figures: Figures, finalist: FinalistRow | None, objectives: Sequence[Objective]
) -> FrontPoint:
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
        values={objective.name: objective.read(figures) for objective in shown_with(objectives)},
    )

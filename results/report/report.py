"""The end report of a study, made from the database alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from results.database.names import TUNED, family_of
from results.database.objectives import OBJECTIVES, QUALITY_FIGURES, SEED_FIGURES, Figures, Objective, shown_with
from results.database.schema import EvaluationRow, FinalistRow, Role, State, damaged
from results.report.front import FrontPoint, make_front
from results.report.hypervolume import Hypervolume, hypervolume
from results.report.ledger import Ledger, make_ledger
from results.report.winner import find_winner
from results.store.store import StudyStore
from search_space.causes import Cause

_REMEDIES: dict[str, str] = {
    Cause.DIVERGED: "a lower --lr",
    Cause.TOO_SLOW: "a higher --max-latency-ms",
    Cause.OUT_OF_MEMORY: "a smaller --batch-size, --max-params or --max-macs",
    Cause.TIMEOUT: "a longer --trial-timeout or fewer --epochs",
}


@dataclass(frozen=True)
class Contender:
    """An architecture in the report.

    Attributes:
        trial: Number of its trial.
        name: Name of a hand-designed family, or of the sampler that proposed it.
        mixers: The token mixers of its stages.
        hash: Hash of the architecture.
        params: Trainable parameters.
        macs: MACs for one image.
        nll: Validation NLL of the trial in nats, one seed.
        accuracy: Validation accuracy of the trial, one seed; balanced_accuracy, macro_f1 and calibration_error
            likewise, None if not measured.
        mean_nll: Mean validation NLL over the seeds of its retraining; sd_nll its standard deviation.
        latency_ms: Measured latency of one image, if it was measured.
        seeds: Number of those seeds; 0 if it was not retrained.
        test_nll: Mean test NLL over the same models; the other test figures likewise. Only for the winner.
        values: Figures of the trial by objective: those of the study, and those that are always shown.
        tuned: Settings of its training that were searched along with the architecture, by name.
    """

    trial: int
    name: str
    mixers: str
    hash: str
    params: int
    macs: int
    nll: float | None
    accuracy: float | None
    latency_ms: float | None = None
    seeds: int = 0
    mean_nll: float | None = None
    sd_nll: float | None = None
    mean_accuracy: float | None = None
    test_nll: float | None = None
    test_accuracy: float | None = None
    balanced_accuracy: float | None = None
    macro_f1: float | None = None
    calibration_error: float | None = None
    mean_balanced_accuracy: float | None = None
    mean_macro_f1: float | None = None
    mean_calibration_error: float | None = None
    test_balanced_accuracy: float | None = None
    test_macro_f1: float | None = None
    test_calibration_error: float | None = None
    values: Mapping[str, float | None] = field(default_factory=dict)
    tuned: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of_trial(cls, row: EvaluationRow, objectives: Sequence[Objective] = ()) -> Contender:
        """The contender of a trial in a study with these objectives."""
        complete = row.state == State.COMPLETE
        figures = Figures.of_row(row)
        quality: dict[str, Any] = {name: getattr(row, name) for name in QUALITY_FIGURES}
        return cls(
            trial=row.number,
            name=family_of(row.origin) or row.origin,
            mixers=row.mixers,
            hash=row.architecture.hash,
            params=row.architecture.params,
            macs=row.architecture.macs,
            **(quality if complete else dict.fromkeys(QUALITY_FIGURES)),
            latency_ms=row.latency_ms,
            values={
                objective.name: objective.read(figures) if complete or not objective.is_quality else None
                for objective in shown_with(objectives)
            },
            tuned={name: row.choices[name] for name in TUNED if name in row.choices},
        )


@dataclass(frozen=True)
class Report:
    """The results of a study.

    Attributes:
        study: Its name.
        data: Name of the data set.
        space: Name of the search space.
        budget: Number of architectures that the study may evaluate; `evaluated` is how many it has.
        counts: Trials by state.
        causes: Failed trials by cause.
        winner: See `results.report.winner`.
        finalists: All ranked finalists; none of them a winner that was not trained again.
        families: The hand-designed families under the same limit.
        pareto: The architectures that no other dominates, with the trainings behind their quality; [] with one
            objective.
        hypervolume: Hypervolume of the front; None with one objective, without a reference point (such as for a latency
            without a limit), and if an objective was measured on several devices.
        latency_measured_on: The devices of all latencies; figures from different devices must not be compared.
        test_evaluations: Number of architectures evaluated on the test split; 1 unless the budget was raised later.
        failures: Every failed evaluation with its cause and message.
        compute: What the study has spent.
    """

    study: str
    data: str
    space: str
    max_params: int | None
    max_macs: int | None
    max_latency_ms: float | None
    objective: list[str]
    budget: int
    evaluated: int
    counts: Mapping[str, int]
    causes: Mapping[str, int]
    winner: Contender | None
    finalists: list[Contender]
    families: list[Contender]
    pareto: list[FrontPoint]
    hypervolume: Hypervolume | None
    latency_measured_on: list[str]
    test_evaluations: int
    failures: list[str]
    compute: Ledger

    @property
    def lack(self) -> str | None:
        """Why there is no winner, and what may help, as a clause; None if there is a winner."""
        if self.winner is not None:
            return None
        begun, failed = sum(self.counts.values()), self.counts["failed"]
        if not begun or failed < begun:
            return "no trial has been trained in full yet"
        causes = ", ".join(f"{count} {cause}" for cause, count in self.causes.items())
        help_with = "; ".join(_REMEDIES[cause] for cause in self.causes if cause in _REMEDIES)
        these = "the only trial" if failed == 1 else f"all {failed} trials"
        return f"nothing could be trained, as {these} failed ({causes}){help_with and '; try '}{help_with}"

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        return asdict(self)


def make_report(study: StudyStore) -> Report:
    """Make the report of a study."""
    if not study.row.identity or "budget" not in study.row.config:
        missing = "config" if study.row.identity else "identity"
        raise damaged(study.row.__tablename__, f"id {study.row.id} ({study.name!r})", missing, "it does not say enough")
    rows = study.evaluations()
    trials = [row for row in rows if row.role == Role.TRIAL]
    by_number = {row.number: row for row in trials}
    retrained = study.finalists()
    objectives = [OBJECTIVES.find(name) for name in study.row.objectives]
    winner = find_winner(trials, retrained, objectives[0])

    def contender(number: int, finalist: FinalistRow | None = None) -> Contender:
        return _contender(by_number[number], finalist, objectives)

    identity, config = study.row.identity, study.row.config
    counts = {state.value.lower(): sum(row.state == state for row in trials) for state in State}
    causes = [row.cause for row in trials if row.cause]
    front = make_front(trials, retrained, objectives)
    return Report(
        study=study.name,
        data=identity["data"]["name"],
        space=identity["space"]["name"],
        max_params=identity["max_params"],
        max_macs=identity["max_macs"],
        max_latency_ms=identity["max_latency_ms"],
        objective=study.row.objectives,
        budget=config["budget"],
        evaluated=sum(row.is_evaluated for row in trials),
        counts={state: count for state, count in counts.items() if count or state in ("complete", "pruned", "failed")},
        causes={cause: causes.count(cause) for cause in sorted(set(causes))},
        winner=None if winner is None else contender(*winner),
        finalists=[contender(row.number, row) for row in retrained if row.rank is not None and row.seeds],
        families=[contender(row.number) for row in trials if family_of(row.origin) is not None],
        pareto=front,
        hypervolume=_hypervolume(study.row.reference, front, objectives, rows),
        latency_measured_on=_devices(OBJECTIVES["latency"], rows),
        test_evaluations=len({row.number for row in rows if row.role == Role.TEST and row.state == State.COMPLETE}),
        failures=[
            f"{row.key} ({row.cause}): {row.message or 'no message'}" for row in rows if row.state == State.FAILED
        ],
        compute=make_ledger(rows, study.seconds_per_epoch()),
    )


def _contender(row: EvaluationRow, finalist: FinalistRow | None, objectives: Sequence[Objective]) -> Contender:
    contender = Contender.of_trial(row, objectives)
    if finalist is None:
        return contender
    return replace(contender, **{name: getattr(finalist, name) for name in SEED_FIGURES})


def _hypervolume(
    reference: Mapping[str, float] | None,
    front: Sequence[FrontPoint],
    objectives: Sequence[Objective],
    rows: Sequence[EvaluationRow],
) -> Hypervolume | None:
    """The front's hypervolume; None without a reference point, or if figures of several devices would be mixed."""
    if reference is None or any(len(_devices(objective, rows)) > 1 for objective in objectives):
        return None
    points = [{name: value for name in reference if (value := point.values[name]) is not None} for point in front]
    return hypervolume(points, reference)


def _devices(objective: Objective, rows: Sequence[EvaluationRow]) -> list[str]:
    """The devices on which a device-dependent objective was measured."""
    measured = [figures for row in rows if objective.read(figures := Figures.of_row(row)) is not None]
    return sorted({device for figures in measured if (device := objective.device(figures)) is not None})

"""The end report of a study, made from the database alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from results.database.schema import EvaluationRow, FinalistRow, Role, State, damaged
from results.report.front import FrontPoint, make_front
from results.report.hypervolume import Hypervolume, hypervolume
from results.report.ledger import Ledger, make_ledger
from results.store.store import StudyStore

_REMEDIES = {
    "diverged": "a lower --lr",
    "too_slow": "a higher --max-latency-ms",
    "out_of_memory": "a smaller --batch-size, --max-params or --max-macs",
    "timeout": "a longer --trial-timeout or fewer --epochs",
}


@dataclass(frozen=True)
class Contender:
    """An architecture in the report.

    Attributes:
        trial: Number of its trial.
        name: Name of a hand-designed family, or who proposed it.
        mixers: The token mixers of its stages.
        hash: Of the architecture.
        params: Trainable parameters.
        macs: MACs for one image.
        nll: Validation NLL in nats of the trial, one seed.
        accuracy: Validation accuracy of the trial, one seed.
        mean_nll: Mean validation NLL over the seeds of its retraining; sd_nll its standard deviation.
        latency_ms: Measured latency of one image, if it was measured.
        seeds: How many seeds those are; 0 if it was not retrained.
        test_nll: Mean test NLL over the same models; test_accuracy likewise. Of the winner alone.
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

    @classmethod
    def of_trial(cls, row: EvaluationRow) -> Contender:
        """The architecture of a trial."""
        complete = row.state == State.COMPLETE
        return cls(
            trial=row.number,
            name=row.origin.removeprefix("family:"),
            mixers=row.mixers,
            hash=row.architecture.hash,
            params=row.architecture.params,
            macs=row.architecture.macs,
            nll=row.nll if complete else None,
            accuracy=row.accuracy if complete else None,
            latency_ms=row.latency_ms,
        )


@dataclass(frozen=True)
class Report:
    """What a study came to.

    Attributes:
        study: Its name.
        data: Name of the data set.
        space: Name of the search space.
        budget: Architectures that were to be evaluated; `evaluated` how many have been.
        counts: Trials by state.
        causes: Failed trials by cause.
        winner: The best finalist; without finalists the best trial.
        finalists: All ranked finalists.
        families: The hand-designed families under the same limit.
        pareto: The architectures that no other dominates, with what their quality rests on; [] with one objective.
        hypervolume: Of the front; None with one objective, where a latency has no limit to refer to, where latencies
            were measured on several devices, and for a study begun by a version that kept no reference point.
        latency_measured_on: The devices of all latencies; figures of different ones must not be compared.
        test_evaluations: How many architectures have met the test split; 1 unless the budget was raised later.
        failures: Every failed evaluation with its cause and message.
        compute: What the study spent; see `results.report.ledger`.
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
        """Why there is no winner, and what may help, as a clause; None if there is one."""
        if self.winner is not None:
            return None
        begun, failed = sum(self.counts.values()), self.counts["failed"]
        if not begun or failed < begun:
            return "no trial has been trained in full yet"
        causes = ", ".join(f"{count} {cause}" for cause, count in self.causes.items())
        help_with = "; ".join(_REMEDIES[cause] for cause in self.causes if cause in _REMEDIES)
        who = "the only trial" if failed == 1 else f"all {failed} trials"
        return f"nothing could be trained, as {who} failed ({causes}){help_with and '; try '}{help_with}"

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        return asdict(self)


def make_report(study: StudyStore) -> Report:
    """Gather the report of a study."""
    if not study.row.identity or "budget" not in study.row.config:
        missing = "config" if study.row.identity else "identity"
        raise damaged(study.row.__tablename__, f"id {study.row.id} ({study.name!r})", missing, "it does not say enough")
    rows = study.evaluations()
    trials = [row for row in rows if row.role == Role.TRIAL]
    by_number = {row.number: row for row in trials}
    retrained = study.finalists()
    ranked = [row for row in retrained if row.rank is not None]
    finalists = [_contender(by_number[row.number], row) for row in ranked]
    complete = [row for row in trials if row.state == State.COMPLETE]
    best = min(complete, key=lambda row: _quality(row, study.row.objectives[0]), default=None)
    identity, config = study.row.identity, study.row.config
    counts = {state.value.lower(): sum(row.state == state for row in trials) for state in State}
    causes = [row.cause for row in trials if row.cause]
    front, measured_on = make_front(trials, retrained, study.row.objectives), _measured_on(rows)
    return Report(
        study=study.name,
        data=identity["data"]["name"],
        space=identity["space"]["name"],
        max_params=identity["max_params"],
        max_macs=identity["max_macs"],
        max_latency_ms=identity["max_latency_ms"],
        objective=study.row.objectives,
        budget=config["budget"],
        evaluated=sum(row.cause != "too_slow" and row.state in ("COMPLETE", "PRUNED", "FAILED") for row in trials),
        counts={state: count for state, count in counts.items() if count or state in ("complete", "pruned", "failed")},
        causes={cause: causes.count(cause) for cause in sorted(set(causes))},
        winner=finalists[0] if finalists else None if best is None else _contender(best, None),
        finalists=finalists,
        families=[_contender(row, None) for row in trials if row.origin.startswith("family:")],
        pareto=front,
        hypervolume=_hypervolume(study, front, measured_on),
        latency_measured_on=measured_on,
        test_evaluations=len({row.number for row in rows if row.role == Role.TEST and row.state == State.COMPLETE}),
        failures=[
            f"{row.key} ({row.cause}): {row.message or 'no message'}" for row in rows if row.state == State.FAILED
        ],
        compute=make_ledger(rows, study.seconds_per_epoch()),
    )


def _contender(row: EvaluationRow, finalist: FinalistRow | None) -> Contender:
    contender = Contender.of_trial(row)
    if finalist is None:
        return contender
    figures = ("seeds", "mean_nll", "sd_nll", "mean_accuracy", "test_nll", "test_accuracy")
    return replace(contender, **{name: getattr(finalist, name) for name in figures})


def _quality(row: EvaluationRow, objective: str) -> float:
    """The first objective, turned so that less is better."""
    nll, accuracy = row.quality
    return nll if objective == "nll" else -accuracy


def _hypervolume(study: StudyStore, front: list[FrontPoint], measured_on: list[str]) -> Hypervolume | None:
    """The front's hypervolume; None without a reference point, or where latencies cannot be compared."""
    objectives, reference = study.row.objectives, study.row.reference
    if reference is None or ("latency" in objectives and len(measured_on) > 1):
        return None
    points = [{name: value for name in objectives if (value := point.value(name)) is not None} for point in front]
    return hypervolume(points, reference)


def _measured_on(rows: list[EvaluationRow]) -> list[str]:
    """The devices on which latencies were measured."""
    return sorted({row.latency["device"] if row.latency else row.device for row in rows if row.latency_ms is not None})

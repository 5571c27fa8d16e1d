"""The end report of a study, made from the database alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from statistics import mean
from typing import Any

from results.pareto import pareto_front
from results.schema import Evaluation, Finalist, Role, State
from results.store import StudyStore
from search_space.space import mixers_of
from search_space.units import format_count


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
    seeds: int = 0
    mean_nll: float | None = None
    sd_nll: float | None = None
    mean_accuracy: float | None = None
    test_nll: float | None = None
    test_accuracy: float | None = None

    @classmethod
    def of_trial(cls, row: Evaluation) -> Contender:
        """The architecture of a trial."""
        complete = row.state == State.COMPLETE
        return cls(
            trial=row.number,
            name=row.origin.removeprefix("family:"),
            mixers=mixers_of(row.choices),
            hash=row.architecture.hash,
            params=row.architecture.params,
            macs=row.architecture.macs,
            nll=row.nll if complete else None,
            accuracy=row.accuracy if complete else None,
        )


@dataclass(frozen=True)
class Compute:
    """Compute spent by a study, all attempts and failures included.

    Attributes:
        seconds: Sum over all evaluations of their wall time.
        full_training_seconds: Mean wall time of a trial that was trained in full; None if there is none.
        fte: `seconds` in full-training equivalents.
        fte_by_stage: The same by state of the trials, and for finalists and tests.
    """

    seconds: float
    full_training_seconds: float | None
    fte: float | None
    fte_by_stage: Mapping[str, float]


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
        test_evaluations: How many architectures have met the test split; 1 unless the budget was raised later.
    """

    study: str
    data: str
    space: str
    max_params: int | None
    max_macs: int | None
    objective: list[str]
    budget: int
    evaluated: int
    counts: Mapping[str, int]
    causes: Mapping[str, int]
    winner: Contender | None
    finalists: list[Contender]
    families: list[Contender]
    pareto: list[Contender]
    test_evaluations: int
    compute: Compute

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        return asdict(self)


def make_report(study: StudyStore) -> Report:
    """Gather the report of a study."""
    rows = study.evaluations()
    trials = [row for row in rows if row.role == Role.TRIAL]
    by_number = {row.number: row for row in trials}
    ranked = [row for row in study.finalists() if row.rank is not None]
    finalists = [_contender(by_number[row.number], row) for row in ranked]
    complete = [row for row in trials if row.state == State.COMPLETE]
    best = min(complete, key=lambda row: _quality(row, study.row.objectives[0]), default=None)
    identity, config = study.row.identity, study.row.config
    counts = {state.value.lower(): sum(row.state == state for row in trials) for state in State}
    causes = [row.cause for row in trials if row.cause]
    return Report(
        study=study.name,
        data=identity["data"]["name"],
        space=identity["space"]["name"],
        max_params=identity["max_params"],
        max_macs=identity["max_macs"],
        objective=study.row.objectives,
        budget=config["budget"],
        evaluated=sum(row.cause != "too_slow" and row.state in ("COMPLETE", "PRUNED", "FAILED") for row in trials),
        counts={state: count for state, count in counts.items() if count or state not in ("queued", "running")},
        causes={cause: causes.count(cause) for cause in sorted(set(causes))},
        winner=finalists[0] if finalists else None if best is None else _contender(best, None),
        finalists=finalists,
        families=[_contender(row, None) for row in trials if row.origin.startswith("family:")],
        pareto=_pareto(complete, study.row.objectives),
        test_evaluations=len({row.number for row in rows if row.role == Role.TEST and row.state == State.COMPLETE}),
        compute=_compute(rows),
    )


def _contender(row: Evaluation, finalist: Finalist | None) -> Contender:
    contender = Contender.of_trial(row)
    if finalist is None:
        return contender
    figures = ("seeds", "mean_nll", "sd_nll", "mean_accuracy", "test_nll", "test_accuracy")
    return replace(contender, **{name: getattr(finalist, name) for name in figures})


def _quality(row: Evaluation, objective: str) -> float:
    """The first objective, turned so that less is better."""
    assert row.nll is not None
    assert row.accuracy is not None
    return row.nll if objective == "nll" else -row.accuracy


def _pareto(complete: list[Evaluation], objectives: list[str]) -> list[Contender]:
    """The trials that no other dominates, best quality first; [] with a single objective."""
    if len(objectives) < 2:
        return []

    def losses(row: Evaluation) -> list[float]:
        cheap = {"params": row.architecture.params, "macs": row.architecture.macs, "latency": row.latency_ms}
        cheap |= {"nll": row.nll, "accuracy": -(row.accuracy or 0.0)}
        return [float("inf") if (value := cheap[name]) is None else float(value) for name in objectives]

    points = [losses(row) for row in complete]
    front = sorted(pareto_front(points), key=lambda index: points[index])
    return [_contender(complete[index], None) for index in front]


def _compute(rows: list[Evaluation]) -> Compute:
    full = [row.seconds for row in rows if row.role == Role.TRIAL and row.state == State.COMPLETE and row.attempts == 1]
    one = mean(full) if full else None
    stages: dict[str, float] = {}
    for row in rows:
        stage = row.state.lower() if row.role == Role.TRIAL else f"{row.role}s"
        stages[stage] = stages.get(stage, 0.0) + row.seconds
    total = sum(stages.values())
    if not one:
        return Compute(total, one, None, {})
    return Compute(total, one, total / one, {stage: seconds / one for stage, seconds in stages.items()})


def render(report: Report) -> str:
    """The report as text for a terminal."""
    lines = [f"Study {report.study}: {report.space} on {report.data}, {_limits(report)}"]
    counts = ", ".join(f"{count} {state}" for state, count in report.counts.items())
    causes = ", ".join(f"{count} {cause}" for cause, count in report.causes.items())
    lines.append(
        f"{report.evaluated} of {report.budget} architectures evaluated: {counts}{f' ({causes})' if causes else ''}"
    )
    lines.append("")
    if report.winner is None:
        return "\n".join([*lines, "No trial has been trained in full yet, so there is no winner."])
    winner = report.winner
    lines.append(f"Winner: trial {winner.trial}, {winner.mixers}, {_size(winner)}  ({winner.hash})")
    if winner.seeds:
        spread = f" +- {winner.sd_nll:.4f}" if winner.sd_nll is not None else ""
        lines.append(
            f"  validation NLL {winner.mean_nll:.4f}{spread}, accuracy {_percent(winner.mean_accuracy)}, "
            f"mean of {winner.seeds} fresh seeds"
        )
    else:
        lines.append(f"  validation NLL {winner.nll:.4f}, accuracy {_percent(winner.accuracy)}, one seed, no finalists")
    if winner.test_accuracy is not None:
        lines.append(
            f"  test NLL {winner.test_nll:.4f}, accuracy {_percent(winner.test_accuracy)}, the same models; "
            + (
                "the test split was used this once"
                if report.test_evaluations == 1
                else f"{report.test_evaluations} winners have met the test split by now"
            )
        )
    lines += ["", f"  {'':<10} {'mixers':<28} {'params':>8} {'MACs':>8} {'val NLL':>9} {'val acc':>8}"]
    lines.append(_row("winner", winner))
    lines += [_row(family.name, family) for family in sorted(report.families, key=lambda f: f.nll or float("inf"))]
    lines.append(
        "  (families: hand-designed, scaled to the same limit; each row is one training with the search's seed)"
    )
    if report.pareto:
        lines += ["", f"Pareto front of {', '.join(report.objective)}:"]
        lines += [_row(f"trial {point.trial}", point) for point in report.pareto]
    if report.compute.fte is not None:
        stages = ", ".join(f"{stage} {fte:.1f}" for stage, fte in report.compute.fte_by_stage.items())
        lines += [
            "",
            f"Compute: {report.compute.seconds:.0f} s = {report.compute.fte:.1f} full trainings ({stages})",
        ]
    return "\n".join(lines)


def _row(name: str, contender: Contender) -> str:
    nll = "-" if contender.nll is None else f"{contender.nll:.4f}"
    mixers = contender.mixers if len(contender.mixers) <= 28 else contender.mixers[:27] + "…"
    return (
        f"  {name:<10} {mixers:<28} {format_count(contender.params):>8} {format_count(contender.macs):>8} "
        f"{nll:>9} {_percent(contender.accuracy):>8}"
    )


def _size(contender: Contender) -> str:
    return f"{format_count(contender.params)} parameters, {format_count(contender.macs)} MACs"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"


def _limits(report: Report) -> str:
    limits = [
        f"at most {format_count(limit)} {what}"
        for limit, what in ((report.max_params, "parameters"), (report.max_macs, "MACs"))
        if limit is not None
    ]
    return " and ".join(limits) or "no limit on size"

"""The studies of a database at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import lazyload, load_only

from results.database.objectives import OBJECTIVES, QUALITY_FIGURES, Figures
from results.database.schema import FINAL_STATES, EvaluationRow, FinalistRow, Role, State, utc
from results.report.ledger import make_ledger
from results.report.winner import find_winner, quality_figures
from results.store.rename_delete import is_driven
from results.store.store import Store, StudyStore


@dataclass(frozen=True)
class Best:
    """The best architecture so far; see `results.report.winner`.

    Attributes:
        trial: Number of its trial.
        mixers: The token mixers of its stages.
        hash: Hash of the architecture.
        objective: The first objective of the study, such as "nll" (in nats) or "accuracy" (0 to 1).
        value: Its validation value, the mean over `seeds`.
        seeds: Number of fresh seeds; 0 for the seed of the search.
    """

    trial: int
    mixers: str
    hash: str
    objective: str
    value: float
    seeds: int


@dataclass(frozen=True)
class Overview:
    """A study at a glance.

    Attributes:
        state: "running" while a process is searching it; "finished" if nothing is pending, and the winner was tested
            or chosen without finalists, or the budget is spent; otherwise "stopped".
        space: Name of the search space, and data of the data set; None if the study does not say.
        evaluated: Number of evaluated architectures, of the `budget`.
        counts: Trials by state.
        fte: Compute in full-training equivalents; see `results.report.compute`.
        last_activity: When an evaluation last started or ended.
    """

    name: str
    state: str
    space: str | None
    data: str | None
    evaluated: int
    budget: int | None
    counts: dict[str, int]
    best: Best | None
    fte: float
    created: datetime
    last_activity: datetime | None

    def to_dict(self) -> dict[str, Any]:
        """The overview as plain data, with times in ISO 8601."""
        times = {name: time and time.isoformat() for name, time in asdict(self).items() if isinstance(time, datetime)}
        return {**asdict(self), **times}


def make_overviews(store: Store) -> list[Overview]:
    """All studies, oldest first."""
    return [_overview(store, StudyStore(store, row)) for row in store.studies()]


def _overview(store: Store, study: StudyStore) -> Overview:
    rows, finalists = _evaluations(study), study.finalists()
    trials = [row for row in rows if row.role == Role.TRIAL]
    evaluated = sum(row.is_evaluated for row in trials)
    identity, budget = study.row.identity, study.row.config.get("budget")
    counts = {state.value.lower(): sum(row.state == state for row in trials) for state in State}
    times = [time for row in rows for time in (row.started_at, row.finished_at) if time is not None]
    waiting = any(row.state not in FINAL_STATES for row in rows)
    settled = any(row.rank == 1 and (row.test_nll is not None or not row.seeds) for row in finalists)
    spent = budget is not None and evaluated >= budget
    finished = not waiting and (settled or spent)
    return Overview(
        name=study.name,
        state="running" if is_driven(store, study.name) else "finished" if finished else "stopped",
        space=identity.get("space", {}).get("name"),
        data=identity.get("data", {}).get("name"),
        evaluated=evaluated,
        budget=budget,
        counts={state: count for state, count in counts.items() if count},
        best=_best(study, trials, finalists),
        fte=make_ledger(rows, study.seconds_per_epoch()).fte,
        created=utc(study.row.created_at),
        last_activity=max(map(utc, times), default=None),
    )


def _evaluations(study: StudyStore) -> list[EvaluationRow]:
    """All evaluations, without their large columns."""
    few = load_only(
        EvaluationRow.key,
        EvaluationRow.role,
        EvaluationRow.number,
        EvaluationRow.state,
        EvaluationRow.phase,
        EvaluationRow.cause,
        *(getattr(EvaluationRow, name) for name in QUALITY_FIGURES),
        EvaluationRow.seconds,
        EvaluationRow.epochs_planned,
        EvaluationRow.epochs_run,
        EvaluationRow.started_at,
        EvaluationRow.finished_at,
    )
    query = (
        sa.select(EvaluationRow)
        .where(EvaluationRow.study_id == study.row.id)
        .options(few, lazyload(EvaluationRow.architecture_row))
        .order_by(EvaluationRow.id)
    )
    with study.store.session() as session:
        return list(session.scalars(query))


def _best(study: StudyStore, trials: Sequence[EvaluationRow], finalists: Sequence[FinalistRow]) -> Best | None:
    if study.row.objectives[0] not in OBJECTIVES:  # its plug-in was not imported
        return None
    quality = OBJECTIVES[study.row.objectives[0]]
    winner = find_winner(trials, finalists, quality)
    if winner is None:
        return None
    number, finalist = winner
    if finalist is None:
        (row,) = (row for row in trials if row.number == number)
        figures = quality_figures(row)
    else:
        means = {name: getattr(finalist, f"mean_{name}") for name in QUALITY_FIGURES}
        figures = Figures(**means, params=None, macs=None)
    if quality.read(figures) is None:  # earlier versions did not store this mean
        return None
    query = sa.select(EvaluationRow).where(
        EvaluationRow.study_id == study.row.id, EvaluationRow.role == Role.TRIAL, EvaluationRow.number == number
    )
    with study.store.session() as session:
        trial = session.scalars(query).one()
    return Best(
        number,
        trial.mixers,
        trial.architecture.hash,
        quality.name,
        quality.value(figures),
        0 if finalist is None else finalist.seeds,
    )

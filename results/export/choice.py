"""Chooses the evaluation of a study to export: that of its winner, or of a given trial."""

from __future__ import annotations

from results.database.names import file_name
from results.database.schema import EvaluationRow, Role, State
from results.report.report import Contender, make_report
from results.store.store import StudyStore
from search_space.errors import ExportError


def exported_key(study: StudyStore, trial: int | None) -> str:
    """Key of the evaluation with the weights that `export` needs.

    Raises:
        ExportError: If there is no such trial, or it has no weights.
    """
    return file_name(choose(study, trial)[0].key, "evaluation")


def choose(study: StudyStore, trial: int | None) -> tuple[EvaluationRow, Contender]:
    """The evaluation with the weights to export, and its figures."""
    report = make_report(study)
    rows = study.evaluations()
    if trial is None:
        if report.winner is None:
            raise ExportError(f"the study {study.name!r} has no winner to export: {report.lack}")
        contender = report.winner
    else:
        numbers = [row.number for row in rows if row.role == Role.TRIAL and row.state == State.COMPLETE]
        found = next((row for row in rows if row.role == Role.TRIAL and row.number == trial), None)
        if found is None:
            raise ExportError(f"the study {study.name!r} has no trial {trial}; complete ones: {_listed(numbers)}")
        if found.state != State.COMPLETE:
            raise ExportError(
                f"trial {trial} is {found.state} after {found.epochs_trained} of {found.epochs_planned} epochs, so it "
                f"has no weights worth exporting; complete ones: {_listed(numbers)}"
            )
        contender = next(
            (finalist for finalist in report.finalists if finalist.trial == trial), Contender.of_trial(found)
        )
    runs = [
        row
        for row in rows
        if row.number == contender.trial and row.role == Role.FINALIST and row.state == State.COMPLETE
    ]
    if runs:
        return min(runs, key=lambda row: row.nll if row.nll is not None else float("inf")), contender
    return next(row for row in rows if row.number == contender.trial and row.role == Role.TRIAL), contender


def _listed(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:20]))
    return f"{shown}, ..." if len(numbers) > 20 else shown or "none"

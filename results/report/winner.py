"""The winner rule: which architecture a study delivers. Reports, listings and exports all use it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from results.database.objectives import QUALITY_FIGURES, Figures, Objective
from results.database.schema import EvaluationRow, FinalistRow, State


class Winner(NamedTuple):
    """The architecture that a study delivers.

    Attributes:
        number: Number of its trial.
        finalist: Its means over fresh seeds; None if it is a trial that was not retrained.
    """

    number: int
    finalist: FinalistRow | None


def find_winner(trials: Sequence[EvaluationRow], finalists: Sequence[FinalistRow], quality: Objective) -> Winner | None:
    """The trial that the search ranked first; if there is none yet, the complete trial best in the first objective.

    The first is a finalist or, in a search that ended without finalists, a trial, whose row has no seeds. Such a row is
    deleted when a trial is started or resumed, until the search ends again.

    Args:
        trials: The study's trials.
        finalists: The study's finalists, by rank.
        quality: The study's first objective.
    """
    ranked = next((row for row in finalists if row.rank is not None), None)
    if ranked is not None:
        return Winner(ranked.number, ranked if ranked.seeds else None)
    complete = [row for row in trials if row.state == State.COMPLETE]
    best = min(complete, key=lambda row: quality.loss(quality_figures(row)), default=None)
    return None if best is None else Winner(best.number, None)


def quality_figures(row: EvaluationRow) -> Figures:
    """The figures of a complete evaluation that define its quality.

    Raises:
        StorageError: If the database has lost one.
    """
    quality = {name: getattr(row, name) for name in QUALITY_FIGURES}
    nll, accuracy = row.quality
    return Figures(**{**quality, "nll": nll, "accuracy": accuracy}, params=None, macs=None)

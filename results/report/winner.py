"""The winner rule: which architecture a study delivers. Reports, listings and exports all ask here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from results.database.objectives import Figures, Objective
from results.database.schema import EvaluationRow, FinalistRow, State


class Winner(NamedTuple):
    """What a study delivers.

    Attributes:
        number: Of its trial.
        finalist: Its means over fresh seeds; None where it is a trial that was not trained again.
    """

    number: int
    finalist: FinalistRow | None


def find_winner(trials: Sequence[EvaluationRow], finalists: Sequence[FinalistRow], quality: Objective) -> Winner | None:
    """What the search has ranked first; while it has not, the complete trial that is best in the first objective.

    The first is a finalist, or, in a search that ended without finalists, a trial: then its row has no seeds. As soon
    as a trial is started or resumed after that, there is no such row until the search ends again.

    Args:
        trials: Of the study.
        finalists: Of the study, by rank.
        quality: Its first objective.
    """
    ranked = next((row for row in finalists if row.rank is not None), None)
    if ranked is not None:
        return Winner(ranked.number, ranked if ranked.seeds else None)
    complete = [row for row in trials if row.state == State.COMPLETE]
    best = min(complete, key=lambda row: quality.loss(quality_figures(row)), default=None)
    return None if best is None else Winner(best.number, None)


def quality_figures(row: EvaluationRow) -> Figures:
    """The figures of a complete evaluation that its quality rests on.

    Raises:
        StorageError: If the database has lost one.
    """
    return Figures(*row.quality, params=None, macs=None)

"""What other drivers have changed in a study since this one last read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.orm import Session

from results.database.schema import EpochRow, EvaluationRow, StudyRow, damaged
from results.store.architectures import chunks


@dataclass(frozen=True)
class Changes:
    """Changes by other drivers.

    Attributes:
        evaluations: New or changed evaluations, in order of insertion.
        curves: All their epochs, by key.
    """

    evaluations: Sequence[EvaluationRow] = ()
    curves: Mapping[str, Sequence[EpochRow]] = field(default_factory=dict)


def read_changes(session: Session, study_id: int, seen: int, driver_id: int) -> tuple[int, int, Changes]:
    """Read the changes.

    Args:
        session: The session for all queries.
        study_id: The study.
        seen: Its revision when it was last read; -1 for everything.
        driver_id: Evaluations of this driver are left out.

    Returns:
        The study's revision, its decisions, and the changes.

    Raises:
        StorageError: If an evaluation lacks epochs.
    """
    query = sa.select(StudyRow.revision, StudyRow.decisions).where(StudyRow.id == study_id)
    revision, decisions = session.execute(query).one()
    if revision == seen:
        return revision, decisions, Changes()
    # Changes between these two queries are read now, and again next time. If they were only read next time, a trial
    # that `decisions` counts might be missing, since its row would have a newer revision.
    different = sa.and_(
        EvaluationRow.study_id == study_id,
        EvaluationRow.revision > seen,
        EvaluationRow.driver_id.is_distinct_from(driver_id),
    )
    rows = session.scalars(sa.select(EvaluationRow).where(different).order_by(EvaluationRow.id)).all()
    keys, curves = {row.id: row.key for row in rows}, dict[str, list[EpochRow]]()
    for ids in chunks(list(keys)):
        epochs = (
            sa.select(EpochRow).where(EpochRow.evaluation_id.in_(ids)).order_by(EpochRow.evaluation_id, EpochRow.epoch)
        )
        for epoch in session.scalars(epochs):
            curves.setdefault(keys[epoch.evaluation_id], []).append(epoch)
    for row in rows:
        _check_curve(session, row, curves.get(row.key, ()))
    return revision, decisions, Changes(rows, curves)


def _check_curve(session: Session, row: EvaluationRow, curve: Sequence[EpochRow]) -> None:
    """Refuse an evaluation that lacks epochs, unless it has changed since it was read."""
    if row.epochs_trained <= (curve[-1].epoch if curve else 0):
        return
    revision = sa.select(EvaluationRow.revision).where(EvaluationRow.id == row.id)
    if session.scalar(revision) == row.revision:
        reason = f"nas_epochs has {len(curve)} of its {row.epochs_trained} epochs"
        raise damaged(row.__tablename__, f"id {row.id} ({row.key})", "epochs_trained", reason)

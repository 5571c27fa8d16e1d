"""Renames and deletes a study: its rows in our tables and in Optuna's, all or nothing.

`nas.study.housekeeping` moves and deletes its files at the same time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from results.database.schema import EvaluationRow, Role, ScoreRow, StudyRow
from results.database.tables import ARCHITECTURES, OPTUNA_STUDIES, OPTUNA_TRIALS, STUDIES, referring_to, rows_of
from results.store import lease
from results.store.store import Store
from search_space.errors import StudyError, allowed


def is_driven(store: Store, name: str) -> bool:
    """Whether a process is searching this study now, by its lease; nothing is locked or written."""
    with store.session() as session:
        study = session.scalar(sa.select(StudyRow).where(StudyRow.name == name))
        return study is not None and lease.is_driven(session, study.id)


def count_trials(store: Store, name: str) -> int:
    """The number of trials of a study.

    Raises:
        StudyError: If there is no such study.
    """
    with store.session() as session:
        study = _study(store, session, name)
        query = sa.select(sa.func.count()).where(EvaluationRow.study_id == study.id, EvaluationRow.role == Role.TRIAL)
        return session.scalar(query) or 0


@contextmanager
def renaming(store: Store, old: str, new: str) -> Iterator[StudyRow]:
    """Rename a study after the body has run; if anything fails, nothing changes.

    Args:
        store: The database.
        old: Its name.
        new: A name that no study has.

    Raises:
        StudyError: If there is no such study, the new name is taken, or the study is being searched.
        StorageError: If the database fails; nothing changes in that case.
    """
    with locked_idle(store, old, "renamed") as (session, study):
        _must_be_free(store, session, new)
        study.name = new
        if "study" in study.config:
            study.config = {**study.config, "study": new}
        session.execute(
            sa.update(OPTUNA_STUDIES).where(OPTUNA_STUDIES.c.study_id == study.optuna_study_id).values(study_name=new)
        )
        session.flush()  # a refusal by the database comes before any file is touched
        yield study
        session.commit()


@contextmanager
def deleting(store: Store, name: str) -> Iterator[StudyRow]:
    """Delete a study, with the architectures and scores that no other study uses, after the body has run.

    Args:
        store: The database.
        name: Its name.

    Raises:
        StudyError: If there is no such study, or it is being searched.
        StorageError: If the database fails; nothing changes in that case.
    """
    with locked_idle(store, name, "deleted") as (session, study):
        yield study
        _delete_rows(session, study)
        session.commit()


def _study(store: Store, session: Session, name: str, *, held: bool = False) -> StudyRow:
    """A study; if `held`, no other transaction changes it before this one has ended."""
    query = sa.select(StudyRow).where(StudyRow.name == name)
    study = session.scalar(query.with_for_update() if held else query)
    if study is None:
        names = list(session.scalars(sa.select(StudyRow.name).order_by(StudyRow.id)))
        raise StudyError(f"there is no study {name!r} in {store}; {allowed(name, names) if names else 'it holds none'}")
    return study


def _must_be_free(store: Store, session: Session, name: str) -> None:
    """Refuse a name that is taken, even by a study in Optuna's tables that is not ours."""
    for column in (STUDIES.c.name, OPTUNA_STUDIES.c.study_name):
        if session.scalar(sa.select(sa.func.count()).where(column == name)):
            raise StudyError(f"there is already a study {name!r} in {store}; choose another name")


@contextmanager
def locked_idle(store: Store, name: str, what: str) -> Iterator[tuple[Session, StudyRow]]:
    """Lock a study that is not being searched, so that no search of it starts before the transaction has ended.

    Args:
        store: The database.
        name: Name of the study.
        what: What will be done to it, as in "stop the search before it is deleted".

    Raises:
        StudyError: If there is no such study, or it is being searched.
    """
    busy = StudyError(f"the study {name!r} is being searched; stop the search before it is {what}")
    with store.session() as session:
        _study(store, session, name)  # checked first, since a lock leaves a file behind
    with ExitStack() as stack:
        try:
            stack.enter_context(store.driving(name))
        except StudyError:
            raise busy from None
        session = stack.enter_context(store.session())
        study = _study(store, session, name, held=True)
        if store.is_shared:
            if lease.is_driven(session, study.id):
                raise busy
            lease.fence_silent(session, study.id)
        yield session, study


def _delete_rows(session: Session, study: StudyRow) -> None:
    if session.get_bind().dialect.name == "postgresql":  # a search must not use an architecture that is being deleted
        session.execute(sa.text(f"LOCK TABLE {ARCHITECTURES.name} IN ACCESS EXCLUSIVE MODE"))
    contexts = list(session.scalars(_contexts(EvaluationRow.study_id == study.id)))
    for rows in (_optuna_rows(session, study), rows_of(STUDIES, STUDIES.c.id == study.id)):
        for table, condition in reversed(list(rows.items())):
            session.execute(sa.delete(table).where(condition))
    others = _contexts(sa.true())
    session.execute(sa.delete(ScoreRow).where(ScoreRow.context.in_(contexts), ScoreRow.context.not_in(others)))
    links = referring_to(ARCHITECTURES, ARCHITECTURES.metadata.sorted_tables)
    unused = [~sa.exists().where(link.parent == link.column) for link in links]
    session.execute(sa.delete(ARCHITECTURES).where(*unused))


def _optuna_rows(session: Session, study: StudyRow) -> Mapping[sa.Table, sa.ColumnElement[bool]]:
    """A study's rows in Optuna's tables; if it has trials that are not ours, these and the study stay."""
    inside = OPTUNA_TRIALS.c.study_id == study.optuna_study_id
    ours = sa.select(EvaluationRow.optuna_trial_id).where(
        EvaluationRow.study_id == study.id, EvaluationRow.optuna_trial_id.is_not(None)
    )
    others = sa.select(sa.func.count()).where(inside, OPTUNA_TRIALS.c.trial_id.not_in(ours))
    if session.scalar(others):  # earlier versions took over studies that this program had not created
        return rows_of(OPTUNA_TRIALS, inside & OPTUNA_TRIALS.c.trial_id.in_(ours))
    return rows_of(OPTUNA_STUDIES, OPTUNA_STUDIES.c.study_id == study.optuna_study_id)


def _contexts(condition: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """The contexts of the scores of these evaluations' architectures."""
    evaluated = sa.select(EvaluationRow.architecture_id).where(condition)
    return sa.select(ScoreRow.context).where(ScoreRow.architecture_id.in_(evaluated)).distinct()

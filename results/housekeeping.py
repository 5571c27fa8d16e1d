"""Renaming and deleting a study: its rows in our tables and in Optuna's, and its folder, all of it or nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from results import lease
from results.schema import Evaluation, Role, ScoreRow, Study
from results.store import Store
from results.tables import ARCHITECTURES, OPTUNA_STUDIES, OPTUNA_TRIALS, STUDIES, referring_to, rows_of
from search_space.errors import StorageError, StudyError, allowed


@dataclass(frozen=True)
class Belongings:
    """What a study has.

    Attributes:
        trials: How many trials.
        files: How many files in its folder, links counted as files and not followed.
        size: Their size in bytes.
    """

    trials: int
    files: int
    size: int


def is_driven(store: Store, name: str) -> bool:
    """Whether a process is searching this study right now."""
    if store.is_shared:
        with store.session() as session:
            study = session.scalar(sa.select(Study).where(Study.name == name))
            return study is not None and lease.is_driven(session, study.id)
    try:
        with store.driving(name):
            return False
    except StudyError:
        return True


def belongings(store: Store, name: str, folder: Path) -> Belongings:
    """What deleting a study would delete.

    Raises:
        StudyError: If there is no such study.
    """
    with store.session() as session:
        study = _study(store, session, name)
        query = sa.select(sa.func.count()).where(Evaluation.study_id == study.id, Evaluation.role == Role.TRIAL)
        trials = session.scalar(query) or 0
    files = list(_files(folder))
    return Belongings(trials, len(files), sum(path.lstat().st_size for path in files))


def rename_study(store: Store, old: str, new: str, folder: Path, new_folder: Path) -> bool:
    """Give a study another name.

    Args:
        store: The database.
        old: Its name.
        new: A name that no study has.
        folder: Where its files lie, if it has any.
        new_folder: Where they are to lie.

    Returns:
        Whether there was a folder to move.

    Raises:
        StudyError: If there is no such study, the new name is taken, or the study is being searched.
        StorageError: If the database fails or the folder cannot be moved; then everything is as it was.
    """
    with ExitStack() as undo, resting(store, old, "renamed") as (session, study):
        _must_be_free(store, session, new)
        if os.path.lexists(new_folder):
            raise StorageError(f"the folder {new_folder} is there already; move it away, or choose another name")
        study.name = new
        if "study" in study.config:
            study.config = {**study.config, "study": new}
        session.execute(
            sa.update(OPTUNA_STUDIES).where(OPTUNA_STUDIES.c.study_id == study.optuna_study_id).values(study_name=new)
        )
        session.flush()  # what the database refuses, it refuses before a file is touched
        moved = os.path.lexists(folder)
        if moved:
            _move(folder, new_folder)
            undo.callback(_move, new_folder, folder)
        session.commit()
        undo.pop_all()
    return moved


def delete_study(store: Store, name: str, folder: Path) -> None:
    """Delete a study, with the architectures and scores that no other study uses.

    Args:
        store: The database.
        name: Its name.
        folder: Where its files lie, if it has any. A link is removed, and not followed.

    Raises:
        StudyError: If there is no such study, or it is being searched.
        StorageError: If the database fails or the folder cannot be moved out of the way; then everything is as it was.
            Also if files are left over, which it names.
    """
    with ExitStack() as undo, resting(store, name, "deleted") as (session, study):
        doomed = _put_aside(folder, undo)
        _delete_rows(session, study)
        session.commit()
        undo.pop_all()
    if doomed is not None:
        _remove(doomed, name)


# The database.


def _study(store: Store, session: Session, name: str) -> Study:
    study = session.scalar(sa.select(Study).where(Study.name == name))
    if study is None:
        names = list(session.scalars(sa.select(Study.name).order_by(Study.id)))
        raise StudyError(f"there is no study {name!r} in {store}; {allowed(name, names) if names else 'it holds none'}")
    return study


def _must_be_free(store: Store, session: Session, name: str) -> None:
    """Optuna's tables may hold studies that are not ours."""
    for column in (STUDIES.c.name, OPTUNA_STUDIES.c.study_name):
        if session.scalar(sa.select(sa.func.count()).where(column == name)):
            raise StudyError(f"there is a study {name!r} in {store} already; choose another name")


@contextmanager
def resting(store: Store, name: str, what: str) -> Iterator[tuple[Session, Study]]:
    """Hold a study that nobody searches, so that no search of it begins before the transaction has ended.

    Args:
        store: The database.
        name: Of the study.
        what: What is to be done to it, as in "stop the search before it is deleted".

    Raises:
        StudyError: If there is no such study, or it is being searched.
    """
    busy = StudyError(f"the study {name!r} is being searched; stop the search before it is {what}")
    with store.session() as session:
        _study(store, session, name)  # a lock leaves a file behind
    with ExitStack() as stack:
        try:
            stack.enter_context(store.driving(name))
        except StudyError:
            raise busy from None
        session = stack.enter_context(store.session())
        study = _study(store, session, name)
        if store.is_shared:
            session.execute(sa.select(Study.id).where(Study.id == study.id).with_for_update())
            if lease.is_driven(session, study.id):
                raise busy
            lease.fence_silent(session, study.id)
        yield session, study


def _delete_rows(session: Session, study: Study) -> None:
    if session.get_bind().dialect.name == "postgresql":  # a search must not take up an architecture that is going
        session.execute(sa.text(f"LOCK TABLE {ARCHITECTURES.name} IN ACCESS EXCLUSIVE MODE"))
    contexts = list(session.scalars(_contexts(Evaluation.study_id == study.id)))
    for rows in (_optuna_rows(session, study), rows_of(STUDIES, STUDIES.c.id == study.id)):
        for table, condition in reversed(list(rows.items())):
            session.execute(sa.delete(table).where(condition))
    others = _contexts(sa.true())
    session.execute(sa.delete(ScoreRow).where(ScoreRow.context.in_(contexts), ScoreRow.context.not_in(others)))
    links = referring_to(ARCHITECTURES, ARCHITECTURES.metadata.sorted_tables)
    unused = [~sa.exists().where(link.parent == link.column) for link in links]
    session.execute(sa.delete(ARCHITECTURES).where(*unused))


def _optuna_rows(session: Session, study: Study) -> Mapping[sa.Table, sa.ColumnElement[bool]]:
    """A study's rows in Optuna's tables; if trials that are not ours are in it, it stays with those."""
    inside = OPTUNA_TRIALS.c.study_id == study.optuna_study_id
    ours = sa.select(Evaluation.optuna_trial_id).where(
        Evaluation.study_id == study.id, Evaluation.optuna_trial_id.is_not(None)
    )
    others = sa.select(sa.func.count()).where(inside, OPTUNA_TRIALS.c.trial_id.not_in(ours))
    if session.scalar(others):  # an earlier version took over what somebody else had made
        return rows_of(OPTUNA_TRIALS, inside & OPTUNA_TRIALS.c.trial_id.in_(ours))
    return rows_of(OPTUNA_STUDIES, OPTUNA_STUDIES.c.study_id == study.optuna_study_id)


def _contexts(condition: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """The contexts in which architectures of these evaluations have scores."""
    evaluated = sa.select(Evaluation.architecture_id).where(condition)
    return sa.select(ScoreRow.context).where(ScoreRow.architecture_id.in_(evaluated)).distinct()


# The folder.


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_symlink() or folder.is_file():
        yield folder
        return
    for parent, folders, names in os.walk(folder):
        yield from (Path(parent, name) for name in names)
        yield from (path for name in folders if (path := Path(parent, name)).is_symlink())


def _move(folder: Path, to: Path) -> None:
    try:
        folder.rename(to)
    except OSError as error:
        raise StorageError(f"the folder {folder} cannot be moved to {to}: {error.strerror}") from None


def _put_aside(folder: Path, undo: ExitStack) -> Path | None:
    """Move the folder out of the way, so that it can come back; returns where it is now, None if there was none."""
    if not os.path.lexists(folder):
        return None
    try:
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.deleted-", dir=folder.parent))
    except OSError as error:
        raise StorageError(f"the folder {folder} cannot be deleted: {error.strerror}") from None
    undo.callback(aside.rmdir)
    _move(folder, aside / folder.name)
    undo.callback(_move, aside / folder.name, folder)
    return aside


def _remove(doomed: Path, name: str) -> None:
    try:
        shutil.rmtree(doomed)  # removes links, and never follows them
    except OSError as error:
        raise StorageError(
            f"the study {name!r} is deleted, but files of it are left over in {doomed}: {error.strerror}"
        ) from None

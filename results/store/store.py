"""The studies of a database, and the content of one of them.

`Store` is a database, `StudyStore` one study in it. A process that changes a study drives it (`results.store.driver`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from results.database import optuna_tables
from results.database.connection import sqlite_file, wait_for_turn
from results.database.schema import FINAL_STATES, EpochRow, EvaluationRow, FinalistRow, Role, State, StudyRow, damaged
from results.store.driver import Driver
from results.store.lock import driver_lock
from results.store.records import Ending, EpochRecord, Facts, NewEvaluation
from results.store.scores import Scores, read_scores, write_scores
from results.store.sessions import Sessions
from search_space.architecture import Architecture
from search_space.errors import StudyError

Answer = TypeVar("Answer")


class Store(Sessions):
    """The studies of a database, and the proxy scores that they share."""

    def studies(self) -> list[StudyRow]:
        """All studies, oldest first."""
        with self.session() as session:
            return list(session.scalars(sa.select(StudyRow).order_by(StudyRow.id)))

    def names(self) -> list[str]:
        """The names of all studies, oldest first, even if their rows are damaged."""
        with self.session() as session:
            return list(session.scalars(sa.select(StudyRow.name).order_by(StudyRow.id)))

    def study(self, name: str) -> StudyStore | None:
        """The study with this name, or None."""
        row = self.read(lambda session: session.scalar(sa.select(StudyRow).where(StudyRow.name == name)))
        return None if row is None else StudyStore(self, row)

    @contextmanager
    def driving(self, name: str) -> Iterator[None]:
        """Hold the right to drive the study with this name; on SQLite only one process at a time can have it.

        Raises:
            StudyError: If another process holds it.
        """
        database = sqlite_file(self.url)
        if database is None:
            yield
            return
        with driver_lock(database, name):
            yield

    def create_study(
        self,
        name: str,
        *,
        identity: Mapping[str, Any],
        config: Mapping[str, Any],
        objectives: Mapping[str, Literal["minimize", "maximize"]],
        metric_names: Sequence[str],
        reference: Mapping[str, float] | None = None,
    ) -> StudyStore:
        """Create a study in our tables and in Optuna's; if another process was faster, its study is returned.

        Args:
            name: Name of the study.
            identity: The settings that must not change when it is continued.
            config: All settings.
            objectives: Direction ("minimize", "maximize") of every objective, in order.
            metric_names: Their names in the dashboard.
            reference: Reference point of the hypervolume; see `results.report.hypervolume.reference_point`.

        Raises:
            StudyError: If Optuna's tables have a study of this name that is not ours.
            StorageError: If these belong to another version of Optuna, or the database fails.
        """
        settings = {
            "name": name,
            "created_at": datetime.now(UTC),
            "identity": dict(identity),
            "config": dict(config),
            "objectives": list(objectives),
            "reference": None if reference is None else dict(reference),
        }
        with self.session() as session, session.begin():
            wait_for_turn(session.connection(), "creation")
            row = session.scalar(sa.select(StudyRow).where(StudyRow.name == name))
            if row is None:
                optuna_tables.prepare(session.connection(), str(self))
                if optuna_tables.has_study(session, name):
                    raise StudyError(
                        f"{self} already holds a study {name!r} of Optuna, which this program did not create; "
                        "choose another --study"
                    )
                optuna_id = optuna_tables.create_study(session, name, list(objectives.values()), metric_names)
                row = StudyRow(**settings, optuna_study_id=optuna_id)
                session.add(row)
        return StudyStore(self, row)

    # Proxy scores, shared by all studies.

    def scores(self, context: str, hashes: Iterable[str]) -> dict[str, dict[str, tuple[float | None, float]]]:
        """The known scores: value and seconds, by hash and proxy.

        Args:
            context: Hash of everything that scores depend on besides the architecture; see
                `results.database.schema.ScoreRow`.
            hashes: Hashes of the architectures; those without scores are left out.
        """
        wanted = list(hashes)
        return self.read(lambda session: read_scores(session, context, wanted))

    def put_scores(self, context: str, scores: Mapping[Architecture, Scores]) -> None:
        """Store scores; known scores stay unchanged."""

        def write() -> None:
            with self.session() as session, session.begin():
                write_scores(session, context, scores)

        self.with_retries(write)


class StudyStore:
    """One study of a database.

    Attributes:
        row: Its row.
    """

    def __init__(self, store: Store, row: StudyRow) -> None:
        self.store = store
        self.row = row

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.row.name

    @property
    def is_shared(self) -> bool:
        """Whether several processes may drive it at the same time."""
        return self.store.is_shared

    # Reading.

    def evaluations(self, role: Role | None = None) -> list[EvaluationRow]:
        """All evaluations in order of start."""
        query = sa.select(EvaluationRow).where(EvaluationRow.study_id == self.row.id).order_by(EvaluationRow.id)
        rows = self.read(lambda session: list(session.scalars(query)))
        return [row for row in rows if role in (None, row.role)]  # selected here, so that a damaged role is noticed

    def curves(self, role: Role = Role.TRIAL) -> dict[str, list[EpochRow]]:
        """The learning curves by key."""
        query = (
            sa.select(EvaluationRow.key, EpochRow)
            .join(EpochRow, EpochRow.evaluation_id == EvaluationRow.id)
            .where(EvaluationRow.study_id == self.row.id, EvaluationRow.role == role)
            .order_by(EvaluationRow.id, EpochRow.epoch)
        )
        curves: dict[str, list[EpochRow]] = {}
        for key, epoch in self.read(lambda session: session.execute(query).all()):
            curves.setdefault(key, []).append(epoch)
        return curves

    def seconds_per_epoch(self) -> float:
        """Mean wall time of the epochs of all trials; 0 if there are none."""
        query = (
            sa.select(sa.func.avg(EpochRow.seconds))
            .join(EvaluationRow, EvaluationRow.id == EpochRow.evaluation_id)
            .where(EvaluationRow.study_id == self.row.id, EvaluationRow.role == Role.TRIAL)
        )
        return float(self.read(lambda session: session.scalar(query)) or 0.0)

    def finalists(self) -> list[FinalistRow]:
        """All finalists, the winner first, those without a rank last."""
        query = sa.select(FinalistRow).where(FinalistRow.study_id == self.row.id)
        trials = sa.select(EvaluationRow.number).where(
            EvaluationRow.study_id == self.row.id,
            EvaluationRow.role == Role.TRIAL,
            EvaluationRow.number.in_(sa.select(FinalistRow.number).where(FinalistRow.study_id == self.row.id)),
        )
        rows, numbers = self.read(lambda session: (session.scalars(query).all(), set(session.scalars(trials))))
        for row in rows:
            if row.number not in numbers:
                raise damaged(row.__tablename__, f"id {row.id}", "number", f"the study has no trial {row.number}")
        return sorted(rows, key=lambda row: (row.rank is None, row.rank, row.number))

    def update_config(self, config: Mapping[str, Any]) -> None:
        """Store the settings of the latest run."""
        self.row.config = dict(config)

        def write() -> None:
            with self.store.session() as session, session.begin():
                session.execute(sa.update(StudyRow).where(StudyRow.id == self.row.id).values(config=dict(config)))

        self.store.with_retries(write)

    def drive(self) -> Driver:
        """Become a driver of the study; on SQLite the lock of `Store.driving` must be held."""
        return Driver(self.store, self.row)

    def read(self, act: Callable[[Session], Answer]) -> Answer:
        """Read something, as soon as the database can be reached."""
        return self.store.read(act)


__all__ = ["FINAL_STATES", "Ending", "EpochRecord", "Facts", "NewEvaluation", "Role", "State", "Store", "StudyStore"]

"""A database of searches, and what it holds.

`Store` is a database, `StudyStore` one study in it; whoever wants to change a study drives it (`results.store.driver`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from results.database.cells import translated
from results.database.connection import open_engine, shown, sqlite_file, sqlite_url, wait_for_turn
from results.database.retry import is_away, patiently
from results.database.schema import FINAL_STATES, EpochRow, EvaluationRow, FinalistRow, Role, State, StudyRow, damaged
from results.store.lock import driver_lock
from results.store.records import Ending, EpochRecord, Facts, NewEvaluation
from results.store.scores import Scores, read_scores, write_scores
from search_space.architecture import Architecture
from search_space.errors import StorageError, StudyError

if TYPE_CHECKING:
    from results.store.driver import Driver

Answer = TypeVar("Answer")


class Store:
    """A database of searches.

    Args:
        url: A SQLite or PostgreSQL URL.
        create: Whether a missing database may be created.

    Attributes:
        on_wait: Called with a sentence while the database is away.
        at_close: Called before the connections are closed.

    Raises:
        StorageError: If it cannot be used.
    """

    def __init__(self, url: str, *, create: bool = True) -> None:
        self.url = url
        self.engine = open_engine(url, create=create)
        self.on_wait: Callable[[str], None] = lambda _: None
        self.at_close: list[Callable[[], None]] = []
        self._reached_since = time.monotonic()
        self._given_up = False

    def __str__(self) -> str:
        return shown(self.url)

    def close(self) -> None:
        """Close all connections."""
        for stop in self.at_close:
            stop()
        self.engine.dispose()

    def check(self) -> None:
        """See that the database is still where it was opened.

        Raises:
            StorageError: If it is a SQLite file that was deleted or replaced.
        """
        if not self.is_shared:
            with self.engine.connect():
                pass

    def session(self) -> Session:
        """A session whose database errors are ours."""
        return _FailingClearly(self.engine, expire_on_commit=False)

    def patiently(self, act: Callable[[], Answer]) -> Answer:
        """Do something any number of times, until the database is not away; see `results.database.retry`.

        Raises:
            StorageError: If it fails for another reason, or was away for too long, now or before.
            KeyboardInterrupt: On Ctrl-C and SIGTERM, while it waits; it does not wait again after that.
        """

        def note(sentence: str) -> None:
            self.note_absence()
            self.on_wait(sentence)

        if self._given_up:
            return act()
        try:
            return patiently(act, note)
        except KeyboardInterrupt:
            self._given_up = True
            raise
        except StorageError as error:
            self._given_up = is_away(error.__cause__)
            raise

    def note_absence(self) -> None:
        """Take note that the database could not be reached."""
        self._reached_since = time.monotonic()

    @property
    def seconds_reached(self) -> float:
        """For how long it has been reached without a break."""
        return time.monotonic() - self._reached_since

    def studies(self) -> list[StudyRow]:
        """All studies, oldest first."""
        with self.session() as session:
            return list(session.scalars(sa.select(StudyRow).order_by(StudyRow.id)))

    def names(self) -> list[str]:
        """The names of all studies, oldest first, whatever state their rows are in."""
        with self.session() as session:
            return list(session.scalars(sa.select(StudyRow.name).order_by(StudyRow.id)))

    def study(self, name: str) -> StudyStore | None:
        """The study of this name, or None."""

        def read() -> StudyRow | None:
            with self.session() as session:
                return session.scalar(sa.select(StudyRow).where(StudyRow.name == name))

        row = self.patiently(read)
        return None if row is None else StudyStore(self, row)

    @property
    def place(self) -> str:
        """Its URL without a password, and the same by whatever path a SQLite file is named."""
        file = sqlite_file(self.url)
        return shown(self.url) if file is None else sqlite_url(file)

    @property
    def is_shared(self) -> bool:
        """Whether several processes may drive one study."""
        return self.engine.dialect.name == "postgresql"

    @contextmanager
    def driving(self, name: str) -> Iterator[None]:
        """Hold the right to drive the study of this name: on SQLite one process at a time may have it.

        Raises:
            StudyError: If another process has it.
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
        """Create a study in our tables and in Optuna's; where another process was quicker, its study is returned.

        Args:
            name: Of the study.
            identity: What must not change when it is continued.
            config: All settings.
            objectives: Direction ("minimize", "maximize") of every objective, in order.
            metric_names: What the dashboard calls them.
            reference: Reference point of the hypervolume; see `results.report.hypervolume.reference_point`.

        Raises:
            StudyError: If Optuna's tables have a study of this name that is not ours.
            StorageError: If they are of another version of Optuna, or the database fails.
        """
        from results.database import optuna_tables

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
                        f"{self} holds a study {name!r} of Optuna already, which this program did not make; "
                        "choose another --study"
                    )
                optuna_id = optuna_tables.create_study(session, name, list(objectives.values()), metric_names)
                row = StudyRow(**settings, optuna_study_id=optuna_id)
                session.add(row)
        return StudyStore(self, row)

    # Scores of proxies, for all studies.

    def scores(self, context: str, hashes: Iterable[str]) -> dict[str, dict[str, tuple[float | None, float]]]:
        """Value and seconds of every proxy that is known, by hash and proxy.

        Args:
            context: Hash of all that scores depend on besides the architecture; see `results.database.schema.ScoreRow`.
            hashes: Of the architectures; those without scores are left out.
        """
        wanted = list(hashes)

        def read() -> dict[str, dict[str, tuple[float | None, float]]]:
            with self.session() as session:
                return read_scores(session, context, wanted)

        return self.patiently(read)

    def put_scores(self, context: str, scores: Mapping[Architecture, Scores]) -> None:
        """Keep scores; those that are known already stay as they are."""

        def write() -> None:
            with self.session() as session, session.begin():
                write_scores(session, context, scores)

        self.patiently(write)


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
        """All evaluations in the order they were started."""
        query = sa.select(EvaluationRow).where(EvaluationRow.study_id == self.row.id).order_by(EvaluationRow.id)
        rows = self.read(lambda session: list(session.scalars(query)))
        return [row for row in rows if role in (None, row.role)]  # one whose role is damaged is not overlooked

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
        """All finalists, the winner first, unranked ones last."""
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
        """Keep the settings of the newest run."""
        self.row.config = dict(config)

        def write() -> None:
            with self.store.session() as session, session.begin():
                session.execute(sa.update(StudyRow).where(StudyRow.id == self.row.id).values(config=dict(config)))

        self.store.patiently(write)

    def drive(self) -> Driver:
        """Take part in the study; on SQLite the lock of `Store.driving` has to be held."""
        from results.store.driver import Driver

        return Driver(self)

    def read(self, act: Callable[[Session], Answer]) -> Answer:
        """Read something, once the database can be reached."""

        def read() -> Answer:
            with self.store.session() as session:
                return act(session)

        return self.store.patiently(read)


class _FailingClearly(Session):
    """A session whose database errors are ours."""

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        super().__exit__(kind, error, trace)
        damage = translated(error, self.get_bind().engine)
        if damage is not None:
            raise damage from error
        if isinstance(error, SQLAlchemyError):
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise StorageError(f"the database {shown(str(self.get_bind().engine.url))} failed: {reason}") from error


__all__ = ["FINAL_STATES", "Ending", "EpochRecord", "Facts", "NewEvaluation", "Role", "State", "Store", "StudyStore"]

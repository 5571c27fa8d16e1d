"""Writing: every step of a search is one transaction over our tables and Optuna's.

`Store` is a database, `StudyStore` one study in it. Only the driver of a search writes; workers never open it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from results.architectures import architecture_ids
from results.database import open_engine, shown
from results.lock import driver_lock
from results.records import Ending, EpochRecord, Facts, NewEvaluation
from results.schema import FINAL_STATES, Epoch, Evaluation, Finalist, Role, State, Study
from results.scores import Scores, read_scores, write_scores
from search_space.architecture import Architecture
from search_space.errors import StorageError
from search_space.space import Axis


class Store:
    """A database of searches.

    Args:
        url: A SQLite or PostgreSQL URL.
        create: Whether a missing database may be created.

    Raises:
        StorageError: If it cannot be used.
    """

    def __init__(self, url: str, *, create: bool = True) -> None:
        self.url = url
        self.engine = open_engine(url, create=create)

    def __str__(self) -> str:
        return shown(self.url)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def session(self) -> Session:
        """A session whose database errors are ours."""
        return _FailingClearly(self.engine, expire_on_commit=False)

    def studies(self) -> list[Study]:
        """All studies, oldest first."""
        with self.session() as session:
            return list(session.scalars(sa.select(Study).order_by(Study.id)))

    def study(self, name: str) -> StudyStore | None:
        """The study of this name, or None."""
        with self.session() as session:
            row = session.scalar(sa.select(Study).where(Study.name == name))
        return None if row is None else StudyStore(self, row)

    @contextmanager
    def driving(self, name: str) -> Iterator[None]:
        """Hold the right to drive the study of this name, which one process at a time may have.

        Raises:
            StudyError: If another process has it.
        """
        with driver_lock(self.engine, name):
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
        """Create a study in our tables and in Optuna's.

        Args:
            name: A name that no study has yet.
            identity: What must not change when it is continued.
            config: All settings.
            objectives: Direction ("minimize", "maximize") of every objective, in order.
            metric_names: What the dashboard calls them.
            reference: Reference point of the hypervolume; see `results.hypervolume.reference_point`.
        """
        from results import optuna_tables

        optuna_id = optuna_tables.create_study(self.engine, name, list(objectives.values()), metric_names)
        row = Study(
            name=name,
            optuna_study_id=optuna_id,
            created_at=datetime.now(UTC),
            identity=dict(identity),
            config=dict(config),
            objectives=list(objectives),
            reference=None if reference is None else dict(reference),
        )
        with self.session() as session, session.begin():
            session.add(row)
        return StudyStore(self, row)

    # Scores of proxies, for all studies.

    def scores(self, context: str, hashes: Iterable[str]) -> dict[str, dict[str, tuple[float | None, float]]]:
        """Value and seconds of every proxy that is known, by hash and proxy.

        Args:
            context: Hash of all that scores depend on besides the architecture; see `results.schema.ScoreRow`.
            hashes: Of the architectures; those without scores are left out.
        """
        with self.session() as session:
            return read_scores(session, context, hashes)

    def put_scores(self, context: str, scores: Mapping[Architecture, Scores]) -> None:
        """Keep scores; those that are known already stay as they are."""
        with self.session() as session, session.begin():
            write_scores(session, context, scores)


class StudyStore:
    """One study of a database.

    Attributes:
        row: Its row.
    """

    def __init__(self, store: Store, row: Study) -> None:
        self.store = store
        self.row = row
        self._ids: dict[str, tuple[int, int | None]] = {}

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.row.name

    # Reading.

    def evaluations(self, role: Role | None = None) -> list[Evaluation]:
        """All evaluations in the order they were started."""
        query = sa.select(Evaluation).where(Evaluation.study_id == self.row.id).order_by(Evaluation.id)
        if role is not None:
            query = query.where(Evaluation.role == role)
        with self._session() as session:
            return list(session.scalars(query))

    def curves(self, role: Role = Role.TRIAL) -> dict[str, list[Epoch]]:
        """The learning curves by key."""
        query = (
            sa.select(Evaluation.key, Epoch)
            .join(Epoch, Epoch.evaluation_id == Evaluation.id)
            .where(Evaluation.study_id == self.row.id, Evaluation.role == role)
            .order_by(Evaluation.id, Epoch.epoch)
        )
        curves: dict[str, list[Epoch]] = {}
        with self._session() as session:
            for key, epoch in session.execute(query):
                curves.setdefault(key, []).append(epoch)
        return curves

    def seconds_per_epoch(self) -> float:
        """Mean wall time of the epochs of all trials and finalists; 0 if there are none."""
        query = (
            sa.select(sa.func.avg(Epoch.seconds))
            .join(Evaluation, Evaluation.id == Epoch.evaluation_id)
            .where(Evaluation.study_id == self.row.id, Evaluation.role.in_((Role.TRIAL, Role.FINALIST)))
        )
        with self._session() as session:
            return float(session.scalar(query) or 0.0)

    def finalists(self) -> list[Finalist]:
        """All finalists, the winner first, unranked ones last."""
        query = sa.select(Finalist).where(Finalist.study_id == self.row.id)
        with self._session() as session:
            rows = list(session.scalars(query))
        return sorted(rows, key=lambda row: (row.rank is None, row.rank, row.number))

    # Writing: each is one transaction.

    def update_config(self, config: Mapping[str, Any]) -> None:
        """Keep the settings of the newest run."""
        self.row.config = dict(config)
        with self._session() as session, session.begin():
            session.execute(sa.update(Study).where(Study.id == self.row.id).values(config=dict(config)))

    def start(self, new: NewEvaluation, axes: Mapping[str, Axis]) -> None:
        """Enter an evaluation as RUNNING; a trial enters Optuna's tables too."""
        from results import optuna_tables

        with self._session() as session, session.begin():
            row = Evaluation(
                study_id=self.row.id,
                architecture_id=_architecture_id(session, new.architecture),
                key=new.key,
                role=new.role,
                number=new.number,
                origin=new.origin,
                stage=new.stage,
                choices=dict(new.choices),
                state=State.RUNNING,
                seed=new.seed,
                epochs_planned=new.epochs_planned,
                started_at=datetime.now(UTC),
            )
            if new.role == Role.TRIAL:
                row.optuna_trial_id = optuna_tables.insert_trial(
                    session, self.row.optuna_study_id, new.number, new.choices, axes, new.attrs
                )
            session.add(row)
            session.flush()
            self._ids[new.key] = (row.id, row.optuna_trial_id)

    def set_pending(
        self, key: str, state: State, *, seconds: float = 0.0, died: bool = False, facts: Facts | None = None
    ) -> None:
        """Make an evaluation QUEUED (it was interrupted), PAUSED (it was stopped at a rung) or RUNNING (it goes on).

        Args:
            key: Which.
            state: QUEUED, PAUSED or RUNNING.
            seconds: Compute to add to its account.
            died: Whether its process died, which counts as an attempt.
            facts: What is known of it by now; None for nothing new.
        """
        from optuna.trial import TrialState

        from results import optuna_tables

        evaluation_id, trial_id = self._id(key)
        changes: dict[str, Any] = {
            "state": state,
            "seconds": Evaluation.seconds + seconds,
            "attempts": Evaluation.attempts + int(died),
            "cause": None,
            "message": None,
            **(facts or Facts()).columns(),
        }
        with self._session() as session, session.begin():
            session.execute(sa.update(Evaluation).where(Evaluation.id == evaluation_id).values(changes))
            if trial_id is not None:
                mirrored = TrialState.RUNNING if state == State.RUNNING else TrialState.WAITING
                optuna_tables.set_state(session, trial_id, mirrored)

    def add_repeated(self, key: str, epochs: int) -> None:
        """Count epochs that were computed a second time, because they were lost with a process."""
        evaluation_id, _ = self._id(key)
        with self._session() as session, session.begin():
            session.execute(
                sa.update(Evaluation)
                .where(Evaluation.id == evaluation_id)
                .values(epochs_run=Evaluation.epochs_run + epochs)
            )

    def add_epochs(self, key: str, epochs: Sequence[EpochRecord], quality: Mapping[int, float]) -> None:
        """Add epochs that are not stored yet.

        Args:
            key: Of which evaluation.
            epochs: The epochs.
            quality: Value of the first objective after each of them; empty to keep it out of Optuna's tables.
        """
        from results import optuna_tables

        evaluation_id, trial_id = self._id(key)
        rows = [{"evaluation_id": evaluation_id, **vars(epoch)} for epoch in epochs]
        last = max(epochs, key=lambda epoch: epoch.epoch)
        with self._session() as session, session.begin():
            session.execute(sa.insert(Epoch), rows)
            session.execute(
                sa.update(Evaluation)
                .where(Evaluation.id == evaluation_id)
                .values(
                    epochs_trained=last.epoch,
                    epochs_run=Evaluation.epochs_run + len(epochs),
                    nll=last.nll,
                    accuracy=last.accuracy,
                )
            )
            if trial_id is not None:
                optuna_tables.add_intermediate_values(session, trial_id, quality)

    def finish(self, key: str, ending: Ending) -> None:
        """Bring an evaluation to its final state."""
        from optuna.trial import TrialState

        from results import optuna_tables

        evaluation_id, trial_id = self._id(key)
        with self._session() as session, session.begin():
            session.execute(
                sa.update(Evaluation)
                .where(Evaluation.id == evaluation_id)
                .values(
                    state=ending.state,
                    cause=ending.cause,
                    message=None if ending.message is None else ending.message.replace("\0", ""),
                    seconds=Evaluation.seconds + ending.seconds,
                    finished_at=datetime.now(UTC),
                    **ending.columns(),
                )
            )
            if trial_id is not None:
                optuna_tables.set_user_attrs(session, trial_id, ending.attrs)
                mirrored = TrialState.FAIL if ending.state == State.FAILED else TrialState[ending.state]
                optuna_tables.set_state(session, trial_id, mirrored, ending.values)

    def put_finalist(self, number: int, architecture: Architecture, seeds: int, **figures: Any) -> None:
        """Create or update a finalist; `figures` are columns of `results.schema.Finalist`."""
        with self._session() as session, session.begin():
            row = session.scalar(sa.select(Finalist).where(Finalist.study_id == self.row.id, Finalist.number == number))
            if row is None:
                architecture_id = _architecture_id(session, architecture)
                row = Finalist(study_id=self.row.id, architecture_id=architecture_id, number=number)
                session.add(row)
            row.seeds = seeds
            for name, value in figures.items():
                setattr(row, name, value)

    # Inside.

    def _session(self) -> Session:
        return self.store.session()

    def _id(self, key: str) -> tuple[int, int | None]:
        if key not in self._ids:
            query = sa.select(Evaluation.id, Evaluation.optuna_trial_id).where(
                Evaluation.study_id == self.row.id, Evaluation.key == key
            )
            with self._session() as session:
                found = session.execute(query).one()
            self._ids[key] = (found[0], found[1])
        return self._ids[key]


def _architecture_id(session: Session, architecture: Architecture) -> int:
    return architecture_ids(session, [architecture])[architecture.hash]


class _FailingClearly(Session):
    """A session whose database errors are ours."""

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        super().__exit__(kind, error, trace)
        if isinstance(error, SQLAlchemyError):
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise StorageError(f"the database {shown(str(self.get_bind().engine.url))} failed: {reason}") from error


__all__ = ["FINAL_STATES", "Ending", "EpochRecord", "Facts", "NewEvaluation", "Role", "State", "Store", "StudyStore"]

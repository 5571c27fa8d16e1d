"""Writing: every step of a search is one transaction on our tables and Optuna's, under the lease of its driver.

Only drivers write; workers never open the database. Several drivers may work on one study: each sees what the others
have changed (`Driver.changes`). A change to a row that another driver has changed meanwhile raises `Outdated`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from results.database import optuna_tables
from results.database.objective import QUALITY_FIGURES
from results.database.schema import FINAL_STATES, EpochRow, EvaluationRow, FinalistRow, Role, State, StudyRow, damaged
from results.store.architectures import architecture_ids
from results.store.changes import Changes, read_changes
from results.store.lease import Lease, Outdated, changed
from results.store.records import Ending, EpochRecord, Facts, NewEvaluation
from results.store.sessions import Sessions
from search_space.architecture import Architecture
from search_space.space import Axis, Range

Answer = TypeVar("Answer")


@dataclass
class _Row:
    """An evaluation's ids, and its last revision known to this driver."""

    id: int
    trial_id: int | None
    revision: int


class Driver:
    """This process as a driver of a study.

    Args:
        store: The database.
        study: The study's row.

    Raises:
        StorageError: If Optuna's tables have lost it.
    """

    def __init__(self, store: Sessions, study: StudyRow) -> None:
        self._store, self._study = store, study
        if store.read(lambda session: optuna_tables.has_lost(session, study.id)):
            reason = f"Optuna's tables have no study {study.optuna_study_id} of this name"
            raise damaged(study.__tablename__, f"id {study.id} ({study.name!r})", "optuna_study_id", reason)
        self._rows: dict[str, _Row] = {}
        self._seen, self._decisions = -1, -1
        self._lease = Lease(store, study.id, study.name, alone=not store.is_shared)

    def leave(self, tidy_up: Callable[[set[str]], object] = lambda unfinished: None) -> None:
        """Give the lease back.

        Args:
            tidy_up: Called with the keys of all unfinished evaluations, while no driver can start anything.
        """
        unfinished = sa.select(EvaluationRow.key).where(
            EvaluationRow.study_id == self._study.id, EvaluationRow.state.not_in(FINAL_STATES)
        )
        self._lease.end(lambda session: tidy_up(set(session.scalars(unfinished))))

    def take_over(self) -> int:
        """Take over the evaluations of dead drivers: the next changes have them as RUNNING without a driver.

        Returns:
            The number of other drivers working on the study.
        """
        return self._lease.take_over()

    def changes(self) -> Changes:
        """Changes by others since the last call; everything on the first call."""
        self._seen, self._decisions, changes = self._store.read(
            lambda session: read_changes(session, self._study.id, self._seen, self._lease.id)
        )
        for row in changes.evaluations:
            self._rows[row.key] = _Row(row.id, row.optuna_trial_id, row.revision)
        return changes

    # Writing: each method is one transaction, and raises Outdated if a row has changed since this driver read it.

    def start(self, new: NewEvaluation, axes: Mapping[str, Axis | Range]) -> None:
        """Insert an evaluation as RUNNING; a trial is also inserted into Optuna's tables."""

        def act(session: Session, revision: int) -> _Row:
            if new.role == Role.TRIAL:
                self._withdraw_winner(session)
            return self._insert(session, new, axes, State.RUNNING, revision)

        self._rows[new.key] = self._write(act, decides=True)

    def enqueue(self, news: Iterable[NewEvaluation], axes: Mapping[str, Axis | Range]) -> None:
        """Insert evaluations as QUEUED, for the first driver that takes them."""
        wanted = list(news)

        def act(session: Session, revision: int) -> list[_Row]:
            return [self._insert(session, new, axes, State.QUEUED, revision) for new in wanted]

        for new, row in zip(wanted, self._write(act, decides=True), strict=True):
            self._rows[new.key] = row

    def set_pending(
        self, key: str, state: State, *, seconds: float = 0.0, died: bool = False, facts: Facts | None = None
    ) -> None:
        """Make an evaluation QUEUED (it was interrupted), PAUSED (it was stopped at a rung) or RUNNING (it is resumed).

        Args:
            key: Key of the evaluation.
            state: QUEUED, PAUSED or RUNNING.
            seconds: Compute time to add.
            died: Whether its worker process died, which counts as an attempt.
            facts: Measurements so far; None for nothing new.
        """
        changes: dict[str, Any] = {
            "state": state,
            "driver_id": self._lease.id if state == State.RUNNING else None,
            "seconds": EvaluationRow.seconds + seconds,
            "attempts": EvaluationRow.attempts + int(died),
            "cause": None,
            "message": None,
            **(facts or Facts()).columns(),
        }

        def act(session: Session, row: _Row) -> None:
            if row.trial_id is not None:
                optuna_tables.set_state(session, row.trial_id, optuna_tables.MIRRORED[state])
                if state == State.RUNNING:
                    self._withdraw_winner(session)

        self._change(key, changes, act, decides=state == State.RUNNING)

    def add_repeated(self, key: str, epochs: int) -> None:
        """Count epochs that were computed again after they were lost with a process."""
        self._change(key, {"epochs_run": EvaluationRow.epochs_run + epochs})

    def add_epochs(self, key: str, epochs: Sequence[EpochRecord], quality: Mapping[int, float]) -> None:
        """Add epochs that are not stored yet.

        Args:
            key: Key of the evaluation.
            epochs: The epochs.
            quality: Value of the first objective after each of them; empty to keep them out of Optuna's tables.
        """
        last = max(epochs, key=lambda epoch: epoch.epoch)
        changes = {
            "epochs_trained": last.epoch,
            "epochs_run": EvaluationRow.epochs_run + len(epochs),
            **{name: getattr(last, name) for name in QUALITY_FIGURES},
        }

        def act(session: Session, row: _Row) -> None:
            session.execute(sa.insert(EpochRow), [{"evaluation_id": row.id, **vars(epoch)} for epoch in epochs])
            if row.trial_id is not None:
                optuna_tables.add_intermediate_values(session, row.trial_id, quality)

        self._change(key, changes, act)

    def finish(self, key: str, ending: Ending) -> None:
        """Set the final state of an evaluation."""
        changes = {
            "state": ending.state,
            "cause": ending.cause,
            "message": None if ending.message is None else ending.message.replace("\0", ""),
            "seconds": EvaluationRow.seconds + ending.seconds,
            "finished_at": datetime.now(UTC),
            **ending.columns(),
        }

        def act(session: Session, row: _Row) -> None:
            if row.trial_id is not None:
                optuna_tables.set_user_attrs(session, row.trial_id, ending.attrs)
                mirrored = optuna_tables.MIRRORED[ending.state]
                optuna_tables.set_state(session, row.trial_id, mirrored, ending.values)

        self._change(key, changes, act)

    def train_again(self, key: str, waiting: str, seconds: float) -> None:
        """Queue a finished training to run again from its start, and the evaluation that needs its weights.

        Its epochs are deleted, but still count as computed.

        Args:
            key: Key of the training.
            waiting: Key of the evaluation that needs its weights.
            seconds: Compute time to add to that evaluation.
        """
        reset: dict[str, Any] = {
            "attempts": EvaluationRow.attempts + 1,
            "epochs_trained": 0,
            "finished_at": None,
            "weights_sha256": None,
        }
        reset |= dict.fromkeys(QUALITY_FIGURES)
        changes = {key: reset, waiting: {"seconds": EvaluationRow.seconds + seconds}}
        queued = {"state": State.QUEUED, "driver_id": None, "cause": None, "message": None}

        def act(session: Session, revision: int) -> int:
            for name, columns in changes.items():
                self._update(session, name, {**columns, **queued}, revision)
            session.execute(sa.delete(EpochRow).where(EpochRow.evaluation_id == self._rows[key].id))
            return revision

        revision = self._write(act)
        for name in changes:
            self._rows[name].revision = revision

    def decide(self) -> None:
        """Count a decision that changes no row, such as promoting a training at a rung without a pause."""
        self._write(lambda session, revision: None, decides=True)

    def put_finalist(self, number: int, architecture: Architecture, seeds: int, **figures: Any) -> None:
        """Create or update a finalist; `figures` are columns of `results.database.schema.FinalistRow`."""
        self.put_finalists([(number, architecture, {"seeds": seeds, **figures})])

    def put_finalists(self, finalists: Sequence[tuple[int, Architecture, Mapping[str, Any]]]) -> None:
        """Create or update finalists: their numbers, and columns of `results.database.schema.FinalistRow`."""
        study_id = self._study.id

        def act(session: Session, revision: int) -> None:
            rows = session.scalars(sa.select(FinalistRow).where(FinalistRow.study_id == study_id))
            known = {row.number: row for row in rows}
            for number, architecture, figures in finalists:
                row = known.get(number)
                if row is None:
                    architecture_id = _architecture_id(session, architecture)
                    row = FinalistRow(study_id=study_id, architecture_id=architecture_id, number=number)
                    session.add(row)
                for name, value in figures.items():
                    setattr(row, name, value)

        self._write(act, decides=True)

    # Inside.

    def _withdraw_winner(self, session: Session) -> None:
        """Delete the winner of a search that had ended without finalists, now that it continues."""
        unfounded = FinalistRow.study_id == self._study.id, FinalistRow.seeds == 0
        session.execute(sa.delete(FinalistRow).where(*unfounded))

    def _write(self, act: Callable[[Session, int], Answer], *, decides: bool = False) -> Answer:
        answer, revision = self._lease.write(act, decisions=self._decisions if decides else None)
        self._decisions += decides
        if revision == self._seen + 1:  # no other driver has written since
            self._seen = revision
        return answer

    def _change(
        self,
        key: str,
        changes: Mapping[str, Any],
        act: Callable[[Session, _Row], None] = lambda session, row: None,
        *,
        decides: bool = False,
    ) -> None:
        """Change the row of an evaluation, and other rows with it, unless it has changed since this driver read it."""
        known = self._rows[key]

        def change(session: Session, revision: int) -> int:
            self._update(session, key, changes, revision)
            act(session, known)
            return revision

        known.revision = self._write(change, decides=decides)

    def _update(self, session: Session, key: str, changes: Mapping[str, Any], revision: int) -> None:
        known = self._rows[key]
        same = sa.and_(EvaluationRow.id == known.id, EvaluationRow.revision == known.revision)
        if not changed(session, sa.update(EvaluationRow).where(same).values({**changes, "revision": revision})):
            raise Outdated

    def _insert(
        self, session: Session, new: NewEvaluation, axes: Mapping[str, Axis | Range], state: State, revision: int
    ) -> _Row:
        row = EvaluationRow(
            study_id=self._study.id,
            architecture_id=_architecture_id(session, new.architecture),
            key=new.key,
            role=new.role,
            number=new.number,
            origin=new.origin,
            phase=new.phase,
            choices=dict(new.choices),
            state=state,
            seed=new.seed,
            epochs_planned=new.epochs_planned,
            started_at=datetime.now(UTC),
            driver_id=self._lease.id if state == State.RUNNING else None,
            revision=revision,
        )
        if new.role == Role.TRIAL:
            row.optuna_trial_id = optuna_tables.insert_trial(
                session, self._study.optuna_study_id, new.number, new.choices, axes, new.attrs
            )
        session.add(row)
        session.flush()
        return _Row(row.id, row.optuna_trial_id, revision)


def _architecture_id(session: Session, architecture: Architecture) -> int:
    return architecture_ids(session, [architecture])[architecture.hash]


__all__ = ["FINAL_STATES", "Changes", "Driver", "Outdated"]

"""The right to change a study: a lease that a driver renews, and that expires when it is not renewed.

Every change is a transaction under the lease, with three guarantees whatever fails:

    once     A driver counts its transactions in its own row. If the connection breaks during a commit, the count says
             whether the transaction was committed; if not, it is repeated.
    fenced   A driver that others have declared lost, because it did not renew its lease for `LEASE_S`, cannot change
             anything any more: its evaluations may run elsewhere by now.
    ordered  Transactions on one study follow each other, and number its `revision`. So drivers see each other's
             changes completely; and a driver starts something only if it has seen everything that was started before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from results.database.schema import DriverRow, DriverState, EvaluationRow, State, StudyRow
from results.store.process import is_gone, this_process
from results.store.sessions import Sessions
from search_space.errors import LeaseLost, StorageError, StudyError

LEASE_S = 60.0
"""A driver that has not renewed its lease for this long counts as lost. Arbitrary: four renewals."""

Answer = TypeVar("Answer")


class Outdated(Exception):
    """Another driver has changed what a decision was based on: read the study again, and decide again."""


class Lease:
    """The lease of this process on a study.

    Args:
        store: The database.
        study_id: The study.
        name: Its name.
        alone: Whether no other driver can work on it, because this process holds the lock of a SQLite database.

    Raises:
        StudyError: If the study has just been renamed or deleted.
    """

    def __init__(self, store: Sessions, study_id: int, name: str, *, alone: bool) -> None:
        self._store, self._study_id, self._name, self._alone = store, study_id, name, alone
        self._operations = 0
        self.id = store.with_retries(self._begin)
        self._ended = threading.Event()
        self._renewal = threading.Thread(target=self._keep_renewing, name=f"lease-{self.id}", daemon=True)
        store.at_close.append(self._stop_renewing)
        self._renewal.start()

    def _begin(self) -> int:
        host, process = this_process()
        with self._store.session() as session, session.begin():
            study = sa.select(StudyRow.id).where(StudyRow.id == self._study_id, StudyRow.name == self._name)
            if session.scalar(study.with_for_update(read=True)) is None:
                raise StudyError(f"the study {self._name!r} was renamed or deleted meanwhile")
            row = DriverRow(
                study_id=self._study_id,
                host=host,
                process=process,
                state=DriverState.ALIVE,
                operations=0,
                heard_at=session.scalars(sa.select(_clock(session))).one(),
            )
            session.add(row)
        return row.id

    def write(self, act: Callable[[Session, int], Answer], *, decisions: int | None = None) -> tuple[Answer, int]:
        """Change the study in one transaction, exactly once.

        Args:
            act: Called with the session and the study's new revision.
            decisions: If the transaction starts something: the number of decisions known to the driver.

        Returns:
            The result of `act`, and the revision.

        Raises:
            LeaseLost: If other drivers have taken over.
            Outdated: If there were other decisions meanwhile; nothing is changed in that case.
        """
        number = self._operations + 1
        made: list[tuple[Answer, int]] = []

        def attempt() -> None:
            with self._store.session() as session, session.begin():
                if not self._count(session, number):
                    return
                revision = self._next_revision(session, decisions)
                made[:] = [(act(session, revision), revision)]

        self._store.with_retries(attempt)
        self._operations = number
        # Otherwise this count is from an earlier transaction, which was committed although no reply was received.
        return made[0] if made else self.write(act, decisions=decisions)

    def take_over(self) -> int:
        """Declare dead drivers lost; their evaluations then have no driver.

        Returns:
            The number of other drivers that are working.
        """
        others = self._others()
        gone = {row.id: row.heard_at for row, age in others if self._is_lost(row, age)}
        if not gone:
            return len(others)

        def declare_lost(session: Session, revision: int) -> int:
            lost = []
            for driver, heard_at in gone.items():  # unless it has renewed its lease meanwhile
                still = sa.update(DriverRow).where(
                    DriverRow.id == driver, DriverRow.state == DriverState.ALIVE, DriverRow.heard_at == heard_at
                )
                if changed(session, still.values(state=DriverState.LOST)):
                    lost.append(driver)
            _orphan(session, lost, revision)
            return len(lost)

        return len(others) - self.write(declare_lost)[0]

    def end(self, last: Callable[[Session], object]) -> None:
        """Give the lease back after a last action; no evaluation counts as running here any more."""

        def act(session: Session, revision: int) -> None:
            last(session)
            _orphan(session, [self.id], revision)
            session.execute(sa.update(DriverRow).where(DriverRow.id == self.id).values(state=DriverState.ENDED))

        if not self._ended.is_set():
            self._stop_renewing()
            with suppress(LeaseLost, StorageError):  # in that case it expires
                self.write(act)

    def _stop_renewing(self) -> None:
        """Stop renewing it."""
        self._ended.set()
        self._renewal.join()

    def _others(self) -> list[tuple[DriverRow, float]]:
        """The other drivers that count as alive, and the seconds since they renewed their leases."""

        def read() -> list[tuple[DriverRow, float]]:
            with self._store.session() as session:
                return [(row, age) for row, age in _counted_alive(session, self._study_id) if row.id != self.id]

        return self._store.with_retries(read)

    def _is_lost(self, row: DriverRow, age: float) -> bool:
        if self._alone or is_gone(row.host, row.process):
            return True
        # After the database was unavailable, all drivers need a moment to renew their leases.
        return age > LEASE_S and self._store.seconds_reached > LEASE_S

    def _count(self, session: Session, number: int) -> bool:
        """Count a transaction; False if it was already committed."""
        mine = sa.update(DriverRow).where(
            DriverRow.id == self.id, DriverRow.state == DriverState.ALIVE, DriverRow.operations == number - 1
        )
        if changed(session, mine.values(operations=number, heard_at=_clock(session))):
            return True
        row = session.get(DriverRow, self.id)
        if row is None or row.state != DriverState.ALIVE:
            raise LeaseLost(
                f"this process did not renew its lease for {LEASE_S:g} s, and others took over its evaluations; "
                "the same command continues the study"
            )
        return False

    def _next_revision(self, session: Session, decisions: int | None) -> int:
        change = sa.update(StudyRow).where(StudyRow.id == self._study_id)
        if decisions is not None:
            change = change.where(StudyRow.decisions == decisions).values(decisions=decisions + 1)
        raised = session.scalars(
            change.values(revision=StudyRow.revision + 1).returning(StudyRow.revision)
        ).one_or_none()
        if raised is None:
            raise Outdated
        return raised

    def _keep_renewing(self) -> None:
        """Renew the lease in a thread of its own, since the driver may be busy for a long time."""
        while not self._ended.wait(LEASE_S / 4):
            try:
                with self._store.session() as session, session.begin():
                    change = sa.update(DriverRow).where(DriverRow.id == self.id)
                    session.execute(change.values(heard_at=_clock(session)))
            except StorageError:
                self._store.note_absence()


def is_driven(session: Session, study_id: int) -> bool:
    """Whether a process that seems alive has a lease on the study."""
    return any(_is_heard(row, age) for row, age in _counted_alive(session, study_id))


def fence_silent(session: Session, study_id: int) -> None:
    """Declare all silent drivers lost; if one of them returns, it cannot change anything."""
    silent = [row.id for row, age in _counted_alive(session, study_id) if not _is_heard(row, age)]
    session.execute(sa.update(DriverRow).where(DriverRow.id.in_(silent)).values(state=DriverState.LOST))
    raised = sa.update(StudyRow).where(StudyRow.id == study_id).values(revision=StudyRow.revision + 1)
    _orphan(session, silent, session.scalars(raised.returning(StudyRow.revision)).one())


def _is_heard(row: DriverRow, age: float) -> bool:
    return age <= LEASE_S and not is_gone(row.host, row.process)


def _orphan(session: Session, drivers: Sequence[int], revision: int) -> None:
    """Detach the evaluations of these drivers: they stay RUNNING, without a driver."""
    session.execute(
        sa.update(EvaluationRow)
        .where(EvaluationRow.driver_id.in_(drivers), EvaluationRow.state == State.RUNNING)
        .values(driver_id=None, revision=revision)
    )


def _counted_alive(session: Session, study_id: int) -> list[tuple[DriverRow, float]]:
    """The drivers of a study that were not declared lost, and the seconds since they renewed their leases."""
    query = sa.select(DriverRow, _clock(session) - DriverRow.heard_at).where(
        DriverRow.study_id == study_id, DriverRow.state == DriverState.ALIVE
    )
    return [(row, float(age)) for row, age in session.execute(query)]


def changed(session: Session, statement: sa.Update) -> int:
    """The number of rows that an update changed."""
    return cast("sa.CursorResult[Any]", session.execute(statement)).rowcount


def _clock(session: Session) -> sa.ColumnElement[float]:
    """The database's clock, which all drivers share, in seconds since 1970."""
    sqlite = session.get_bind().dialect.name == "sqlite"
    now = "(julianday('now') - 2440587.5) * 86400.0" if sqlite else "extract(epoch FROM clock_timestamp())"
    return sa.literal_column(f"({now})", sa.Double)

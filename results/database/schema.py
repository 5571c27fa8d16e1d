"""Our tables. They are in the same database as Optuna's, with names that begin with ``nas_``.

    nas_studies        a search: its space, its settings, its Optuna study
    nas_drivers        the processes that drive a study, or did
    nas_architectures  every distinct architecture, over all studies
    nas_evaluations    what a study spent compute on: a trial, a finalist's training, a test, a batch of proxies
    nas_epochs         the learning curve of every evaluation
    nas_finalists      the architectures that were retrained with several seeds, their means, and which one has won
    nas_scores         scores of architectures by training-free proxies, over all studies

Change a table only together with a new migration in `results/database/migrations/versions/`.
"""

from __future__ import annotations

import enum
import secrets
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Double, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from search_space.causes import counts_towards_budget
from search_space.errors import StorageError
from search_space.space import mixers_of


class State(enum.StrEnum):
    """State of an evaluation. QUEUED, RUNNING and PAUSED become one of the other three, which are final."""

    QUEUED = "QUEUED"  # waiting to run, or to run again after an interruption
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"  # stopped at a rung with its checkpoint kept: it may be resumed
    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"  # stopped by the pruner; its figures are from its last epoch
    FAILED = "FAILED"


FINAL_STATES = (State.COMPLETE, State.PRUNED, State.FAILED)


class DriverState(enum.StrEnum):
    """State of a driver. ALIVE becomes one of the others, which are final: a driver never reuses its old row."""

    ALIVE = "ALIVE"
    ENDED = "ENDED"
    LOST = "LOST"  # did not renew its lease for too long; others have taken over its evaluations


class Role(enum.StrEnum):
    """The purpose of an evaluation."""

    TRIAL = "trial"
    FINALIST = "finalist"
    TEST = "test"
    PROXIES = "proxies"


def utc(time: datetime) -> datetime:
    """A time from the database in UTC: SQLite returns it without its zone, PostgreSQL in that of the session."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


class Base(DeclarativeBase):
    """Base of our tables."""

    type_annotation_map = {dict[str, Any]: JSON, list[str]: JSON, float: Double}  # noqa: RUF012 (SQLAlchemy reads it from the class)


class StudyRow(Base):
    """A search.

    Attributes:
        uid: 32 hexadecimal digits, unique to the study even after a rename or a copy to another database; they mark its
            files.
        optuna_study_id: The study with the same name in Optuna's tables.
        identity: The settings that must not change when the study is continued (space, data, objectives, limits,
            recipe, seed).
        config: All settings of the last run.
        reference: Reference point of the hypervolume by objective; null with one objective, or without a reference
            point.
        revision: Incremented by every transaction on the study, which serialises them; see `results.store.lease`.
        decisions: Incremented by transactions that start something, so that two drivers never decide from the same
            state.
    """

    __tablename__ = "nas_studies"
    __table_args__ = (Index("uq_nas_studies_uid", "uid", unique=True),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    uid: Mapped[str] = mapped_column(String(32), default=lambda: secrets.token_hex(16), server_default=text("''"))
    optuna_study_id: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    identity: Mapped[dict[str, Any]]
    config: Mapped[dict[str, Any]]
    objectives: Mapped[list[str]]
    reference: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    revision: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    decisions: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))


class DriverRow(Base):
    """A process that drives a study.

    Attributes:
        host: The host it runs on; `process` identifies it there, even after a reboot.
        operations: Number of its transactions; after a broken connection it says whether the last one was committed.
        heard_at: When it last renewed its lease, by the database's clock, in seconds since 1970.
    """

    __tablename__ = "nas_drivers"
    __table_args__ = (Index("ix_nas_drivers_study_state", "study_id", "state"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("nas_studies.id"))
    host: Mapped[str] = mapped_column(String(200))
    process: Mapped[str] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(16))
    operations: Mapped[int] = mapped_column(BigInteger, default=0)
    heard_at: Mapped[float]


def damaged(table: str, key: object, column: str, reason: str) -> StorageError:
    """The error to raise for an invalid cell."""
    return StorageError(f"the database is damaged: {table}, {key}, {column}: {reason}; nas db check lists all damage")


class ArchitectureRow(Base):
    """A distinct architecture."""

    __tablename__ = "nas_architectures"

    id: Mapped[int] = mapped_column(primary_key=True)
    hash: Mapped[str] = mapped_column(String(32), unique=True)
    yaml: Mapped[str] = mapped_column(Text)
    params: Mapped[int] = mapped_column(BigInteger)
    macs: Mapped[int] = mapped_column(BigInteger)


class EvaluationRow(Base):
    """One training or test of an architecture, or the scoring of a batch of architectures by proxies.

    Attributes:
        architecture_id: The architecture; for proxies the first of the batch.
        key: Unique in the study: ``trial-0012``, ``finalist-0012-seed-1``, ``test-0012-seed-1``, ``proxies-0003``.
        number: Number of the trial; finalists and tests have that of their trial, proxies a number of their own.
        origin: What proposed it: ``family:vit`` or the name of a sampler.
        phase: The phase of the search that proposed it, such as ``families``, ``startup`` or ``model``; empty if the
            strategy has a single phase. The column is called ``stage``, as in earlier versions.
        choices: The architecture's parameters in the space.
        cause: Typed cause of a failure.
        nll: Validation NLL in nats after the last epoch (test NLL where the role is "test").
        accuracy: Accuracy after the last epoch, 0 to 1; balanced_accuracy, macro_f1 and calibration_error likewise,
            null if they were not measured.
        latency_ms: Median latency of one image; `latency` says where and how it was measured, and has its quartiles.
        micro_batch: Images that went through the model at once in training; fewer than a batch if memory was short.
        seconds: Compute time of all attempts.
        epochs_planned: Epochs of the full training; 0 for proxies.
        epochs_run: Epochs computed, including those that were lost and computed again.
        attempts: 1 plus the number of times its worker process died, or its weights were lost before they were tested.
        weights_sha256: Digest of the file of its weights; null if it has none, or an older version wrote them.
        optuna_trial_id: The trial in Optuna's tables; null unless the role is "trial".
        driver_id: The driver that runs it, or last ran it; null if it waits for a driver.
        revision: The study's revision when it was last changed.
    """

    __tablename__ = "nas_evaluations"
    __table_args__ = (
        UniqueConstraint("study_id", "key", name="uq_nas_evaluations_study_key"),
        Index("ix_nas_evaluations_study_state", "study_id", "state"),
        Index("ix_nas_evaluations_study_revision", "study_id", "revision"),
        Index(  # no architecture is a trial twice: drivers avoid it, and the database enforces it
            "uq_nas_evaluations_trials",
            "study_id",
            "architecture_id",
            unique=True,
            sqlite_where=text("role = 'trial'"),
            postgresql_where=text("role = 'trial'"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("nas_studies.id"))
    architecture_id: Mapped[int] = mapped_column(ForeignKey("nas_architectures.id"), index=True)
    key: Mapped[str] = mapped_column(String(64))
    role: Mapped[str] = mapped_column(String(16))
    number: Mapped[int]
    origin: Mapped[str] = mapped_column(String(64))
    phase: Mapped[str] = mapped_column("stage", String(32), default="", server_default=text("''"))
    choices: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(16))
    cause: Mapped[str | None] = mapped_column(String(32))
    message: Mapped[str | None] = mapped_column(Text)
    seed: Mapped[int] = mapped_column(BigInteger)
    epochs_planned: Mapped[int]
    epochs_trained: Mapped[int] = mapped_column(default=0)
    epochs_run: Mapped[int] = mapped_column(default=0)
    nll: Mapped[float | None]
    accuracy: Mapped[float | None]
    balanced_accuracy: Mapped[float | None]
    macro_f1: Mapped[float | None]
    calibration_error: Mapped[float | None]
    latency_ms: Mapped[float | None]
    latency: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    peak_memory_mib: Mapped[float | None]
    micro_batch: Mapped[int | None]
    seconds: Mapped[float] = mapped_column(default=0.0)
    attempts: Mapped[int] = mapped_column(default=1)
    device: Mapped[str] = mapped_column(String(200), default="")
    versions: Mapped[dict[str, Any]] = mapped_column(default=dict)
    started_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    weights_sha256: Mapped[str | None] = mapped_column(String(64))
    optuna_trial_id: Mapped[int | None]
    driver_id: Mapped[int | None] = mapped_column(ForeignKey("nas_drivers.id"))
    revision: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))

    architecture_row: Mapped[ArchitectureRow | None] = relationship(lazy="joined")

    @property
    def architecture(self) -> ArchitectureRow:
        """The evaluated architecture.

        Raises:
            StorageError: If the database has lost it.
        """
        return _found(self, self.key)

    @property
    def is_evaluated(self) -> bool:
        """Whether it is a trial that has ended and counts towards the budget."""
        return self.role == Role.TRIAL and self.state in FINAL_STATES and counts_towards_budget(self.cause)

    @property
    def quality(self) -> tuple[float, float]:
        """NLL and accuracy of a complete evaluation.

        Raises:
            StorageError: If it lacks one of them.
        """
        if self.nll is None or self.accuracy is None:
            column = "nll" if self.nll is None else "accuracy"
            raise damaged(self.__tablename__, f"id {self.id} ({self.key})", column, "it is missing")
        return self.nll, self.accuracy

    @property
    def mixers(self) -> str:
        """The token mixers of the stages.

        Raises:
            StorageError: If its choices do not say.
        """
        if not self.choices:
            raise damaged(self.__tablename__, f"id {self.id} ({self.key})", "choices", "they are missing")
        return mixers_of(self.choices)


class EpochRow(Base):
    """One epoch of an evaluation."""

    __tablename__ = "nas_epochs"

    evaluation_id: Mapped[int] = mapped_column(ForeignKey("nas_evaluations.id"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    train_loss: Mapped[float]
    nll: Mapped[float]
    accuracy: Mapped[float]
    seconds: Mapped[float]
    balanced_accuracy: Mapped[float | None]
    macro_f1: Mapped[float | None]
    calibration_error: Mapped[float | None]


class FinalistRow(Base):
    """An architecture retrained in full with several seeds; or the winner of a search without finalists.

    Attributes:
        number: Number of its trial.
        seeds: Number of seeds in its means; 0 for a winner that was not retrained, which has no means.
        rank: 1 for the winner; null until all finalists are trained.
        mean_nll: Mean validation NLL over the seeds; sd_nll its sample standard deviation (null for one seed). The
            other means likewise; null if not all seeds were measured.
        test_nll: Mean test NLL over the seeds; only for winners. The other test figures likewise.
    """

    __tablename__ = "nas_finalists"
    __table_args__ = (UniqueConstraint("study_id", "number", name="uq_nas_finalists_study_number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("nas_studies.id"))
    architecture_id: Mapped[int] = mapped_column(ForeignKey("nas_architectures.id"))
    number: Mapped[int]
    seeds: Mapped[int]
    rank: Mapped[int | None]
    mean_nll: Mapped[float | None]
    sd_nll: Mapped[float | None]
    mean_accuracy: Mapped[float | None]
    test_nll: Mapped[float | None]
    test_accuracy: Mapped[float | None]
    mean_balanced_accuracy: Mapped[float | None]
    mean_macro_f1: Mapped[float | None]
    mean_calibration_error: Mapped[float | None]
    test_balanced_accuracy: Mapped[float | None]
    test_macro_f1: Mapped[float | None]
    test_calibration_error: Mapped[float | None]

    architecture_row: Mapped[ArchitectureRow | None] = relationship(lazy="joined")

    @property
    def architecture(self) -> ArchitectureRow:
        """The retrained architecture.

        Raises:
            StorageError: If the database has lost it.
        """
        return _found(self, f"number {self.number}")


class ScoreRow(Base):
    """The score of an architecture by a proxy, which is the same in every study with the same context.

    Attributes:
        context: Hash of everything that a score depends on besides architecture and proxy: images, seed, recipe,
            version.
        value: Higher is better; null if the proxy cannot be computed.
        seconds: Compute time that it took.
    """

    __tablename__ = "nas_scores"

    context: Mapped[str] = mapped_column(String(64), primary_key=True)
    architecture_id: Mapped[int] = mapped_column(ForeignKey("nas_architectures.id"), primary_key=True)
    proxy: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[float | None]
    seconds: Mapped[float]


def _found(row: EvaluationRow | FinalistRow, name: str) -> ArchitectureRow:
    """The architecture that a row refers to."""
    if row.architecture_row is None:
        reason = f"nas_architectures has no id {row.architecture_id}"
        raise damaged(row.__tablename__, f"id {row.id} ({name})", "architecture_id", reason)
    return row.architecture_row

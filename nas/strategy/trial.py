"""An evaluation as a running search remembers it."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from dataclasses import replace
from functools import cached_property

from nas.strategy.features import family_of
from results.database.schema import EpochRow, EvaluationRow
from results.report.objectives import Figures, Objective
from results.store.store import EpochRecord, NewEvaluation, Role, State
from runners.protocol import Latency, Measured
from search_space.architecture import Architecture
from search_space.space.space import mixers_of


class Trial:
    """An evaluation as the search remembers it.

    Attributes:
        architecture: What is evaluated.
        stage: Which part of the strategy proposed it.
        losses: The first objective after each epoch, turned so that less is better.
        epochs_run: Epochs computed, those that were lost and computed again included.
        passed: Rungs from which it was let go on.
        is_orphan: Whether no driver had it when it was last seen in the database.
        unbilled: Seconds of the epochs of this attempt, for the account in case that it has no proper end.
    """

    def __init__(self, row: NewEvaluation | EvaluationRow, architecture: Architecture) -> None:
        self.key, self.role, self.number, self.seed = row.key, Role(row.role), row.number, row.seed
        self.origin, self.stage, self.choices = row.origin, row.phase, dict(row.choices)
        self.architecture = architecture
        self.state = State.RUNNING
        self.cause: str | None = None
        self.is_orphan = False
        self.attempts = 1
        self.seconds = 0.0
        self.unbilled = 0.0
        self.measured = Measured()
        self.epochs: list[EpochRecord] = []
        self.losses: dict[int, float] = {}
        self.epochs_run = 0
        self.passed: set[int] = set()

    def update(self, row: EvaluationRow, curve: Iterable[EpochRow], quality: Objective) -> None:
        """Take over what the database has.

        Args:
            row: The evaluation.
            curve: Its epochs; those that are known already are left as they are.
            quality: The first objective.
        """
        self.state, self.cause, self.attempts = State(row.state), row.cause, row.attempts
        self.is_orphan = row.driver_id is None
        self.seconds, self.unbilled, self.epochs_run = row.seconds, 0.0, row.epochs_run
        latency = Latency(**row.latency) if row.latency else None
        self.measured = Measured(
            row.latency_ms,
            row.peak_memory_mib,
            row.device,
            latency=latency,
            micro_batch=row.micro_batch,
            weights_sha256=row.weights_sha256,
        )
        if row.epochs_trained < self.epoch:  # it is trained again
            self.forget()
        for epoch in curve:
            if epoch.epoch > self.epoch:
                self.epochs.append(EpochRecord(epoch.epoch, epoch.train_loss, epoch.nll, epoch.accuracy, epoch.seconds))
                self.losses[epoch.epoch] = quality.loss(self.figures)

    def copy(self) -> Trial:
        """The same evaluation, to be continued elsewhere."""
        twin = copy(self)
        twin.epochs, twin.losses, twin.passed = list(self.epochs), dict(self.losses), set(self.passed)
        return twin

    def forget(self) -> None:
        """Forget what it came to: it is trained again, from the start."""
        self.epochs, self.losses = [], {}
        self.measured = replace(self.measured, weights_sha256=None)

    @property
    def epoch(self) -> int:
        """How far it was trained."""
        return self.epochs[-1].epoch if self.epochs else 0

    @property
    def is_telling(self) -> bool:
        """Whether its curve tells something of how it will end: it has come to a rung, or to its end.

        The first epochs of a training that runs beside others would mislead; see `nas.strategy.pruners`.
        """
        return bool(self.losses) and (self.state not in (State.RUNNING, State.QUEUED) or bool(self.passed))

    @property
    def figures(self) -> Figures:
        """What its last epoch came to."""
        last = self.epochs[-1]
        cost = self.architecture.deployed.cost
        measured = self.measured
        return Figures(
            last.nll,
            last.accuracy,
            cost.params,
            cost.macs,
            measured.latency_ms,
            measured.peak_memory_mib,
            measured.device,
        )

    @property
    def mixers(self) -> str:
        """The token mixers of its stages."""
        return mixers_of(self.choices)

    @cached_property
    def family(self) -> str:
        """The token mixer of most of its blocks; see `nas.strategy.features.family_of`."""
        return family_of(self.architecture)

"""An evaluation in the memory of a running search."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import fields, replace
from functools import cached_property
from statistics import median

from nas.strategy.features import family_of
from nas.strategy.problem import Goal
from results.database.objectives import QUALITY_FIGURES, Figures, Objective
from results.database.schema import EpochRow, EvaluationRow, damaged
from results.store.store import EpochRecord, NewEvaluation, Role, State
from runners.protocol import INFEASIBLE_CAUSES, EpochResult, Latency, Measured
from search_space.architecture import Architecture
from search_space.space import mixers_of


def record_of(epoch: EpochResult | EpochRow) -> EpochRecord:
    """An epoch as it is stored: as an evaluator yields it, or as it was read."""
    return EpochRecord(**{field.name: getattr(epoch, field.name) for field in fields(EpochRecord)})


class Trial:
    """An evaluation in the memory of a running search.

    Attributes:
        architecture: What is evaluated.
        phase: The phase of the search that started it; see `nas.strategy.planner`.
        losses: The first objective after each epoch, turned so that less is better.
        epochs_run: Epochs computed, including those that were lost and computed again.
        passed: Rungs from which it was promoted.
        is_orphan: Whether no driver was running it when the database was last read.
        unbilled: Seconds of the epochs of this attempt, which count if it ends without an outcome.
    """

    def __init__(self, row: NewEvaluation | EvaluationRow, architecture: Architecture) -> None:
        self.key, self.role, self.number, self.seed = row.key, Role(row.role), row.number, row.seed
        self.origin, self.phase, self.choices = row.origin, row.phase, dict(row.choices)
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
        """Update it from the database.

        Args:
            row: The evaluation.
            curve: Its epochs; known ones are skipped.
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
                self.epochs.append(record_of(epoch))
                if quality.read(self.figures) is None:
                    key = f"evaluation {row.id} ({row.key}), epoch {epoch.epoch}"
                    raise damaged(
                        "nas_epochs", key, quality.name, "it is missing, though it is what the study optimises"
                    )
                self.losses[epoch.epoch] = quality.loss(self.figures)

    def copy(self) -> Trial:
        """Return an independent copy."""
        twin = copy(self)
        twin.epochs, twin.losses, twin.passed = list(self.epochs), dict(self.losses), set(self.passed)
        return twin

    def forget(self) -> None:
        """Forget its results: it is trained again, from the start."""
        self.epochs, self.losses = [], {}
        self.measured = replace(self.measured, weights_sha256=None)

    @property
    def epoch(self) -> int:
        """The last epoch; 0 if there is none."""
        return self.epochs[-1].epoch if self.epochs else 0

    @property
    def is_complete(self) -> bool:
        """Whether it was trained to its end."""
        return self.state == State.COMPLETE

    @property
    def is_infeasible(self) -> bool:
        """Whether it can never be trained to its end."""
        return self.cause in INFEASIBLE_CAUSES

    @property
    def is_informative(self) -> bool:
        """Whether its curve is long enough to extrapolate: it has reached a rung or its end.

        The first epochs of a running training would mislead; see `nas.strategy.pruners`.
        """
        return bool(self.losses) and (self.state not in (State.RUNNING, State.QUEUED) or bool(self.passed))

    @property
    def epoch_seconds(self) -> float:
        """Median seconds of an epoch; 0 if they are not known."""
        return median(epoch.seconds for epoch in self.epochs) if self.epochs else 0.0

    def train_loss(self, epoch: int) -> float:
        """The training loss of an epoch."""
        return self.epochs[epoch - 1].train_loss

    def costs(self, objectives: Sequence[Goal]) -> list[float]:
        """Its losses by objectives other than the first."""
        return [objective.loss(self.figures) for objective in objectives]

    @property
    def figures(self) -> Figures:
        """The results of its last epoch."""
        return self.figures_after(self.epochs[-1])

    def figures_after(self, epoch: EpochRecord) -> Figures:
        """The results of an epoch."""
        cost = self.architecture.deployed.cost
        measured = self.measured
        return Figures(
            **{name: getattr(epoch, name) for name in QUALITY_FIGURES},
            params=cost.params,
            macs=cost.macs,
            latency_ms=measured.latency_ms,
            peak_memory_mib=measured.peak_memory_mib,
            device=measured.device,
        )

    @property
    def mixers(self) -> str:
        """The token mixers of its stages."""
        return mixers_of(self.choices)

    @cached_property
    def family(self) -> str:
        """The token mixer of most of its blocks; see `nas.strategy.features.family_of`."""
        return family_of(self.architecture)

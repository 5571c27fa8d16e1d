"""What a search spends, in full-training equivalents (FTE): the one definition, for limits, reports and the bench.

    FTE = epochs / epochs of a full training + seconds of scoring / seconds of a full training

epochs
    All epochs that trials and finalists computed, whatever their outcome: epochs of pruned and failed trials count, and
    so do epochs that were lost and computed a second time.
seconds of scoring
    The time that training-free proxies took. They compute no epochs, so their seconds are compared with those of a full
    training in the same study: the mean time of its trials' epochs, times the epochs of a full training. Until an epoch
    has been timed, scoring counts as nothing.

Tests and latency measurements neither train nor score: they count 0, and the report lists their seconds.

Why epochs and not seconds: a limit in epochs is reached at the same trial on a loaded laptop and on a cluster, and
whether a training still fits is known before it starts. Tests come after the last decision, and the seconds of a
latency measurement depend only on the machine: if they counted, a search could neither keep a limit exactly nor be
repeated. Only trials define the seconds of an epoch, so the cost of scoring is fixed once the last trial has ended.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from results.database.schema import Role

TRAINED = frozenset({Role.TRIAL, Role.FINALIST})
"""The roles whose epochs count."""
SCORED = frozenset({Role.PROXIES})
"""The roles whose seconds count."""


class Evaluation(Protocol):
    """The required interface of an evaluation, whether a database row or an object of the search."""

    @property
    def role(self) -> str:
        """Its `Role`."""

    @property
    def seconds(self) -> float:
        """Compute time of all attempts."""

    @property
    def epochs_run(self) -> int:
        """Epochs computed, including those that were lost and computed again."""


class Timed(Protocol):
    """An epoch with its duration."""

    @property
    def seconds(self) -> float:
        """Its wall time."""


@dataclass(frozen=True)
class FullTraining:
    """The unit: one full training of a study.

    Attributes:
        epochs: Number of its epochs.
        seconds: Its wall time; 0 while unknown.
    """

    epochs: int
    seconds: float = 0.0

    def equivalents(self, epochs: int, scoring_s: float = 0.0) -> float:
        """FTE of epochs of training and seconds of scoring."""
        trained = epochs / self.epochs if epochs else 0.0
        return trained + (scoring_s / self.seconds if self.seconds else 0.0)

    def of(self, evaluations: Iterable[Evaluation]) -> float:
        """FTE of these evaluations."""
        chosen = list(evaluations)
        epochs = sum(one.epochs_run for one in chosen if one.role in TRAINED)
        return self.equivalents(epochs, sum(one.seconds for one in chosen if one.role in SCORED))


class Compute:
    """Counts what a search spends while it runs; the total equals `FullTraining.of` all its evaluations.

    Example:
        >>> compute = Compute(full_epochs=8)
        >>> compute.run(trial, epochs=2)
        >>> compute.fte
        0.25

    Args:
        full_epochs: Epochs of a full training.
        full_seconds: Seconds of a full training, if known in advance; by default those measured in this search.
    """

    def __init__(self, full_epochs: int, full_seconds: float | None = None) -> None:
        self._full_epochs, self._full_seconds = full_epochs, full_seconds
        self._epochs = 0
        self._timed, self._seconds = 0, 0.0
        self._scorings: list[Evaluation] = []

    @property
    def fte(self) -> float:
        """The compute spent so far."""
        return self.full_training.equivalents(self._epochs, sum(one.seconds for one in self._scorings))

    @property
    def full_training(self) -> FullTraining:
        """The unit, from the epochs timed so far."""
        if self._full_seconds is not None:
            return FullTraining(self._full_epochs, self._full_seconds)
        mean = self._seconds / self._timed if self._timed else 0.0
        return FullTraining(self._full_epochs, mean * self._full_epochs)

    @property
    def scorings(self) -> int:
        """Number of batches that proxies have scored or are scoring."""
        return len(self._scorings)

    def score(self, batch: Evaluation) -> None:
        """Count a batch that is scored by proxies; its seconds are read when they are needed."""
        self._scorings.append(batch)

    def run(self, trial: Evaluation, epochs: int) -> None:
        """Count computed epochs, whether or not they are new."""
        if trial.role in TRAINED:
            self._epochs += epochs

    def time(self, trial: Evaluation, epoch: Timed) -> None:
        """Use the time of a new epoch to estimate the time of a full training."""
        if trial.role == Role.TRIAL:
            self._timed += 1
            self._seconds += epoch.seconds

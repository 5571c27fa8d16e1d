"""The compute that a search has spent, in full-training equivalents."""

from __future__ import annotations

from nas.strategy.trial import Trial
from results.database.schema import Role
from results.store.store import EpochRecord


class Compute:
    """Counts epochs, and the seconds of what trains nothing.

    Args:
        full_epochs: Epochs of a full training.
    """

    def __init__(self, full_epochs: int) -> None:
        self._full_epochs = full_epochs
        self._run = 0  # by trials and finalists, those that were lost and computed again included
        self._timed, self._seconds = 0, 0.0  # of trials
        self._scorings: list[Trial] = []

    @property
    def scorings(self) -> int:
        """How many batches have been scored by proxies, or are."""
        return len(self._scorings)

    @property
    def fte(self) -> float:
        """Epochs over those of a full training; proxies by their seconds over those of a full training in this study.

        Tests train nothing.
        """
        seconds = sum(trial.seconds for trial in self._scorings)
        worth = seconds / self._seconds * self._timed if self._seconds else 0.0
        return (self._run + worth) / self._full_epochs

    def score(self, trial: Trial) -> None:
        """Take a batch of proxies into account."""
        self._scorings.append(trial)

    def run(self, trial: Trial, epochs: int) -> None:
        """Take epochs into account that were computed, whether they are new or not."""
        self._run += epochs * (trial.role != Role.TEST)

    def time(self, trial: Trial, epoch: EpochRecord) -> None:
        """Take an epoch into account for what a full training takes."""
        if trial.role == Role.TRIAL:
            self._timed += 1
            self._seconds += epoch.seconds

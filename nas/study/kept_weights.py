"""The best complete trials: their weights are kept for export, the files of all others are deleted."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence

from nas.strategy.trial import Trial
from nas.study.protocols import Files
from results.database.objectives import Objective
from results.database.schema import State
from results.report.pareto import pareto_front

KEPT_WEIGHTS = 10
"""Number of trials whose weights are kept, in addition to those on the Pareto front; arbitrary."""


class BestTrials:
    """The best trials so far; deletes the files of the others.

    Args:
        objectives: The objectives of the study, the quality first.
        folder: Where the files are.
    """

    def __init__(self, objectives: Sequence[Objective], folder: Files) -> None:
        self._objectives, self._folder = objectives, folder
        self._kept: list[tuple[float, int, Trial]] = []  # sorted by loss and number

    @property
    def best(self) -> Trial | None:
        """The trial with the best quality; None if none is complete."""
        return self._kept[0][2] if self._kept else None

    @property
    def trials(self) -> list[Trial]:
        """The trials whose weights are kept, by number."""
        return sorted((trial for _, _, trial in self._kept), key=lambda trial: trial.number)

    def add(self, trial: Trial) -> None:
        """Add a trial that has ended, and delete the files of those no longer among the best."""
        if trial.state != State.COMPLETE:
            self._folder.discard(trial.key)
            return
        insort(self._kept, (self._objectives[0].loss(trial.figures), trial.number, trial))
        kept = set(range(min(KEPT_WEIGHTS, len(self._kept))))
        if len(self._objectives) > 1:  # the user may export any of these
            kept |= set(pareto_front([self._losses(entry[2]) for entry in self._kept]))
        for index, (_, _, beaten) in enumerate(self._kept):
            if index not in kept:
                self._folder.discard(beaten.key)
        self._kept = [self._kept[index] for index in sorted(kept)]

    def _losses(self, trial: Trial) -> list[float]:
        return [objective.loss(trial.figures) for objective in self._objectives]

"""The best complete trials, whose weights are kept for export; the files of all others go."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence

from nas.strategy.trial import Trial
from nas.study.protocols import Files
from results.database.schema import State
from results.report.objectives import Objective
from results.report.pareto import pareto_front

KEPT_WEIGHTS = 10
"""How many there are; with several objectives, those of the Pareto front besides."""


class BestTrials:
    """Keeps the files of the best.

    Args:
        objectives: Of the study, the quality first.
        folder: Where the files lie.
    """

    def __init__(self, objectives: Sequence[Objective], folder: Files) -> None:
        self._objectives, self._folder = objectives, folder
        self._kept: list[tuple[float, int, Trial]] = []  # loss and number, by which they are ordered

    @property
    def best(self) -> Trial | None:
        """The one with the best quality; None before the first."""
        return self._kept[0][2] if self._kept else None

    def add(self, trial: Trial) -> None:
        """Take in a trial that has ended: its files stay if it is one of the best."""
        if trial.state != State.COMPLETE:
            self._folder.discard(trial.key)
            return
        insort(self._kept, (self._objectives[0].loss(trial.figures), trial.number, trial))
        kept = set(range(min(KEPT_WEIGHTS, len(self._kept))))
        if len(self._objectives) > 1:  # any point of the front may be wanted
            kept |= set(pareto_front([self._losses(entry[2]) for entry in self._kept]))
        for index, (_, _, beaten) in enumerate(self._kept):
            if index not in kept:
                self._folder.discard(beaten.key)
        self._kept = [self._kept[index] for index in sorted(kept)]

    def _losses(self, trial: Trial) -> list[float]:
        return [objective.loss(trial.figures) for objective in self._objectives]

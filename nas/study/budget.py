"""What a search may still spend: trials (``--budget``) and compute (``--max-fte``), with some kept for finalists."""

from __future__ import annotations

from nas.config import SearchConfig
from nas.strategy.planner import Planner
from nas.strategy.trial import Trial
from nas.study.evaluations import Evaluations
from results.database.schema import Role
from search_space.causes import counts_towards_budget

FINALISTS = 3
"""Number of finalists by default; arbitrary."""
RESERVE = 1 / 4
"""Largest share of a limit on compute that finalists get by default; arbitrary."""
_ROUNDING = 1e-9


def planned_finalists(finalists: int | None, max_fte: float | None, seeds: int) -> int:
    """Return the number of finalists: fewer if compute is short, and none rather than one.

    Args:
        finalists: The number in the settings; None to derive it from the compute.
        max_fte: The limit on compute, in full-training equivalents; None for no limit.
        seeds: Trainings of each finalist.
    """
    if finalists is not None:
        return finalists
    if max_fte is None:
        return FINALISTS
    affordable = int(RESERVE * max_fte / seeds)
    return 0 if affordable < 2 else min(FINALISTS, affordable)


class Budget:
    """The limits of a search, and what is left.

    Args:
        config: The settings.
        epochs: Epochs of a full training.
        book: All evaluations.
        planner: Knows the next rung of every running trial.

    Attributes:
        max_fte: The limit on compute, in full-training equivalents; None for no limit.
    """

    def __init__(self, config: SearchConfig, epochs: int, book: Evaluations, planner: Planner) -> None:
        self._config, self._epochs, self._book, self._planner = config, epochs, book, planner
        self.max_fte = config.max_fte

    @property
    def spent(self) -> int:
        """Trials that count towards the budget: all except those rejected as too slow."""
        return sum(counts_towards_budget(trial.cause) for trial in self._book.searched)

    @property
    def fte(self) -> float:
        """Compute spent so far, in full-training equivalents."""
        return self._book.compute.fte

    @property
    def finalists(self) -> int:
        """Number of finalists."""
        return planned_finalists(self._config.finalists, self.max_fte, self._config.seeds)

    @property
    def reserve(self) -> float:
        """Compute reserved for the finalists, in full-training equivalents."""
        return float(self.finalists * self._config.seeds)

    def can_start(self) -> bool:
        """Whether the budget allows a new trial, and the compute all of its epochs."""
        return self.spent < self._config.budget and self._affordable(1.0)

    def can_resume(self, trial: Trial) -> bool:
        """Whether there is compute for the rest of a trial's epochs."""
        return self._affordable(1.0 - trial.epoch / self._epochs, excluding=trial)

    @property
    def has_compute_to_use_up(self) -> bool:
        """Whether compute, not the budget, ends the trials: then waiting trials may use up the rest of it."""
        return self.max_fte is not None and (self._planner.exhausted or self.spent < self._config.budget)

    def _affordable(self, fte: float, excluding: Trial | None = None) -> bool:
        """Whether this much compute is left, after that of the finalists and of running trials except `excluding`.

        A running trial is expected to need the epochs until its next rung.
        """
        if self.max_fte is None:
            return True
        running = sum(
            min([rung for rung in self._planner.rungs(trial) if rung > trial.epoch], default=self._epochs) - trial.epoch
            for trial in self._book.pending
            if trial.role == Role.TRIAL and trial is not excluding
        )
        return fte <= self.max_fte - self.reserve - self.fte - running / self._epochs + _ROUNDING

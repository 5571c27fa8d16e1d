"""When going on would only spend the budget on failures."""

from __future__ import annotations

from collections.abc import Iterable

from nas.trial import Trial
from results.schema import State
from runners.base import INFEASIBLE_CAUSES, Cause
from search_space.errors import RunnerError, SpaceError

MAX_TOO_SLOW = 50
"""Architectures in a row that may exceed the limit on latency before the search gives up."""
MAX_BROKEN = 5
"""Evaluations in a row that may fail for reasons outside the architecture before the search gives up."""
MAX_BEYOND = 20
"""Trainings in a row that may need more time or memory than there is before the search gives up."""


class Health:
    """Counts failures in a row."""

    def __init__(self) -> None:
        self._broken = self._too_slow = self._beyond = 0

    def went_well(self) -> None:
        """Take in an evaluation that did what it should."""
        self._broken = self._too_slow = self._beyond = 0

    def check(self, ended: Trial, message: str, trials: Iterable[Trial], max_latency_ms: float | None) -> None:
        """Take in an evaluation that has ended.

        Raises:
            SpaceError: If nothing is within the limit on latency.
            RunnerError: If evaluations keep failing for reasons that lie in no architecture, or all need more time or
                memory than there is.
        """
        sound = ended.state != State.FAILED or ended.cause in INFEASIBLE_CAUSES
        self._broken = 0 if sound else self._broken + 1
        self._too_slow = self._too_slow + 1 if ended.cause == Cause.TOO_SLOW else 0
        self._beyond = self._beyond + 1 if ended.cause in (Cause.TIMEOUT, Cause.OUT_OF_MEMORY) else 0
        if ended.cause == Cause.DATA or self._broken >= MAX_BROKEN or self._beyond >= MAX_BEYOND:
            in_a_row = max(self._broken, self._beyond)
            count = "" if in_a_row == 1 else f"{in_a_row} evaluations in a row failed, the last: "
            raise RunnerError(f"{count}{ended.key} failed ({ended.cause}): {message}")
        if self._too_slow >= MAX_TOO_SLOW:
            fastest = min(ms for trial in trials if (ms := trial.measured.latency_ms) is not None)
            raise SpaceError(
                f"{MAX_TOO_SLOW} architectures in a row exceed --max-latency-ms {max_latency_ms:g}; "
                f"the fastest so far took {fastest:.3g} ms"
            )

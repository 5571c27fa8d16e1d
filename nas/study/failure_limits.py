"""Failure limits: when to give up, because further trials would only spend the budget on failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import Enum

from nas.strategy.trial import Trial
from results.database.schema import Role, State
from runners.protocol import INFEASIBLE_CAUSES, Cause
from search_space.errors import RunnerError, SpaceError

MAX_TOO_SLOW = 50
"""Architectures in a row that may exceed the limit on latency before the search gives up; arbitrary."""
MAX_BROKEN = 5
"""Evaluations in a row that may fail for reasons outside the architecture before the search gives up; arbitrary."""
MAX_BEYOND = 20
"""Trainings in a row that may run out of time or memory before the search gives up; arbitrary."""


class _Fault(Enum):
    """What is counted. A success resets the count of its own role only: it says nothing about other roles."""

    TOO_SLOW = MAX_TOO_SLOW
    BROKEN = MAX_BROKEN
    BEYOND = MAX_BEYOND


class FailureLimits:
    """Counts failures in a row. A count restarts at zero only after an evaluation that did not fail that way."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[_Fault, Role]] = Counter()

    def went_well(self, trial: Trial) -> None:
        """Count an evaluation that succeeded: it is complete, or has reached a rung."""
        for fault in _Fault:
            del self._counts[fault, trial.role]

    def check(self, ended: Trial, message: str, trials: Iterable[Trial], max_latency_ms: float | None) -> None:
        """Count an evaluation that has ended.

        Args:
            ended: The evaluation.
            message: Why it failed.
            trials: All trials, for the fastest latency among them.
            max_latency_ms: The limit on latency.

        Raises:
            SpaceError: If one architecture after the other exceeds the limit on latency.
            RunnerError: If one evaluation after the other fails for reasons outside the architecture, or runs out of
                time or memory.
        """
        if ended.state != State.FAILED:
            self.went_well(ended)
            return
        if ended.epochs:  # latency is measured before the first one
            del self._counts[_Fault.TOO_SLOW, ended.role]
        fault = _fault(ended.cause)
        if fault is None:
            return
        self._counts[fault, ended.role] += 1
        in_a_row = sum(self._counts[fault, role] for role in Role)
        if ended.cause != Cause.DATA and in_a_row < fault.value:
            return
        if fault is _Fault.TOO_SLOW:
            limit = "the limit on latency" if max_latency_ms is None else f"--max-latency-ms {max_latency_ms:g}"
            measured = [ms for trial in trials if (ms := trial.measured.latency_ms) is not None]
            fastest = f"the fastest so far took {min(measured):.3g} ms" if measured else "none was measured"
            raise SpaceError(f"{in_a_row} architectures in a row exceed {limit}; {fastest}")
        count = "" if in_a_row == 1 else f"{in_a_row} evaluations in a row failed, the last: "
        raise RunnerError(f"{count}{ended.key} failed ({ended.cause}): {message}")


def _fault(cause: str | None) -> _Fault | None:
    """What a cause is counted as; None for a divergence, which never ends a search."""
    if cause == Cause.TOO_SLOW:
        return _Fault.TOO_SLOW
    if cause in (Cause.TIMEOUT, Cause.OUT_OF_MEMORY):
        return _Fault.BEYOND
    return None if cause in INFEASIBLE_CAUSES else _Fault.BROKEN

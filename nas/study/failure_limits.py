"""Failure limits: when a search gives up, because more trials would only spend the budget on failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import Enum

from nas.strategy.trial import Trial
from results.database.schema import Role, State
from runners.protocol import INFEASIBLE_CAUSES, Cause
from search_space.errors import RunnerError, SpaceError

MAX_TOO_SLOW = 50
"""Consecutive architectures above the limit on latency after which the search gives up; arbitrary."""
MAX_BROKEN = 5
"""Consecutive failures not caused by the architecture after which the search gives up; arbitrary."""
MAX_BEYOND = 20
"""Consecutive trainings that run out of time or memory after which the search gives up; arbitrary."""


class _Fault(Enum):
    """A kind of failure to count. A success resets the count of its own role only."""

    TOO_SLOW = MAX_TOO_SLOW
    BROKEN = MAX_BROKEN
    BEYOND = MAX_BEYOND


class FailureLimits:
    """Counts consecutive failures. An evaluation that does not fail in the same way resets the count."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[_Fault, Role]] = Counter()

    def reset(self, trial: Trial) -> None:
        """Reset the counts of an evaluation's role: it is complete, or has reached a rung."""
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
            SpaceError: If too many consecutive architectures exceed the limit on latency.
            RunnerError: If too many consecutive evaluations fail for reasons outside the architecture, or run out of
                time or memory.
        """
        if ended.state != State.FAILED:
            self.reset(ended)
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
    """The kind of failure of a cause; None for a divergence, which never ends a search."""
    if cause == Cause.TOO_SLOW:
        return _Fault.TOO_SLOW
    if cause in (Cause.TIMEOUT, Cause.OUT_OF_MEMORY):
        return _Fault.BEYOND
    return None if cause in INFEASIBLE_CAUSES else _Fault.BROKEN

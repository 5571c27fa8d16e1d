"""The time limit of an attempt."""

from __future__ import annotations

import time
from collections.abc import Callable


class OutOfTime(Exception):
    """An attempt exceeded its time limit; the text gives the limit and the epochs done."""


class TimeLimit:
    """A stopwatch with a limit. It starts running at once, and is paused while an evaluation waits for a decision.

    Args:
        limit_s: Limit in seconds; None for no limit.
        clock: Returns seconds from an arbitrary origin.
    """

    def __init__(self, limit_s: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit_s, self._clock = limit_s, clock
        self._before, self._since = 0.0, clock()

    def pause(self) -> None:
        """Stop counting."""
        self._before += self._clock() - self._since

    def resume(self) -> None:
        """Continue counting."""
        self._since = self._clock()

    def check(self, epoch: int, epochs: int, step: int = 0, steps: int = 0) -> None:
        """Raise if the time is up; call it while the stopwatch is running.

        Args:
            epoch: Epochs done.
            epochs: Epochs of the whole training.
            step: Steps of the next epoch done.
            steps: Steps per epoch; 0 between epochs.

        Raises:
            OutOfTime: If the time is up.
        """
        if self._limit_s is None:
            return
        seconds = self._before + self._clock() - self._since
        if seconds > self._limit_s:
            part = f" and {step} of {steps} steps of the next" if steps else ""
            raise OutOfTime(
                f"stopped after {seconds:.3g} s of at most {self._limit_s:g} s (--trial-timeout), with {epoch} of "
                f"{epochs} epochs{part} done"
            )

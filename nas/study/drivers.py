"""Other drivers of the same study: what they have changed, and what stopped drivers have left behind.

Opening a study again is not a special case: everything in the database was done by a driver that has stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from nas.strategy.planner import Planner
from nas.strategy.scoring import Scoring
from nas.strategy.trial import Trial
from nas.study.evaluations import Evaluations
from nas.study.protocols import Driver
from results.database.schema import FINAL_STATES, Role, State
from results.store.driver import Outdated
from runners.protocol import Cause

POLL_EVERY_S = 1.0
"""Seconds between reads of the database while a runner waits; arbitrary."""

Answer = TypeVar("Answer")


class OtherDrivers:
    """Follows the changes of other drivers.

    Args:
        driver: This process as a driver.
        book: All evaluations.
        planner: Learns of trials that others have started.
        scoring: Learns of batches that are no longer being scored.
        learn: Called with every evaluation that has ended, or waits at a rung.
        reconsider: Called with all evaluations that have changed.
        count: Number of other active drivers.

    Attributes:
        count: Number of other drivers that were active when the database was last read.
    """

    def __init__(
        self,
        driver: Driver,
        book: Evaluations,
        planner: Planner,
        scoring: Scoring,
        learn: Callable[[Trial], None],
        reconsider: Callable[[Sequence[Trial]], None],
        count: int,
    ) -> None:
        self._driver, self._book, self._planner, self._scoring = driver, book, planner, scoring
        self._learn, self._reconsider = learn, reconsider
        self._polled_at = time.monotonic()
        self.count = count

    def poll(self) -> None:
        """Take over from stopped drivers, and read what others have changed."""
        self._polled_at = time.monotonic()
        self.count = self._driver.take_over()
        self.apply(self._book.merge())

    def poll_if_due(self) -> None:
        """The same, unless it was done less than `POLL_EVERY_S` ago."""
        if time.monotonic() - self._polled_at >= POLL_EVERY_S:
            self.poll()

    def retry_if_outdated(self, act: Callable[[], Answer]) -> Answer:
        """Make a decision, and make it again if another driver has changed something in the meantime."""
        while True:
            try:
                return act()
            except Outdated:
                self.apply(self._book.merge())

    def apply(self, changed: Sequence[Trial]) -> None:
        """Act on what others have changed, or an earlier run has left."""
        for trial in changed:
            if trial.role == Role.TRIAL:
                self._planner.entered(trial)
            with suppress(Outdated):  # another driver has taken it, which is among the next changes
                self._requeue_abandoned(trial)
            if trial.state in FINAL_STATES or trial.state == State.PAUSED:
                self._learn(trial)
        self._reconsider(changed)

    def _requeue_abandoned(self, trial: Trial) -> None:
        """Queue an evaluation that can be continued and that no driver runs any more."""
        if trial.role == Role.PROXIES:
            self._give_up_scoring(trial)
        elif trial.state == State.RUNNING and trial.is_orphan:  # its driver has stopped
            trial.unbilled = max(0.0, sum(epoch.seconds for epoch in trial.epochs) - trial.seconds)
            self._book.requeue(trial)
        elif trial.state == State.FAILED and trial.cause == Cause.DATA:  # the images may be readable now
            self._book.requeue(trial)
        if trial.role == Role.TRIAL:
            rungs = self._planner.rungs(trial)
            trial.passed = {rung for rung in rungs if rung < trial.epoch}
            if trial.state == State.QUEUED and trial.epoch in rungs:  # the pruner decides again whether it is resumed
                self._book.pause(trial)

    def _give_up_scoring(self, trial: Trial) -> None:
        """End a batch that is no longer being scored; its scores are requested again later."""
        if trial.is_orphan and trial.state not in FINAL_STATES:
            self._book.finish(trial, State.PRUNED)
        if trial.state in FINAL_STATES:
            self._scoring.forget(trial.key)

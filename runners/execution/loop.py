"""The loop that drives a job: advance its evaluator, report, follow the decision, end.

`execute` is that loop. `Execution` is one job in it, for callers that have a loop of their own: on Ray, a worker
advances a job, and another process decides.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from runners.execution.deadline import TimeLimit
from runners.execution.failures import classify
from runners.protocol import (
    Cause,
    Decision,
    EpochResult,
    EvaluationError,
    Evaluator,
    Interrupted,
    Job,
    Measured,
    Outcome,
)

REPORT_EVERY_S = 1.0
"""Epochs between rungs are reported in batches, at least this often. Arbitrary: spares the database, updates the
display."""

Report = Callable[[str, Sequence[EpochResult]], Decision]
"""Takes the key of a job and its new epochs; `TrialSource.report`."""


def execute(
    job: Job,
    evaluator: Evaluator,
    report: Report,
    is_interrupted: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Execute a job until it ends, by itself or by the decision of the search.

    Args:
        job: The job.
        evaluator: The evaluator of the job.
        report: Takes new epochs and decides whether the job continues.
        is_interrupted: Whether the runner must stop; called after every report.

    Raises:
        KeyboardInterrupt: If the runner was interrupted, after the evaluator has written its checkpoint.
    """
    execution = Execution(job, evaluator)
    while (outcome := execution.turn(report)) is None:
        if is_interrupted():
            execution.interrupt()
            raise KeyboardInterrupt
    return outcome


class Execution:
    """A running job. It advances an evaluator in portions, and turns every result into an `Outcome`.

    Args:
        job: The job.
        evaluator: The evaluator of the job.
        clock: Returns seconds from an arbitrary origin.
    """

    def __init__(self, job: Job, evaluator: Evaluator, clock: Callable[[], float] = time.monotonic) -> None:
        self.job = job
        self._clock = clock
        self._started = clock()
        self._limit = TimeLimit(job.timeout_s, clock)
        self._limit.pause()
        self._epoch = 0  # of the last epoch seen
        self._steps = evaluator(job)

    def turn(self, report: Report) -> Outcome | None:
        """Advance once, report new epochs, and stop if that is the decision.

        Returns:
            The outcome once the job has ended, else None.
        """
        epochs, outcome = self.advance()
        decision = report(self.job.key, epochs) if epochs else Decision.CONTINUE
        if outcome is None and decision is Decision.STOP:
            return self.stop()
        return outcome

    def advance(self) -> tuple[list[EpochResult], Outcome | None]:
        """Run to the next rung, for about `REPORT_EVERY_S`, or to the end.

        Returns:
            The new epochs, and the outcome if the job has ended.
        """
        epochs: list[EpochResult] = []
        began = self._clock()
        self._limit.resume()
        try:
            while True:
                if 0 < self._epoch < self.job.recipe.epochs:  # keep a training that was completed
                    self._limit.check(self._epoch, self.job.recipe.epochs)
                epoch = next(self._steps)
                if not all(map(math.isfinite, (epoch.train_loss, epoch.nll, epoch.accuracy))):
                    raise EvaluationError(Cause.DIVERGED, f"the figures of epoch {epoch.epoch} are not finite")
                epochs.append(epoch)
                self._epoch = epoch.epoch
                if epoch.epoch in self.job.rungs or self._clock() - began >= REPORT_EVERY_S:
                    return epochs, None
        except StopIteration as end:
            measured = end.value if isinstance(end.value, Measured) else Measured()
            return epochs, Outcome("complete", self.seconds, measured=measured)
        except EvaluationError as error:
            self._steps.close()
            outcome = Outcome("failed", self.seconds, error.cause, str(error), error.measured)
            return [*epochs, *error.epochs], outcome
        except Exception as error:  # noqa: BLE001 (whatever an evaluator raises ends its evaluation, not the search)
            self._steps.close()
            cause, message = classify(error)
            return epochs, Outcome("failed", self.seconds, cause, message)
        finally:
            self._limit.pause()

    def stop(self) -> Outcome:
        """End early, as the search decided."""
        self._steps.close()
        return Outcome("stopped", self.seconds)

    def interrupt(self) -> None:
        """End early; the evaluator writes a checkpoint, from which the job can be resumed."""
        with suppress(Interrupted, StopIteration):
            self._steps.throw(Interrupted())

    @property
    def seconds(self) -> float:
        """Seconds since the job began."""
        return self._clock() - self._started

"""The loop that drives a job: what it reports, how it follows decisions, and how it ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Generator, Sequence

import pytest

from runners.execution import execute
from runners.protocol import Cause, Decision, EpochResult, EvaluationError, Interrupted, Job, Measured
from runners.recipe import Recipe

MakeJob = Callable[..., Job]


class Evaluator:
    """Four epochs, a failure after `fails_after` of them if that is set; remembers how it was ended."""

    def __init__(self, fails_after: int | None = None) -> None:
        self.fails_after, self.ended_by = fails_after, ""

    def __call__(self, job: Job) -> Generator[EpochResult, None, Measured]:
        try:
            for epoch in range(1, 5):
                yield EpochResult(epoch, 1.0, 1.0, 0.5, 0.0)
                if epoch == self.fails_after:
                    raise EvaluationError(Cause.DIVERGED, "the loss became nan")
        except (GeneratorExit, Interrupted) as end:
            self.ended_by = type(end).__name__
            raise
        return Measured(device="here")


class Reports:
    """What was reported, portion by portion; the decision after an epoch is CONTINUE unless it is `stop_at`."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at, self.portions = stop_at, list[list[int]]()

    def __call__(self, key: str, epochs: Sequence[EpochResult]) -> Decision:
        assert key == "trial-0001"
        self.portions.append([epoch.epoch for epoch in epochs])
        return Decision.STOP if epochs[-1].epoch == self.stop_at else Decision.CONTINUE


@pytest.fixture
def job(make_job: MakeJob) -> Job:
    return make_job(recipe=Recipe(epochs=4), rungs=(1, 3))


def test_a_job_is_reported_rung_by_rung(job: Job) -> None:
    reports = Reports()
    outcome = execute(job, Evaluator(), reports)
    assert reports.portions == [[1], [2, 3], [4]]
    assert (outcome.status, outcome.measured.device) == ("complete", "here")


def test_a_decision_to_stop_closes_the_evaluator(job: Job) -> None:
    reports, evaluator = Reports(stop_at=3), Evaluator()
    outcome = execute(job, evaluator, reports)
    assert reports.portions == [[1], [2, 3]]
    assert (outcome.status, evaluator.ended_by) == ("stopped", "GeneratorExit")


def test_a_job_that_has_ended_cannot_be_stopped_any_more(job: Job) -> None:
    assert execute(job, Evaluator(), Reports(stop_at=4)).status == "complete"


def test_a_failure_is_an_outcome_and_its_epochs_are_reported(job: Job) -> None:
    reports = Reports()
    outcome = execute(job, Evaluator(fails_after=2), reports)
    assert reports.portions == [[1], [2]]
    assert (outcome.status, outcome.cause, outcome.message) == ("failed", Cause.DIVERGED, "the loss became nan")


def test_an_interrupted_runner_interrupts_the_evaluator_after_a_report(job: Job) -> None:
    reports, evaluator = Reports(), Evaluator()
    with pytest.raises(KeyboardInterrupt):
        execute(job, evaluator, reports, lambda: len(reports.portions) == 2)
    assert (reports.portions, evaluator.ended_by) == ([[1], [2, 3]], "Interrupted")


def test_driving_a_job_loads_no_torch() -> None:
    code = "import runners.execution, runners.inline, runners.synthetic, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

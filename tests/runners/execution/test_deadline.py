"""Attempts that exceed the time limit."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator

import pytest

from runners.execution import Execution
from runners.execution.deadline import OutOfTime, TimeLimit
from runners.protocol import INFEASIBLE_CAUSES, Cause, EpochResult, Job, Measured
from runners.recipe import Recipe
from runners.training import train as training
from runners.training.train import train

MakeJob = Callable[..., Job]


class Clock:
    """A clock that is set by hand, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def ten_seconds_an_epoch(clock: Clock) -> Callable[[Job], Generator[EpochResult, None, Measured]]:
    def evaluate(job: Job) -> Generator[EpochResult, None, Measured]:
        for epoch in range(1, job.recipe.epochs + 1):
            clock.now += 10
            yield EpochResult(epoch, 1.0, 1.0, 0.5, 10.0)
        return Measured()

    return evaluate


def test_an_attempt_ends_between_epochs(make_job: MakeJob) -> None:
    """Epochs of 10 s, 25 s allowed: the third one is reported still, and there is no fourth."""
    clock = Clock()
    execution = Execution(make_job(recipe=Recipe(epochs=50), timeout_s=25), ten_seconds_an_epoch(clock), clock)
    seen, outcome = [], None
    while outcome is None:
        epochs, outcome = execution.advance()
        seen += [epoch.epoch for epoch in epochs]

    assert seen == [1, 2, 3]
    assert (outcome.status, outcome.cause, outcome.seconds) == ("failed", Cause.TIMEOUT, 30.0)
    assert outcome.message == "stopped after 30 s of at most 25 s (--trial-timeout), with 3 of 50 epochs done"
    assert outcome.cause in INFEASIBLE_CAUSES


def test_waiting_for_a_decision_does_not_count(make_job: MakeJob) -> None:
    clock = Clock()
    job = make_job(recipe=Recipe(epochs=3), timeout_s=35, rungs=(1, 2))
    execution = Execution(job, ten_seconds_an_epoch(clock), clock)
    outcome = None
    while outcome is None:
        clock.now += 1000
        _, outcome = execution.advance()

    assert outcome.status == "complete"


def test_a_training_that_is_complete_is_kept(make_job: MakeJob) -> None:
    clock = Clock()
    execution = Execution(make_job(recipe=Recipe(epochs=2), timeout_s=15), ten_seconds_an_epoch(clock), clock)
    outcomes = [execution.advance()[1] for _ in range(3)]

    assert [outcome and outcome.status for outcome in outcomes] == [None, None, "complete"]


def test_a_long_epoch_ends_between_its_steps(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock moves on by a second whenever it is read: once at the start, and then before every step."""
    ticks = itertools.count()
    monkeypatch.setattr(training, "TimeLimit", lambda limit_s: TimeLimit(limit_s, lambda: float(next(ticks))))
    job = make_job(recipe=Recipe(epochs=10, batch_size=100), timeout_s=5)

    epochs, outcome = Execution(job, train).advance()

    assert epochs == []
    assert outcome is not None
    assert outcome.cause is Cause.TIMEOUT
    assert outcome.message.startswith(
        "stopped after 6 s of at most 5 s (--trial-timeout), with 0 of 10 epochs and 5 of"
    )


def test_epochs_of_a_training_add_up_and_pauses_do_not(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(training, "TimeLimit", lambda limit_s: TimeLimit(limit_s, clock))
    learn = training._Training._learn

    def slow(self: training._Training, epoch: int) -> float:
        clock.now += 10
        return learn(self, epoch)

    monkeypatch.setattr(training._Training, "_learn", slow)
    done = []

    def run() -> None:
        for epoch in train(make_job(recipe=Recipe(epochs=9), timeout_s=35)):
            done.append(epoch.epoch)
            clock.now += 1000

    with pytest.raises(OutOfTime, match=r"after 40 s of at most 35 s .*with 3 of 9 epochs and 0 of"):
        run()

    assert done == [1, 2, 3]


def test_without_a_limit_nothing_ends() -> None:
    clock = Clock()
    limit = TimeLimit(None, clock)
    clock.now = 1e9
    limit.check(0, 1)

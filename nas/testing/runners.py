"""The promises of a runner, for any search and any job."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from runners.protocol import Cause, DataSpec, Decision, EpochResult, EvaluationError, Job, Measured, Outcome
from runners.recipe import Recipe
from runners.registry import RUNNERS, RunnerSettings
from search_space.contract import Contract, holds
from search_space.zoo.baselines import baselines

EPOCHS, RUNG = 4, 2


class RunnerContract(Contract):
    """A runner executes every job once, obeys decisions at rungs, and turns every failure into an outcome."""

    def test_jobs_are_executed(self, name: str) -> None:
        """Every job reports all epochs and ends once; a stopped one ends at its rung, a failed one with its cause."""
        source = RecordingSource([_job(key) for key in ("whole", "stopped", "diverged", "broken", "last")])
        runner = RUNNERS.find(name)(RunnerSettings())
        runner.check()
        runner.run(source, by_key)
        whole, until_rung = list(range(1, EPOCHS + 1)), list(range(1, RUNG + 1))
        expected = {"whole": whole, "stopped": until_rung, "diverged": until_rung, "broken": [], "last": whole}
        reported = {key: source.epochs.get(key, []) for key in expected}
        holds(reported == expected, f"the epochs reported are {reported}, not {expected}")
        statuses = {key: [outcome.status for outcome in outcomes] for key, outcomes in source.outcomes.items()}
        ended = {
            "whole": "complete",
            "stopped": "stopped",
            "diverged": "failed",
            "broken": "failed",
            "last": "complete",
        }
        holds(statuses == {key: [status] for key, status in ended.items()}, f"the jobs ended as {statuses}")
        causes = {key: outcomes[0].cause for key, outcomes in source.outcomes.items() if outcomes[0].cause}
        holds(causes == {"diverged": Cause.DIVERGED, "broken": Cause.BUG}, f"the causes of failures are {causes}")


class QueuedJobs:
    """The part of a `runners.protocol.TrialSource` that hands out jobs in order, for tests of runners.

    Args:
        jobs: The jobs.

    Attributes:
        waiting: Jobs that have not been handed out.
        running: Keys of those that have been, and have not ended.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.waiting = list(jobs)
        self.running: set[str] = set()

    @property
    def done(self) -> bool:
        """Whether all jobs have ended."""
        return not self.waiting and not self.running

    def ask(self) -> Job | None:
        """The next job."""
        if not self.waiting:
            return None
        job = self.waiting.pop(0)
        self.running.add(job.key)
        return job

    def idle(self) -> None:
        """Nothing to do."""


class RecordingSource(QueuedJobs):
    """Stops the job with the key "stopped", and records what it receives."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        super().__init__(jobs)
        self.epochs: dict[str, list[int]] = {}
        self.outcomes: dict[str, list[Outcome]] = {}

    def report(self, key: str, epochs: Sequence[EpochResult]) -> Decision:
        """Record the epochs."""
        self.epochs.setdefault(key, []).extend(epoch.epoch for epoch in epochs)
        return Decision.STOP if key == "stopped" and epochs[-1].epoch >= RUNG else Decision.CONTINUE

    def tell(self, key: str, outcome: Outcome) -> None:
        """Record the outcome."""
        self.running.discard(key)
        self.outcomes.setdefault(key, []).append(outcome)


def by_key(job: Job) -> Generator[EpochResult, None, Measured]:
    """An evaluator whose behaviour depends on the job's key; importable, so that it can be sent to workers."""
    if job.key == "broken":
        raise ZeroDivisionError("division by zero")
    for epoch in range(1, job.recipe.epochs + 1):
        if job.key == "diverged" and epoch > RUNG:
            raise EvaluationError(Cause.DIVERGED, "the loss became nan")
        yield EpochResult(epoch, 1.0, 1.0, 0.5, 0.0)
    return Measured()


def _job(key: str) -> Job:
    architecture = next(iter(baselines("20k", image_size=8, in_channels=1, classes=10).values()))
    return Job(key, architecture, DataSpec("digits"), Recipe(epochs=EPOCHS), seed=0, rungs=(RUNG,), device="cpu")

"""The default evaluator: trains, tests or scores, as the job's task says."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from runners.protocol import EpochResult, Evaluator, Job, Measured


@dataclass(frozen=True)
class TaskEvaluator:
    """Sends a job to what does its task. Torch is loaded when the first job comes.

    Attributes:
        train: What trains and tests; None for `runners.training.train.train`.
    """

    train: Evaluator | None = None

    def __call__(self, job: Job) -> Generator[EpochResult, None, Measured]:
        if job.task == "score":
            from runners.proxies.scoring import evaluate

            return evaluate(job)
        if self.train is not None:
            return self.train(job)
        from runners.training.train import train

        return train(job)

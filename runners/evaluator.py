"""The default evaluator: trains, tests or scores, as the job's task says."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from runners.protocol import DataSpec, EpochResult, Evaluator, Job, Measured


def prepare(evaluator: Evaluator, images: DataSpec | None) -> None:
    """Let an evaluator load what its first job would otherwise have to wait for, if it has a method `prepare`."""
    method = getattr(evaluator, "prepare", None)
    if method is not None:
        method(images)


@dataclass(frozen=True)
class TaskEvaluator:
    """Dispatches a job by its task. Torch is loaded with the first job.

    Attributes:
        train: The evaluator that trains and tests; None for `runners.training.train.train`.
        device: The device of its jobs, for `prepare`.
    """

    train: Evaluator | None = None
    device: str = "auto"

    def prepare(self, images: DataSpec | None) -> None:
        """Load what the first training would otherwise have to wait for: torch, and the images if there are any.

        Raises:
            DataError: If the images cannot be loaded.
        """
        if self.train is None and images is not None:
            from runners.training.train import prepare

            prepare(images, self.device)

    def __call__(self, job: Job) -> Generator[EpochResult, None, Measured]:
        if job.task == "score":
            from runners.proxies.scoring import evaluate

            return evaluate(job)
        if self.train is not None:
            return self.train(job)
        from runners.training.train import train

        return train(job)

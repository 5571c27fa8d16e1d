"""The evaluator that reads a table instead of training.

A whole search, with its samplers and pruners, runs over a table as it would on a GPU.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from nas.bench.table import Table
from runners.protocol import Cause, EpochResult, EvaluationError, Job, Measured, Score
from search_space.architecture import Architecture
from search_space.errors import DataError


@dataclass(frozen=True)
class Replay:
    """Replays the trainings and scores of a table.

    A job's seed decides which training it sees: the seed `first` gets `seeds[0]`, the next one `seeds[1]`, and so on,
    cyclically.

    Attributes:
        table: The table.
        seeds: Search seeds of the table to show.
        first: Seed of the job that sees the first of them.
    """

    table: Table
    seeds: tuple[int, ...]
    first: int = 0

    def __post_init__(self) -> None:
        hidden = set(self.seeds) - set(self.table.definition.search_seeds)
        if hidden or not self.seeds:
            raise DataError(f"a search may see the seeds {self.table.definition.search_seeds}, not {self.seeds}")

    def __call__(self, job: Job) -> Generator[EpochResult, None, Measured]:
        """Yield the curve, for a "test" job the test figures; for a "score" job return the scores.

        Raises:
            DataError: If the table lacks the training or a score.
            EvaluationError: If the training failed when the table was built.
        """
        if job.task == "score":
            scores = tuple(self._scores(architecture, job.proxies) for architecture in job.batch)
            return Measured(device=f"replayed from {self.table.name}", scores=scores)
        seed = self.seeds[(job.seed - self.first) % len(self.seeds)]
        training = self.table.trainings.get((job.architecture.hash, seed))
        if training is None:
            raise DataError(f"{self.table.folder} has no training of {job.architecture.hash} with seed {seed}")
        epochs = len(training.nll)
        seconds = training.seconds / max(1, epochs)
        if job.task == "test" and training.test_nll is not None and training.test_accuracy is not None:
            yield EpochResult(epochs, 0.0, training.test_nll, training.test_accuracy, 0.0)
            return Measured()
        for index in range(job.reported, epochs):
            loss, nll, accuracy = training.train_loss[index], training.nll[index], training.accuracy[index]
            yield EpochResult(index + 1, loss, nll, accuracy, seconds)
        if training.cause is not None:
            raise EvaluationError(Cause(training.cause), "it failed when the table was built")
        return Measured(device=f"replayed from {self.table.name}")

    def _scores(self, architecture: Architecture, proxies: Sequence[str]) -> dict[str, Score]:
        known = self.table.scores.get(architecture.hash, {})
        missing = [name for name in proxies if name not in known]
        if missing:
            raise DataError(f"{self.table.folder} has no score of {architecture.hash} by {', '.join(missing)}")
        return {name: known[name] for name in proxies}

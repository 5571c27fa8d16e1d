"""The protocol between a search, which decides, and a runner, which executes.

A search hands out `Job`s and is told what became of them (`TrialSource`); a runner executes them somewhere (`Runner`);
what a job does while it runs is an `Evaluator`, by default `runners.training.train.train`. Replacing the evaluator
replays a table or measures overhead, replacing the runner changes the place; neither notices the other.

The life of a job:

    source.ask() -> Job -> evaluator(job) yields EpochResult ... -> source.report(key, epochs) -> CONTINUE | STOP
                                                                 -> source.tell(key, Outcome)
"""

from __future__ import annotations

import enum
import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, Protocol

from runners.deadline import TimeLimit
from runners.recipe import Recipe
from runners.remote import Location
from search_space.architecture import Architecture

REPORT_EVERY_S = 1.0
"""Epochs are reported together, at least this often; a decision is awaited at rungs alone."""


@dataclass(frozen=True)
class DataSpec:
    """Which images to train on.

    Attributes:
        name: A registered data set, or ``imagefolder:PATH``.
        directory: Where data sets are cached; None for `NAS_DATA_DIR`, else the user's cache folder.
        split_seed: Seed of the train / validation split (and of the test split where the data set has none).
        image_size: Side to which an image folder is resized; None for the data set's own.
    """

    name: str
    directory: str | None = None
    split_seed: int = 0
    image_size: int | None = None


@dataclass(frozen=True)
class Job:
    """One evaluation to execute.

    Attributes:
        key: Unique within the study and fit for a file name, such as ``trial-0012`` or ``finalist-0012-seed-1``.
        architecture: What to evaluate.
        data: On which images.
        recipe: How to train.
        seed: Seed of initialisation, data order, augmentation and stochastic depth.
        rungs: Epochs after which the evaluation waits for a decision to go on.
        reported: Epochs that the search knows already; the evaluation goes on from there, by its checkpoint.
        task: "train" sees the train and validation splits only; "test" loads `weights` and sees the test split only;
            "score" computes `proxies` of every architecture of `batch`, from training images.
        checkpoint: File that a training can be resumed from, written at every rung and now and then; None for none.
            A path, or a place on remote storage (`runners.remote.locate`); so too for `weights`.
        weights: File for the final weights (safetensors): written by "train" if given, read by "test".
        weights_sha256: For "test": digest of that file when it was written; None if that is not known.
        measure_latency: Whether to measure the latency of the model before training it.
        max_latency_ms: If given, an architecture slower than this is infeasible and not trained.
        timeout_s: Seconds that one attempt may compute; an architecture that takes longer is infeasible. None for any.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        gpus: How many GPUs share every batch of a training, from `device` on; a device that is no GPU works alone.
        batch: For "score": what to score.
        proxies: For "score": names of the proxies.
    """

    key: str
    architecture: Architecture
    data: DataSpec
    recipe: Recipe
    seed: int
    rungs: tuple[int, ...] = ()
    reported: int = 0
    task: Literal["train", "test", "score"] = "train"
    checkpoint: Location | None = None
    weights: Location | None = None
    weights_sha256: str | None = None
    measure_latency: bool = False
    max_latency_ms: float | None = None
    timeout_s: float | None = None
    device: str = "auto"
    gpus: int = 1
    batch: tuple[Architecture, ...] = ()
    proxies: tuple[str, ...] = ()


@dataclass(frozen=True)
class EpochResult:
    """What one epoch of training came to.

    Attributes:
        epoch: 1 for the first.
        train_loss: Mean training loss, with label smoothing and augmentation.
        nll: Mean negative log-likelihood on the validation split, in nats; for a "test" job on the test split.
        accuracy: Share of its images classified correctly, 0 to 1.
        seconds: Wall time of the epoch, validation included.
        measured: What is known by now besides, so that it is not lost if the evaluation is stopped.
    """

    epoch: int
    train_loss: float
    nll: float
    accuracy: float
    seconds: float
    measured: Measured | None = None


class Cause(enum.StrEnum):
    """Why an evaluation failed."""

    DIVERGED = "diverged"  # the loss became NaN or infinite
    OUT_OF_MEMORY = "out_of_memory"
    TOO_SLOW = "too_slow"  # slower than the limit on latency; nothing was trained
    TIMEOUT = "timeout"  # its training took longer than an attempt may
    DATA = "data"  # the data set could not be read
    STORAGE = "storage"  # a checkpoint or weights could not be written or read: the disk is full, say
    WEIGHTS = "weights"  # the weights that were to be tested are missing or damaged
    BUG = "bug"  # an exception nobody expected: of this program or of a user's plug-in
    WORKER_LOST = "worker_lost"  # its process died, and so did its retries
    NODE_LOST = "node_lost"  # the machine went away with all that it ran: tried again however often that happens


INFEASIBLE_CAUSES = frozenset({Cause.DIVERGED, Cause.OUT_OF_MEMORY, Cause.TOO_SLOW, Cause.TIMEOUT})
"""Causes that lie in the architecture: trying it again would end the same way."""


@dataclass(frozen=True)
class Score:
    """What a proxy says of an architecture.

    Attributes:
        value: More is better; None where it cannot be computed.
        seconds: Compute it would have taken alone, the building of the model included.
    """

    value: float | None
    seconds: float


@dataclass(frozen=True)
class Latency:
    """A latency with all that it depends on besides the model; comparable only under equal conditions.

    Attributes:
        device: Where it was measured, in words (see `Measured.device`).
        threads: Threads that torch had; they matter on a CPU.
        batch_size: Images in one pass.
        precision: Of weights and images: "fp32".
        warm_up: Passes before the first one that counts.
        repeats: Passes that count.
        median_ms: Median of their wall times.
        lower_ms: Their first quartile.
        upper_ms: Their third quartile.
    """

    device: str
    threads: int
    batch_size: int
    precision: str
    warm_up: int
    repeats: int
    median_ms: float
    lower_ms: float
    upper_ms: float


@dataclass(frozen=True)
class Measured:
    """Facts that an evaluator found out besides its epochs; all optional.

    Attributes:
        latency_ms: Median time of a forward pass of one image; `latency` says how it was measured.
        peak_memory_mib: Most memory the device held at once.
        device: Where it ran, in words ("NVIDIA H100 80GB HBM3", "CPU (AMD EPYC), 1 thread").
        versions: Versions of Python, torch and others that shaped the result.
        latency: Where and how `latency_ms` was measured; None if that is not known.
        scores: For a "score" job: the scores of every architecture of its batch by proxy, in order.
        micro_batch: Images that went through the model at once in training: fewer than the recipe's batch where memory
            was short; None where nothing was trained.
        weights_sha256: Digest of the file of weights; None where none was written.
    """

    latency_ms: float | None = None
    peak_memory_mib: float | None = None
    device: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    latency: Latency | None = None
    scores: tuple[Mapping[str, Score], ...] = ()
    micro_batch: int | None = None
    weights_sha256: str | None = None


@dataclass(frozen=True)
class Outcome:
    """How an evaluation ended.

    Attributes:
        status: "complete"; "stopped" on a decision of the search; "failed" for `cause`.
        seconds: Compute spent in this process, set-up and measurements included.
        cause: Why it failed; None otherwise.
        message: What a person should know about the failure.
        measured: Facts besides the epochs.
    """

    status: Literal["complete", "stopped", "failed"]
    seconds: float
    cause: Cause | None = None
    message: str = ""
    measured: Measured = field(default_factory=Measured)


class EvaluationError(Exception):
    """Raised by an evaluator to end as a typed failure.

    Attributes:
        cause: Why.
        measured: Facts besides the epochs.
        epochs: What was computed and could not be yielded any more.
    """

    def __init__(
        self, cause: Cause, message: str, measured: Measured | None = None, epochs: tuple[EpochResult, ...] = ()
    ) -> None:
        super().__init__(message)
        self.cause = cause
        self.measured = measured or Measured()
        self.epochs = epochs

    def __reduce__(self) -> tuple[type, tuple[Cause, str, Measured, tuple[EpochResult, ...]]]:
        return type(self), (self.cause, str(self), self.measured, self.epochs)


class Interrupted(BaseException):
    """Thrown into an evaluator that is to go on another time: it saves a checkpoint and ends."""


class Evaluator(Protocol):
    """What a job does: a generator that yields every epoch and returns what else it measured.

    It raises EvaluationError for typed failures. It is closed where the search said STOP, and Interrupted is thrown
    into it where the runner is stopped; either way it may be called for again, with `Job.reported` saying what is known
    by then. It is pickled to workers, so it has to be importable.
    """

    def __call__(self, job: Job) -> Generator[EpochResult, None, Measured]: ...


class Decision(enum.Enum):
    """What the search says to a report."""

    CONTINUE = "continue"
    STOP = "stop"


class TrialSource(Protocol):
    """The search as a runner sees it. Not thread-safe: a runner calls it from one thread."""

    @property
    def done(self) -> bool:
        """Whether nothing is left to hand out and nothing is running."""

    def ask(self) -> Job | None:
        """The next job, or None if there is none until another one has been told.

        A key may come again once its end has been told: of a training that was stopped at a rung and is to go on.
        """

    def report(self, key: str, epochs: Sequence[EpochResult]) -> Decision:
        """Take in new epochs of a running job."""

    def tell(self, key: str, outcome: Outcome) -> None:
        """Take in how a job ended."""

    def idle(self) -> None:
        """Called now and then, so that a progress display can move on."""


class Runner(Protocol):
    """Executes jobs of a source until it is done."""

    def check(self) -> None:
        """Find out before anything is written whether the executor can be had.

        Raises:
            RunnerError: If it cannot.
        """

    def run(self, source: TrialSource, evaluator: Evaluator) -> None:
        """Execute until `source.done`.

        Raises:
            KeyboardInterrupt: On Ctrl-C, after the workers have been stopped; running jobs are not told.
            RunnerError: If the executor cannot be had.
        """


class Evaluation:
    """A job under way: advances an evaluator in portions and turns whatever happens into an Outcome.

    Every runner drives its jobs through this, so that failures look the same everywhere.
    """

    def __init__(self, job: Job, evaluator: Evaluator, clock: Callable[[], float] = time.monotonic) -> None:
        self.job = job
        self._clock = clock
        self._started = clock()
        self._limit = TimeLimit(job.timeout_s, clock)
        self._limit.pause()
        self._epoch = 0  # the last one seen
        self._steps = evaluator(job)

    def advance(self) -> tuple[list[EpochResult], Outcome | None]:
        """Run to the next rung, or for about `REPORT_EVERY_S`, or to the end.

        Returns:
            The new epochs, and the outcome if it ended.
        """
        epochs: list[EpochResult] = []
        began = self._clock()
        self._limit.resume()
        try:
            while True:
                if 0 < self._epoch < self.job.recipe.epochs:  # what was trained to its end is not thrown away
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
            return epochs, Outcome("complete", self._seconds(), measured=measured)
        except EvaluationError as error:
            self._steps.close()
            outcome = Outcome("failed", self._seconds(), error.cause, str(error), error.measured)
            return [*epochs, *error.epochs], outcome
        except Exception as error:  # noqa: BLE001 (whatever an evaluator raises ends its evaluation, not the search)
            from runners.failures import classify

            self._steps.close()
            cause, message = classify(error)
            return epochs, Outcome("failed", self._seconds(), cause, message)
        finally:
            self._limit.pause()

    def stop(self) -> Outcome:
        """End early, as the search decided."""
        self._steps.close()
        return Outcome("stopped", self._seconds())

    def interrupt(self) -> None:
        """End early, to be continued from the checkpoint that this writes."""
        with suppress(Interrupted, StopIteration):
            self._steps.throw(Interrupted())

    def _seconds(self) -> float:
        return self._clock() - self._started

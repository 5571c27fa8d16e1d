"""The protocol between a search, which decides, and a runner, which executes.

A search hands out `Job`s and is told how they ended (`TrialSource`); a runner executes them somewhere (`Runner`); what
a job computes is its `Evaluator`, by default `runners.training.train.train`. Another evaluator replays a table or
measures overhead, another runner executes elsewhere; neither depends on the other. `runners.execution` drives every
job, whatever the runner.

The life of a job:

    source.ask() -> Job -> evaluator(job) yields EpochResult ... -> source.report(key, epochs) -> CONTINUE | STOP
                                                                 -> source.tell(key, Outcome)
"""

from __future__ import annotations

import enum
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from runners.recipe import Recipe
from runners.remote import Location
from search_space.architecture import Architecture
from search_space.causes import INFEASIBLE_CAUSES, Cause
from search_space.size import Size, plain

IMAGE_CACHES = ("auto", "disk", "none")
"""The images of a folder are decoded once and stored ("disk"), or in every epoch ("none"); "auto" stores what fits."""


@dataclass(frozen=True)
class DataSpec:
    """The images to train on.

    Attributes:
        name: A registered data set, or ``imagefolder:PATH``.
        directory: Where data sets are cached; None for `NAS_DATA_DIR`, else the user's cache folder.
        split_seed: Seed of the train / validation split (and of the test split if the data set has none).
        image_size: Side, or height and width, to which an image folder is resized; None for the data set's own.
        image_cache: How an image folder is decoded, one of `IMAGE_CACHES`; it changes no pixel.
        channels: Channels to which an image folder is converted: 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGBA);
            None for the data set's own.
    """

    name: str
    directory: str | None = None
    split_seed: int = 0
    image_size: Size | None = None
    image_cache: str = "auto"
    channels: int | None = None

    def identity(self) -> dict[str, Any]:
        """What must be equal for the images to be the same, as plain data; where they are stored does not matter."""
        known = {"name": self.name, "split_seed": self.split_seed, "image_size": None}
        if self.image_size is not None:
            known["image_size"] = plain(self.image_size)
        if self.channels is not None:  # earlier versions knew no choice
            known["channels"] = self.channels
        return known


@dataclass(frozen=True)
class Job:
    """One evaluation to execute.

    Attributes:
        key: Unique within the study and valid as a file name, such as ``trial-0012`` or ``finalist-0012-seed-1``.
        architecture: What to evaluate.
        data: The images to evaluate it on.
        recipe: How to train.
        seed: Seed of initialisation, data order, augmentation and stochastic depth.
        rungs: Epochs after which the evaluation waits for a decision.
        reported: Epochs that the search already has; the evaluation resumes after them, from its checkpoint.
        task: "train" sees the train and validation splits only; "test" loads `weights` and sees the test split only;
            "score" computes `proxies` of every architecture of `batch`, from training images.
        checkpoint: File from which a training can be resumed, written at every rung and between rungs; None for none. A
            path, or a location on remote storage (`runners.remote.locate`).
        weights: File for the final weights (safetensors): written by "train" if given, read by "test". A path or a
            remote location, like `checkpoint`.
        weights_sha256: For "test": digest of that file when it was written; None if unknown.
        measure_latency: Whether to measure the latency of the model before training it.
        latency_target: Name of what measures it (`runners.measuring.targets`).
        max_latency_ms: If given, a slower architecture is infeasible and not trained.
        timeout_s: Seconds that one attempt may take; an architecture that takes longer is infeasible. None for no
            limit.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        gpus: Number of GPUs that share every batch of a training, starting with `device`; ignored if `device` is not a
            GPU.
        batch: For "score": the architectures to score.
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
    latency_target: str = "device"
    max_latency_ms: float | None = None
    timeout_s: float | None = None
    device: str = "auto"
    gpus: int = 1
    batch: tuple[Architecture, ...] = ()
    proxies: tuple[str, ...] = ()


@dataclass(frozen=True)
class EpochResult:
    """The result of one epoch of training.

    Attributes:
        epoch: 1 for the first.
        train_loss: Mean training loss, with label smoothing and augmentation.
        nll: Mean negative log-likelihood on the validation split, in nats; for a "test" job on the test split.
        accuracy: Share of its images classified correctly, 0 to 1.
        seconds: Wall time of the epoch, validation included.
        measured: Measurements so far, so that they are not lost if the evaluation is stopped.
        balanced_accuracy: Mean over the classes of the share of a class's images that is classified correctly, 0 to 1;
            None if it was not measured.
        macro_f1: Mean over the classes of the F1 score, 0 to 1; None if it was not measured.
        calibration_error: Expected calibration error, 0 to 1; None if it was not measured.
    """

    epoch: int
    train_loss: float
    nll: float
    accuracy: float
    seconds: float
    measured: Measured | None = None
    balanced_accuracy: float | None = None
    macro_f1: float | None = None
    calibration_error: float | None = None


@dataclass(frozen=True)
class Score:
    """The score of an architecture by one proxy.

    Attributes:
        value: Higher is better; None if it cannot be computed.
        seconds: Compute time on its own, including building the model.
    """

    value: float | None
    seconds: float


@dataclass(frozen=True)
class Latency:
    """A latency and its conditions; latencies are comparable only under equal conditions.

    Attributes:
        device: Where it was measured, in words (see `Measured.device`).
        threads: Threads of torch; relevant on a CPU.
        batch_size: Images in one pass.
        precision: Precision of weights and images: "fp32".
        warm_up: Number of passes before the first counted one.
        repeats: Number of counted passes.
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
    """What an evaluator measures besides its epochs; all optional.

    Attributes:
        latency_ms: Median time of a forward pass of one image; `latency` says how it was measured.
        peak_memory_mib: Peak memory in use on the device.
        device: The device it ran on, in words ("NVIDIA H100 80GB HBM3", "CPU (AMD EPYC), 1 thread").
        versions: Versions of Python, torch and other software that affects the result.
        latency: Where and how `latency_ms` was measured; None if unknown.
        scores: For a "score" job: the scores of every architecture of its batch by proxy, in order.
        micro_batch: Images that pass through the model at once in training: fewer than the recipe's batch if memory is
            short; None if nothing was trained.
        weights_sha256: Digest of the file of weights; None if none was written.
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
        seconds: Compute time in this process, including set-up and measurements.
        cause: Why it failed; None otherwise.
        message: Why it failed, for the user.
        measured: Measurements besides the epochs.
    """

    status: Literal["complete", "stopped", "failed"]
    seconds: float
    cause: Cause | None = None
    message: str = ""
    measured: Measured = field(default_factory=Measured)


class EvaluationError(Exception):
    """Raised by an evaluator to end as a typed failure.

    Attributes:
        cause: Why it failed.
        measured: Measurements besides the epochs.
        epochs: Epochs that were computed but could not be yielded before the failure.
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
    """Thrown into an evaluator that will be resumed later: it saves a checkpoint and ends."""


class Evaluator(Protocol):
    """The computation of a job: a generator that yields every epoch and returns its other measurements.

    It raises EvaluationError for typed failures. It is closed when the search decides STOP, and Interrupted is thrown
    into it when the runner is stopped; in either case the job may be handed out again, and `Job.reported` then says
    which epochs the search already has. It is pickled and sent to workers, so it must be importable.
    """

    def __call__(self, job: Job) -> Generator[EpochResult, None, Measured]: ...


class Decision(enum.Enum):
    """The decision of the search on a report."""

    CONTINUE = "continue"
    STOP = "stop"


class TrialSource(Protocol):
    """The search from a runner's point of view. Not thread-safe: a runner calls it from one thread."""

    @property
    def done(self) -> bool:
        """Whether there is nothing left to hand out and nothing is running."""

    def ask(self) -> Job | None:
        """The next job, or None if there is none until a running one has ended.

        A key may be handed out again after it has ended: a training that stopped at a rung may be resumed.
        """

    def report(self, key: str, epochs: Sequence[EpochResult]) -> Decision:
        """Record new epochs of a running job, and decide whether it continues."""

    def tell(self, key: str, outcome: Outcome) -> None:
        """Record how a job ended."""

    def idle(self) -> None:
        """Called repeatedly while jobs run, so that a progress display can be updated."""


class Runner(Protocol):
    """Executes the jobs of a source until it is done."""

    def check(self) -> None:
        """Check that the executor is available, before anything is written.

        Raises:
            RunnerError: If it is not.
        """

    def run(self, source: TrialSource, evaluator: Evaluator) -> None:
        """Execute until `source.done`.

        Raises:
            KeyboardInterrupt: On Ctrl-C, after the workers have been stopped; `tell` is not called for running jobs.
            RunnerError: If the executor is not available.
        """


__all__ = [
    "INFEASIBLE_CAUSES",
    "Cause",
    "DataSpec",
    "Decision",
    "EpochResult",
    "EvaluationError",
    "Evaluator",
    "Interrupted",
    "Job",
    "Latency",
    "Measured",
    "Outcome",
    "Runner",
    "Score",
    "TrialSource",
]

"""`train`: the default evaluator, one training from initial weights to a validated model.

On a CPU the same job gives bit-identical results for the same number of threads, even if it was stopped at a rung or
interrupted, and resumed later in another process. All randomness of an epoch (order, augmentation, stochastic depth) is
seeded by the job's seed and the epoch's number.

If memory runs out, the epoch restarts with smaller parts of a batch (`runners.training.memory`).
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Generator
from dataclasses import replace
from functools import lru_cache, partial

import torch
from torch import Tensor

from runners.data import Splits, data_directory, load_splits, load_test
from runners.execution.deadline import TimeLimit
from runners.files import FileFailure
from runners.measuring.device import describe_device, pick_devices, versions
from runners.measuring.targets import LATENCY_TARGETS
from runners.protocol import Cause, DataSpec, EpochResult, EvaluationError, Interrupted, Job, Latency, Measured
from runners.training.averaging import WeightAverage
from runners.training.batches import Normaliser, place, steps_per_epoch, training_batches
from runners.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from runners.training.early_stop import has_stalled
from runners.training.evaluate import evaluate_within_memory, first_batch
from runners.training.flat import FlatOptimizer
from runners.training.loss import Loss
from runners.training.memory import Snapshot, within_memory
from runners.training.optimisation import learning_rate, make_optimizer
from runners.training.precision import autocast_for
from runners.training.replicas import Replicas
from runners.training.step import Step, make_step
from runners.training.variation import Variation
from runners.training.weights import load_weights, save_weights
from search_space.architecture import Architecture
from search_space.errors import DataError
from search_space.models.building import build
from search_space.models.model import VisionModel

log = logging.getLogger(__name__)

CHECKPOINT_EVERY_S = 5.0
"""Between rungs, a checkpoint is written about this often; cheap trials finish before. Arbitrary."""


def train(job: Job) -> Generator[EpochResult, None, Measured]:
    """Train on the training split and validate after every epoch; or, for a "test" job, test once.

    A training resumes from its checkpoint, which is written at every rung before the rung is reported: whatever the
    search decides there, another process can resume it at once. Without a checkpoint it restarts.

    With a recipe that averages weights, the average is what is validated and kept. With one that has a patience, the
    training is complete once that many epochs brought no gain, and its result is that of its last epoch.

    Yields:
        Every epoch that the search does not have; all of them if the training restarts. For a "test" job a single one,
        numbered as the last epoch of the recipe.

    Returns:
        Latency if requested, peak memory on a GPU, device and versions, the number of images that went through the
        model at once, and the digest of the weights.

    Raises:
        EvaluationError: DIVERGED if a loss is not finite, TOO_SLOW if the latency exceeds the job's limit,
            OUT_OF_MEMORY if not even a small part of a batch fits, STORAGE if a checkpoint cannot be written.
        OutOfTime: If it exceeds the job's time limit.
        FileFailure: If the weights cannot be written or read.
        DataError: If the images cannot be loaded or do not fit the architecture.
        WeightsError: If the weights of a "test" job are missing, damaged, or of another architecture.
        RunnerError: If there is no such device.
    """
    devices = pick_devices(job.device, job.gpus)
    device, on_gpu = devices[0], devices[0].type == "cuda"
    for each in devices if on_gpu else ():
        torch.cuda.reset_peak_memory_stats(each)
    model = build(job.architecture, generator=torch.Generator().manual_seed(job.seed), device=device)
    if job.task == "test":
        measured = _measured(device)
        yield _test(job, model, device)
    else:
        measured = yield from _train(job, model, devices)
    if on_gpu:
        peak = max(torch.cuda.max_memory_allocated(each) for each in devices)
        measured = replace(measured, peak_memory_mib=peak / 2**20)
    return measured


def prepare(images: DataSpec, device: str) -> None:
    """Load the images for trainings on a device, and the libraries, which takes longer than a short training.

    Raises:
        DataError: If the images cannot be loaded.
        RunnerError: If there is no such device.
    """
    _splits_on(_resolved(images), pick_devices(device, 1)[0])


def _train(job: Job, model: VisionModel, devices: tuple[torch.device, ...]) -> Generator[EpochResult, None, Measured]:
    device = devices[0]
    recipe, limit = job.recipe, TimeLimit(job.timeout_s)
    resumed = load_checkpoint(job.checkpoint, job, model) if job.checkpoint else None
    latency = resumed.latency if resumed else None
    if latency is None:
        latency = _latency_within_limit(job, model, device)
    splits = _splits_on(_resolved(job.data), device)
    _check_fit(job.architecture, splits)
    training = _Training(job, model, devices, splits, limit)
    measured = replace(_measured(device, latency, len(devices)), micro_batch=training.micro_batch)
    curve: list[EpochResult] = []
    if resumed is not None:
        training.restore(resumed)
        curve = list(resumed.curve)
        measured = replace(measured, micro_batch=training.micro_batch)
        limit.pause()
        yield from (replace(epoch, measured=measured) for epoch in curve[job.reported :])
        limit.resume()

    def save() -> int:
        """Write a checkpoint if the job has one; returns its epoch."""
        if job.checkpoint is not None:
            save_checkpoint(job.checkpoint, job, training.state(tuple(curve), latency))
        return len(curve)

    saved, saved_at = len(curve), time.monotonic()
    for epoch in range(len(curve) + 1, recipe.epochs + 1):
        if has_stalled(curve, recipe.patience):
            break
        curve.append(training.run_epoch(epoch))
        measured = replace(measured, micro_batch=training.micro_batch)
        # The last one is written, too: if the driver dies before it learns of the end, nothing is trained again.
        is_last = epoch == recipe.epochs or has_stalled(curve, recipe.patience)
        if epoch in job.rungs or is_last or time.monotonic() - saved_at > CHECKPOINT_EVERY_S:
            try:
                saved, saved_at = save(), time.monotonic()
            except FileFailure as failure:
                last = replace(curve[-1], measured=measured)
                raise EvaluationError(Cause.STORAGE, str(failure), measured, (last,)) from failure
        limit.pause()
        try:
            yield replace(curve[-1], measured=measured)
        except Interrupted:
            # The saved checkpoint is left alone: a training stopped at a rung may have been resumed elsewhere by now.
            if saved < epoch:
                try:
                    save()
                except FileFailure as failure:
                    log.warning("no checkpoint was written, the training will resume from an older one: %s", failure)
            raise
        limit.resume()

    if job.weights is not None:
        written = save_weights(training.average.model, job.weights, splits.mean, splits.std)
        measured = replace(measured, weights_sha256=written)
    return measured


class _Training:
    """A model with everything needed to train it for another epoch."""

    def __init__(
        self, job: Job, model: VisionModel, devices: tuple[torch.device, ...], splits: Splits, limit: TimeLimit
    ) -> None:
        device = devices[0]
        self.recipe, self.seed, self.model, self.device, self.splits = job.recipe, job.seed, model, device, splits
        self.average = WeightAverage(model, job.recipe.ema)
        self.replicas = Replicas(model, devices)
        self.loss = Loss(job.recipe, splits, devices)
        self.variation = Variation(splits.augmentation, job.recipe, splits.info.classes)
        self.losses = [partial(self._loss, *pair) for pair in zip(self.replicas.models, devices, strict=True)]
        self.optimizer = FlatOptimizer(make_optimizer(model, job.recipe), job.recipe.clip_norm)
        self.normalise = Normaliser(splits.mean, splits.std, device)
        self.autocast = autocast_for(job.recipe.precision, job.architecture, device)
        self.limit = limit
        self.batch_size = self.micro_batch = min(job.recipe.batch_size, len(splits.train))
        self.evaluation_batch = first_batch(splits.validation, device)
        self.steps = steps_per_epoch(splits.train, self.batch_size)
        self.draws = torch.Generator(device)
        self.step = self._make_step()

    def state(self, curve: tuple[EpochResult, ...], latency: Latency | None) -> Checkpoint:
        """The checkpoint after the epochs of `curve`."""
        batches = self.micro_batch, self.evaluation_batch
        states = self.model.state_dict(), self.optimizer.state_dict()
        return Checkpoint(curve, *states, latency, *batches, self.average.state())

    def restore(self, state: Checkpoint) -> None:
        """Restore the state from a checkpoint."""
        self.model.load_state_dict(state.model)
        self.optimizer.load_state_dict(dict(state.optimizer))
        self.average.restore(state.average)
        self.micro_batch = state.micro_batch or self.micro_batch
        self.evaluation_batch = state.evaluation_batch or self.evaluation_batch
        self.step = self._make_step()

    def run_epoch(self, epoch: int) -> EpochResult:
        """Train for one epoch and validate; `epoch` is 1 for the first."""
        started = time.perf_counter()
        snapshot = Snapshot(self.model, self.optimizer)
        self.average.remember()

        def learn(micro_batch: int) -> float:
            if micro_batch != self.micro_batch:  # memory ran out
                self.micro_batch = micro_batch
                snapshot.restore()
                self.average.rewind()
                self.step = self._make_step()
            self.draws.manual_seed(_seed(self.seed, epoch, "data"))
            purposes = ["drop path", *(f"drop path {index}" for index in range(1, len(self.losses)))]
            self.replicas.seed([_seed(self.seed, epoch, purpose) for purpose in purposes])
            return self._learn(epoch)

        train_loss, _ = within_memory(learn, self.micro_batch, self.batch_size, self.device)
        metrics, self.evaluation_batch = evaluate_within_memory(
            self.average.model,
            self.splits.validation,
            self.normalise,
            self.device,
            self.autocast,
            self.evaluation_batch,
        )
        for name, loss in (("training loss", train_loss), ("validation NLL", metrics.nll)):
            if not math.isfinite(loss):
                raise EvaluationError(Cause.DIVERGED, f"the {name} became {loss} in epoch {epoch}")
        return EpochResult(epoch, train_loss, seconds=time.perf_counter() - started, **vars(metrics))

    def _learn(self, epoch: int) -> float:
        """Make one pass over the training split; returns the mean loss."""
        recipe, done = self.recipe, (epoch - 1) * self.steps
        self.model.train()
        total = torch.zeros((), device=self.device)  # read once per epoch, to avoid waiting for a GPU at every step
        batches = training_batches(self.splits.train, self.batch_size, self.normalise, self.variation, self.draws)
        for step, (images, labels) in enumerate(batches):
            self.limit.check(epoch - 1, recipe.epochs, step, self.steps)
            total += self.step(images, labels, learning_rate(recipe, done + step, recipe.epochs * self.steps))
            self.average.update(done + step)
        return total.item() / self.steps

    def _make_step(self) -> Step:
        """A step for the current micro-batch."""
        return make_step(self.losses, self.replicas, self.optimizer, self.micro_batch)

    def _loss(self, model: VisionModel, device: torch.device, images: Tensor, labels: Tensor) -> Tensor:
        images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        with self.autocast:
            scores: Tensor = model(images)
        return self.loss(scores.float(), images, labels)


def _test(job: Job, model: VisionModel, device: torch.device) -> EpochResult:
    if job.weights is None:
        raise DataError(f"{job.key} cannot be tested: it names no weights")
    started = time.perf_counter()
    normalise = Normaliser(*load_weights(model, job.weights, job.weights_sha256), device)
    split, autocast = load_test(job.data), autocast_for(job.recipe.precision, job.architecture, device)
    metrics, _ = evaluate_within_memory(model, split, normalise, device, autocast, first_batch(split, device))
    return EpochResult(job.recipe.epochs, 0.0, seconds=time.perf_counter() - started, **vars(metrics))


def _measured(device: torch.device, latency: Latency | None = None, devices: int = 1) -> Measured:
    median = None if latency is None else latency.median_ms
    name = describe_device(device) if devices == 1 else f"{devices} x {describe_device(device)}"
    return Measured(median, None, name, versions(), latency)


def _latency_within_limit(job: Job, model: VisionModel, device: torch.device) -> Latency | None:
    if not (job.measure_latency or job.max_latency_ms is not None):
        return None
    deployed = job.architecture.deployed
    target = LATENCY_TARGETS.find(job.latency_target)()
    latency = target.measure(model if deployed is job.architecture else build(deployed, device=device), device)
    if job.max_latency_ms is not None and latency.median_ms > job.max_latency_ms:
        message = f"one image takes {latency.median_ms:.3g} ms, more than the {job.max_latency_ms:g} ms allowed"
        raise EvaluationError(Cause.TOO_SLOW, message, _measured(device, latency))
    return latency


def _seed(seed: int, epoch: int, purpose: str) -> int:
    """A separate seed for every purpose and epoch; neighbouring seeds are unrelated."""
    return int.from_bytes(hashlib.sha256(f"{seed} {epoch} {purpose}".encode()).digest()[:7], "big")


def _resolved(spec: DataSpec) -> DataSpec:
    return replace(spec, directory=str(data_directory(spec)))


@lru_cache(maxsize=2)
def _splits_on(spec: DataSpec, device: torch.device) -> Splits:
    """The splits on a device; cached, as the trials of a study share them."""
    splits = load_splits(spec)
    return replace(splits, train=place(splits.train, device), validation=place(splits.validation, device))


def _check_fit(architecture: Architecture, splits: Splits) -> None:
    info = splits.info
    for name in ("image_size", "in_channels", "classes"):
        here, there = getattr(architecture, name), getattr(info, name)
        if here != there:
            raise DataError(f"the architecture has {name} {here}, but the data set {there}")

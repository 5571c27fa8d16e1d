"""`train`: the default evaluator, one training from initial weights to a validated model.

On a CPU the same job gives bit-identical results for the same number of threads, also when it was stopped at a rung or
interrupted, and went on later in another process. All randomness of an epoch (order, augmentation, stochastic depth)
is seeded by the job's seed and the epoch's number.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Generator
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from runners.base import Cause, DataSpec, EpochResult, EvaluationError, Interrupted, Job, Latency, Measured
from runners.batches import Normaliser, evaluation_batches, place, steps_per_epoch, training_batches
from runners.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from runners.data import Split, Splits, data_directory, load_splits, load_test
from runners.device import describe_device, pick_device, versions
from runners.latency import measure_latency
from runners.optimisation import learning_rate, make_optimizer
from runners.precision import autocast_for
from runners.weights import load_weights, save_weights
from search_space.architecture import Architecture
from search_space.errors import DataError
from search_space.model import VisionModel, build, set_generator

CHECKPOINT_EVERY_S = 5.0
"""Between rungs a checkpoint is at most about this much older than the training; cheap trials are done before."""
EVALUATION_BATCH = 512


def train(job: Job) -> Generator[EpochResult, None, Measured]:
    """Train on the training split and validate after every epoch; or, for a "test" job, test once.

    A training goes on from its checkpoint, which is written at every rung before the rung is reported: whatever the
    search decides there, another process can take it up at once. Without a checkpoint it starts again.

    Yields:
        Every epoch that the search does not know; all of them if the training starts again. For a "test" job a single
        one, numbered as the last of the recipe.

    Returns:
        Latency if it was asked for, peak memory on a GPU, device and versions.

    Raises:
        EvaluationError: DIVERGED if a loss is not finite, TOO_SLOW if the latency exceeds the job's limit.
        DataError: If the images cannot be had or do not fit the architecture, or the weights of a "test" job cannot.
        RunnerError: If there is no such device.
    """
    device = pick_device(job.device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    model = build(job.architecture, generator=torch.Generator().manual_seed(job.seed), device=device)
    if job.task == "test":
        measured = _measured(device)
        yield _test(job, model, device)
    else:
        measured = yield from _train(job, model, device)
    if device.type == "cuda":
        measured = replace(measured, peak_memory_mib=torch.cuda.max_memory_allocated(device) / 2**20)
    return measured


def _train(job: Job, model: VisionModel, device: torch.device) -> Generator[EpochResult, None, Measured]:
    recipe = job.recipe
    resumed = load_checkpoint(job.checkpoint, job, model) if job.checkpoint else None
    latency = resumed.latency if resumed else None
    if latency is None:
        latency = _latency_within_limit(job, model, device)
    measured = _measured(device, latency)
    splits = _splits_on(_resolved(job.data), device)
    _check_fit(job.architecture, splits)
    training = _Training(job, model, device, splits)
    curve: list[EpochResult] = []
    if resumed is not None:
        model.load_state_dict(resumed.model)
        training.optimizer.load_state_dict(dict(resumed.optimizer))
        curve = list(resumed.curve)
        yield from (replace(epoch, measured=measured) for epoch in curve[job.reported :])

    def save() -> int:
        """Write a checkpoint if the job has one; the epoch that it holds."""
        if job.checkpoint is not None:
            state = Checkpoint(tuple(curve), model.state_dict(), training.optimizer.state_dict(), latency)
            save_checkpoint(job.checkpoint, job, state)
        return len(curve)

    saved, saved_at = len(curve), time.monotonic()
    for epoch in range(len(curve) + 1, recipe.epochs + 1):
        curve.append(training.run_epoch(epoch))
        # The last one is written too: if the driver dies before it is told of the end, nothing is trained again.
        if epoch in job.rungs or epoch == recipe.epochs or time.monotonic() - saved_at > CHECKPOINT_EVERY_S:
            saved, saved_at = save(), time.monotonic()
        try:
            yield replace(curve[-1], measured=measured)
        except Interrupted:
            # What was saved is left alone: a training stopped at a rung may have gone on elsewhere by now.
            if saved < epoch:
                save()
            raise

    if job.weights is not None:
        save_weights(model, job.weights, splits.mean, splits.std)
    return measured


class _Training:
    """A model with all that it takes to train it for one more epoch."""

    def __init__(self, job: Job, model: VisionModel, device: torch.device, splits: Splits) -> None:
        self.recipe, self.seed, self.model, self.device, self.splits = job.recipe, job.seed, model, device, splits
        self.optimizer = make_optimizer(model, job.recipe)
        self.parameters = list(model.parameters())
        self.normalise = Normaliser(splits.mean, splits.std, device)
        self.autocast = autocast_for(job.recipe.precision, job.architecture, device)
        self.batch_size = min(job.recipe.batch_size, len(splits.train))
        self.steps = steps_per_epoch(splits.train, self.batch_size)
        self.draws = torch.Generator(device)
        self.drop_path_draws = torch.Generator(device)
        set_generator(model, self.drop_path_draws)

    def run_epoch(self, epoch: int) -> EpochResult:
        """Train for one epoch and validate; `epoch` is 1 for the first."""
        started = time.perf_counter()
        self.draws.manual_seed(_seed(self.seed, epoch, "data"))
        self.drop_path_draws.manual_seed(_seed(self.seed, epoch, "drop path"))
        train_loss = self._learn(epoch)
        nll, accuracy = evaluate(self.model, self.splits.validation, self.normalise, self.device, self.autocast)
        for name, loss in (("training loss", train_loss), ("validation NLL", nll)):
            if not math.isfinite(loss):
                raise EvaluationError(Cause.DIVERGED, f"the {name} became {loss} in epoch {epoch}")
        return EpochResult(epoch, train_loss, nll, accuracy, time.perf_counter() - started)

    def _learn(self, epoch: int) -> float:
        """One pass over the training split; the mean loss."""
        recipe, model = self.recipe, self.model.train()
        step, steps = (epoch - 1) * self.steps, recipe.epochs * self.steps
        total = torch.zeros((), device=self.device)  # read once an epoch: a GPU is not waited for at every step
        augmentation = self.splits.augmentation
        for images, labels in training_batches(
            self.splits.train, self.batch_size, self.normalise, augmentation, self.draws
        ):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(recipe, step, steps)
            with self.autocast:
                scores = model(images)
            loss = functional.cross_entropy(scores.float(), labels, label_smoothing=recipe.label_smoothing)
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.parameters, recipe.clip_norm)
            self.optimizer.step()
            total += loss.detach()
            step += 1
        return total.item() / self.steps


@torch.inference_mode()
def evaluate(
    model: VisionModel,
    split: Split,
    normalise: Normaliser,
    device: torch.device,
    autocast: AbstractContextManager[object],
) -> tuple[float, float]:
    """Mean negative log-likelihood in nats, and accuracy in 0..1, over a split."""
    model.eval()
    nll, correct = torch.zeros((), device=device, dtype=torch.float64), torch.zeros((), device=device)
    for images, labels in evaluation_batches(split, EVALUATION_BATCH, normalise, device):
        with autocast:
            scores: Tensor = model(images)
        nll += functional.cross_entropy(scores.float(), labels, reduction="sum")
        correct += (scores.argmax(dim=1) == labels).sum()
    return nll.item() / len(split), correct.item() / len(split)


def _test(job: Job, model: VisionModel, device: torch.device) -> EpochResult:
    if job.weights is None:
        raise DataError(f"{job.key} is to be tested, but names no weights")
    started = time.perf_counter()
    normalise = Normaliser(*load_weights(model, job.weights), device)
    split, autocast = load_test(job.data), autocast_for(job.recipe.precision, job.architecture, device)
    nll, accuracy = evaluate(model, split, normalise, device, autocast)
    return EpochResult(job.recipe.epochs, 0.0, nll, accuracy, time.perf_counter() - started)


def _measured(device: torch.device, latency: Latency | None = None) -> Measured:
    median = None if latency is None else latency.median_ms
    return Measured(median, None, describe_device(device), versions(), latency)


def _latency_within_limit(job: Job, model: VisionModel, device: torch.device) -> Latency | None:
    if not (job.measure_latency or job.max_latency_ms is not None):
        return None
    deployed = job.architecture.deployed
    latency = measure_latency(model if deployed is job.architecture else build(deployed, device=device), device)
    if job.max_latency_ms is not None and latency.median_ms > job.max_latency_ms:
        message = f"one image takes {latency.median_ms:.3g} ms, more than the {job.max_latency_ms:g} ms allowed"
        raise EvaluationError(Cause.TOO_SLOW, message, _measured(device, latency))
    return latency


def _seed(seed: int, epoch: int, purpose: str) -> int:
    """A seed of its own for every purpose and epoch; neighbouring ones are unrelated."""
    return int.from_bytes(hashlib.sha256(f"{seed} {epoch} {purpose}".encode()).digest()[:7], "big")


def _resolved(spec: DataSpec) -> DataSpec:
    return replace(spec, directory=str(data_directory(spec)))


@lru_cache(maxsize=2)
def _splits_on(spec: DataSpec, device: torch.device) -> Splits:
    """The splits on a device; kept, as the trials of a study share them."""
    splits = load_splits(spec)
    return replace(splits, train=place(splits.train, device), validation=place(splits.validation, device))


def _check_fit(architecture: Architecture, splits: Splits) -> None:
    info = splits.info
    for name in ("image_size", "in_channels", "classes"):
        here, there = getattr(architecture, name), getattr(info, name)
        if here != there:
            raise DataError(f"the architecture has {name} {here}, but the data set {there}")

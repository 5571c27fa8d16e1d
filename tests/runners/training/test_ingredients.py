"""Trainings with every ingredient of a recipe: they run, resume exactly, and keep what was validated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from runners.data import load_splits
from runners.data.base import DatasetInfo
from runners.protocol import DataSpec, EpochResult, Interrupted, Job
from runners.recipe import Recipe, Teacher
from runners.teacher import find_teacher
from runners.training import memory
from runners.training.early_stop import has_stalled
from runners.training.loss import Loss
from runners.training.train import train
from runners.training.weights import load_weights, save_weights
from search_space import build
from search_space.errors import WeightsError

MakeJob = Callable[..., Job]
DIGITS = DatasetInfo(8, 1, 10)
INGREDIENTS: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": "sgd", "lr": 0.05},
    "lion": {"optimizer": "lion", "lr": 1e-3},
    "linear": {"schedule": "linear"},
    "constant": {"schedule": "constant", "clip_norm": 0.0},
    "mixup": {"mixup": 0.2},
    "cutmix": {"cutmix": 1.0},
    "rand_augment": {"rand_augment": 9},
    "trivial_augment": {"trivial_augment": True},
    "erasing": {"erasing": 0.25},
    "crop": {"crop": 0.5},
    "repeats": {"repeats": 3},
    "ema": {"ema": 0.9},
    "class_weights": {"class_weights": "balanced"},
    "all": {
        "optimizer": "lion",
        "lr": 1e-3,
        "mixup": 0.2,
        "cutmix": 1.0,
        "rand_augment": 9,
        "erasing": 0.25,
        "crop": 0.8,
        "repeats": 2,
        "ema": 0.9,
    },
}


def curve(job: Job) -> list[EpochResult]:
    return [replace(epoch, seconds=0.0, measured=None) for epoch in train(job)]


@pytest.fixture
def bundle(make_job: MakeJob, tmp_path: Path) -> Path:
    """An exported model: the files of a bundle that a teacher needs."""
    folder = tmp_path / "teacher"
    folder.mkdir()
    job = make_job(weights=folder / "model.safetensors", seed=5)
    list(train(job))
    (folder / "architecture.yaml").write_text(job.architecture.to_yaml())
    return folder


@pytest.mark.parametrize("name", INGREDIENTS)
def test_a_resumed_training_equals_an_uninterrupted_one(make_job: MakeJob, tmp_path: Path, name: str) -> None:
    recipe = Recipe(**{"epochs": 3, **INGREDIENTS[name]})
    whole = curve(make_job(recipe=recipe, weights=tmp_path / "whole"))

    job = make_job(recipe=recipe, weights=tmp_path / "parts", checkpoint=tmp_path / "checkpoint")
    steps = train(job)
    next(steps)
    with suppress(Interrupted, StopIteration):
        steps.throw(Interrupted())

    assert curve(replace(job, reported=1)) == whole[1:]
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()
    assert whole != curve(make_job(recipe=Recipe(epochs=3)))


def test_what_is_kept_is_what_was_validated(make_job: MakeJob, tmp_path: Path) -> None:
    """The weights on disk are averages: they have the NLL of the last epoch."""
    job = make_job(recipe=Recipe(epochs=2, ema=0.9, precision="fp32"), weights=tmp_path / "weights")
    (*_, last) = curve(job)
    splits, model = load_splits(DataSpec("digits")), build(job.architecture)

    mean, std = load_weights(model, tmp_path / "weights")
    images = splits.validation.images / 255
    scores = model.eval()((images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None])

    assert functional.cross_entropy(scores, splits.validation.labels).item() == pytest.approx(last.nll, rel=1e-4)


def test_the_average_follows_the_weights_and_changes_no_step(make_job: MakeJob) -> None:
    plain, averaged = (curve(make_job(recipe=Recipe(epochs=3, ema=ema))) for ema in (0.0, 0.9))
    assert [epoch.train_loss for epoch in averaged] == [epoch.train_loss for epoch in plain]
    first, second, last = (epoch.nll for epoch in averaged)
    assert first > second > last
    assert last != plain[-1].nll


def test_the_average_restarts_with_the_epoch_if_memory_runs_out(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that fails after others of its epoch leaves no trace in the average."""
    recipe = Recipe(epochs=2, batch_size=64, ema=0.9)
    expected = curve(make_job(recipe=recipe))
    steps, exact = [], memory.gradients

    def fails_once(losses: Any, images: Any, labels: Any, micro_batch: int) -> Any:
        steps.append(micro_batch)
        if len(steps) == 5:
            raise torch.OutOfMemoryError("out of memory")
        return exact(losses, images, labels, micro_batch)

    monkeypatch.setattr("runners.training.step.gradients", fails_once)

    for found, before in zip(curve(make_job(recipe=recipe)), expected, strict=True):
        assert found.nll == pytest.approx(before.nll, rel=1e-4)


@pytest.mark.parametrize(
    ("nlls", "patience", "stalled"),
    [
        ([], 1, False),
        ([3.0], 1, False),
        ([3.0, 2.0], 1, False),
        ([3.0, 3.0], 1, True),
        ([3.0, 2.0, 2.5], 2, False),
        ([3.0, 2.0, 2.5, 2.1], 2, True),
        ([3.0, 2.0, 2.5, 1.9], 2, False),
        ([3.0, 3.0, 3.0, 3.0], 0, False),
    ],
)
def test_a_training_stalls_after_epochs_without_gain(nlls: Sequence[float], patience: int, stalled: bool) -> None:
    epochs = [EpochResult(number, 0.0, nll, 0.0, 0.0) for number, nll in enumerate(nlls, start=1)]

    assert has_stalled(epochs, patience) is stalled


def test_a_training_that_stalls_is_complete(make_job: MakeJob, tmp_path: Path) -> None:
    """With so small a learning rate nothing changes but by rounding; some epoch brings no gain."""
    recipe = Recipe(epochs=50, lr=1e-12, weight_decay=0.0, patience=1)
    job = make_job(recipe=recipe, checkpoint=tmp_path / "checkpoint", weights=tmp_path / "weights")

    epochs = curve(job)

    assert len(epochs) < 50
    assert epochs[-1].nll >= min(epoch.nll for epoch in epochs[:-1])
    (tmp_path / "weights").unlink()
    assert curve(replace(job, reported=len(epochs))) == []
    assert (tmp_path / "weights").exists()


def test_a_soft_teacher_by_hand(make_job: MakeJob, bundle: Path) -> None:
    """A student with the teacher's own scores learns nothing from it; another pays the divergence."""
    splits = load_splits(DataSpec("digits"))
    recipe = Recipe(epochs=1, label_smoothing=0.0, teacher=find_teacher(str(bundle), DIGITS), teacher_weight=0.25)
    loss = Loss(recipe, splits, (torch.device("cpu"),))
    teacher = build(make_job().architecture)
    mean, std = load_weights(teacher, bundle / "model.safetensors")
    images = (splits.train.images[:16] / 255 - mean[0]) / std[0]
    labels = splits.train.labels[:16]
    taught = teacher.eval()(images).detach()
    scores = torch.randn(16, 10, generator=torch.Generator().manual_seed(0))

    shares, wanted = (scores / 3).softmax(dim=1), (taught / 3).softmax(dim=1)
    divergence = (wanted * (wanted / shares).log()).sum(dim=1).mean() * 9
    expected = 0.75 * functional.cross_entropy(scores, labels) + 0.25 * divergence
    torch.testing.assert_close(loss(scores, images, labels), expected)
    torch.testing.assert_close(loss(taught, images, labels), 0.75 * functional.cross_entropy(taught, labels))


def test_a_hard_teacher_by_hand(make_job: MakeJob, bundle: Path) -> None:
    splits = load_splits(DataSpec("digits"))
    known = find_teacher(str(bundle), DIGITS)
    loss = Loss(
        Recipe(epochs=1, label_smoothing=0.0, teacher=known, distillation="hard"), splits, (torch.device("cpu"),)
    )
    teacher = build(make_job().architecture)
    mean, std = load_weights(teacher, bundle / "model.safetensors")
    images = (splits.train.images[:16] / 255 - mean[0]) / std[0]
    scores = torch.randn(16, 10, generator=torch.Generator().manual_seed(0))

    best = teacher.eval()(images).argmax(dim=1)
    halves = [functional.cross_entropy(scores, labels) for labels in (splits.train.labels[:16], best)]
    torch.testing.assert_close(loss(scores, images, splits.train.labels[:16]), sum(halves) / 2)


def test_a_teacher_sees_images_as_it_was_trained(make_job: MakeJob, bundle: Path) -> None:
    """Another normalisation of the student's images does not change what the teacher says."""
    splits = load_splits(DataSpec("digits"))
    model = build(make_job().architecture)
    load_weights(model, bundle / "model.safetensors")
    save_weights(model, bundle / "model.safetensors", (0.2,), (0.7,))
    known = find_teacher(str(bundle), DIGITS)
    loss = Loss(
        Recipe(epochs=1, label_smoothing=0.0, teacher=known, teacher_weight=1.0), splits, (torch.device("cpu"),)
    )
    pixels = splits.train.images[:16] / 255
    taught = model.eval()((pixels - 0.2) / 0.7).detach()

    found = loss(taught, (pixels - splits.mean[0]) / splits.std[0], splits.train.labels[:16])

    assert found.item() == pytest.approx(0.0, abs=1e-6)


def test_training_with_a_teacher(make_job: MakeJob, bundle: Path, tmp_path: Path) -> None:
    recipe = Recipe(epochs=2, mixup=0.2, teacher=find_teacher(str(bundle), DIGITS))
    job = make_job(recipe=recipe, checkpoint=tmp_path / "checkpoint")

    assert curve(job) == curve(make_job(recipe=recipe))
    assert curve(job) != curve(make_job(recipe=Recipe(epochs=2, mixup=0.2)))


def test_a_teacher_that_has_changed_is_refused(make_job: MakeJob, bundle: Path) -> None:
    recipe = Recipe(epochs=1, teacher=Teacher(str(bundle), "0" * 64))

    with pytest.raises(WeightsError, match="is not the one of the study: its files have changed"):
        list(train(make_job(recipe=recipe)))


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (DatasetInfo(8, 1, 12), "a model with classes 10; the images have 12"),
        (DatasetInfo(8, 3, 10), "a model with in_channels 1; the images have 3"),
        (DatasetInfo(28, 1, 10), "a model with image_size 8; the images have 28"),
    ],
)
def test_a_teacher_for_other_images_is_refused(bundle: Path, info: DatasetInfo, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        find_teacher(str(bundle), info)


def test_what_is_not_a_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    (bundle / "model.safetensors").unlink()
    for folder, name in ((bundle, "model.safetensors"), (tmp_path, "architecture.yaml")):
        with pytest.raises(WeightsError, match=rf"has no {name}; allowed: a folder that `nas export` wrote"):
            find_teacher(str(folder), DIGITS)

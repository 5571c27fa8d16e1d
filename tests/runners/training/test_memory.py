"""Batches that are split when memory runs out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from runners.data import load_splits
from runners.execution import Execution
from runners.protocol import Cause, EvaluationError, Job, Outcome
from runners.recipe import Recipe
from runners.training import train as training
from runners.training.batches import steps_per_epoch
from runners.training.checkpoint import load_checkpoint, save_checkpoint
from runners.training.flat import FlatOptimizer
from runners.training.memory import Snapshot, gradients, within_memory
from runners.training.train import train
from search_space import Architecture, build
from search_space.models.model import VisionModel

MakeJob = Callable[..., Job]
CPU = torch.device("cpu")
NO_MEMORY = {
    "cuda": lambda: torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nand a page more"),
    "python": lambda: bytearray(2**62),
    "cpu": lambda: torch.empty(2**60, dtype=torch.uint8),
}
"""Ways to run out of memory; but for CUDA's, which is made here, they are the real ones."""


def run_out(kind: str) -> None:
    result = NO_MEMORY[kind]()
    raise result


@pytest.fixture
def short_of_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[bool, int]]]:
    """Models that run out of memory above so many images; returns whether they trained and how many images they saw."""

    def limit(train_limit: int, evaluation_limit: int = 10**9, kind: str = "cuda") -> list[tuple[bool, int]]:
        seen: list[tuple[bool, int]] = []

        def check(model: VisionModel, inputs: tuple[torch.Tensor]) -> None:
            seen.append((model.training, len(inputs[0])))
            if len(inputs[0]) > (train_limit if model.training else evaluation_limit):
                run_out(kind)

        def build_limited(*args: object, **named: object) -> VisionModel:
            model = build(*args, **named)
            model.register_forward_pre_hook(check)
            return model

        monkeypatch.setattr(training, "build", build_limited)
        return seen

    return limit


def run(job: Job) -> tuple[list, Outcome]:
    execution, epochs, outcome = Execution(job, train), [], None
    while outcome is None:
        new, outcome = execution.advance()
        epochs += new
    return [replace(epoch, seconds=0.0, measured=None) for epoch in epochs], outcome


@pytest.mark.parametrize("micro_batch", [32, 16, 7, 1])
def test_a_step_by_micro_batches_is_the_step_of_the_batch(
    make_architecture: Callable[..., Architecture], micro_batch: int
) -> None:
    """In double precision they agree to its last digits, so no image has a wrong weight, in a last part of 4 either."""
    draws = torch.Generator().manual_seed(3)
    images = torch.randn(32, 1, 8, 8, dtype=torch.float64, generator=draws)
    labels = torch.randint(10, (32,), generator=draws)
    start = build(make_architecture(), generator=draws).double()
    models, losses = [copy.deepcopy(start) for _ in range(2)], []
    for model, size in zip(models, (32, micro_batch), strict=True):

        def loss_of(some: torch.Tensor, wanted: torch.Tensor, model: VisionModel = model) -> torch.Tensor:
            return functional.cross_entropy(model(some), wanted, label_smoothing=0.1)

        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for _ in range(2):
            optimizer.zero_grad()
            losses.append(gradients([loss_of], images, labels, size).item())
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()

    for whole, parts, before in zip(*(model.parameters() for model in [*models, start]), strict=True):
        assert not whole.equal(before)
        torch.testing.assert_close(parts, whole, rtol=0, atol=1e-9)
    assert losses[2:] == pytest.approx(losses[:2], rel=1e-12)


@pytest.mark.parametrize("kind", NO_MEMORY)
def test_a_training_continues_in_halves(make_job: MakeJob, short_of_memory: Callable, kind: str) -> None:
    job = make_job(recipe=Recipe(epochs=2, batch_size=64))
    whole, _ = run(job)
    seen = short_of_memory(20, 100, kind)

    parts, outcome = run(job)

    assert outcome.status == "complete"
    assert outcome.measured.micro_batch == 16
    trained, validated = ([count for training, count in seen if training == wanted] for wanted in (True, False))
    assert trained[:3] == [64, 32, 16]  # once each, and then it is known what fits
    assert set(trained[2:]) == {16}
    images = sum(validated[-len(validated) // 2 :])
    assert max(validated[-len(validated) // 2 :]) <= 100 < images
    assert [epoch.nll for epoch in parts] == pytest.approx([epoch.nll for epoch in whole], rel=1e-3)
    assert [epoch.train_loss for epoch in parts] == pytest.approx([epoch.train_loss for epoch in whole], rel=1e-3)


def test_with_enough_memory_the_batch_stays_whole(make_job: MakeJob) -> None:
    assert run(make_job(recipe=Recipe(epochs=1, batch_size=48)))[1].measured.micro_batch == 48


@pytest.mark.parametrize(("batch_size", "smallest"), [(64, 4), (40, 2), (3, 1)])
def test_a_sixteenth_is_the_end(make_job: MakeJob, short_of_memory: Callable, batch_size: int, smallest: int) -> None:
    seen = short_of_memory(0)

    epochs, outcome = run(make_job(recipe=Recipe(epochs=2, batch_size=batch_size)))

    assert epochs == []
    assert (outcome.status, outcome.cause) == ("failed", Cause.OUT_OF_MEMORY)
    assert outcome.message == (
        f"out of memory with {smallest} of {batch_size} images at a time: "
        "CUDA out of memory. Tried to allocate 2.00 GiB"
    )
    assert seen[-1] == (True, smallest)


def test_an_epoch_that_fails_midway_restarts(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory runs out in the fifth step of epoch 2, which ends as if it had begun with micro-batches of 32."""
    job = make_job(recipe=Recipe(epochs=2, batch_size=64), checkpoint=tmp_path / "checkpoint", rungs=(1,))
    steps = train(job)
    first = next(steps)
    steps.close()
    model = build(job.architecture)
    saved = load_checkpoint(job.checkpoint, job, model)
    save_checkpoint(job.checkpoint, job, replace(saved, micro_batch=32))
    (expected,), _ = run(replace(job, reported=1))

    countdown = {"steps": steps_per_epoch(load_splits(job.data).train, 64) + 5}

    def build_failing(*args: object, **named: object) -> VisionModel:
        model = build(*args, **named)

        def count(model: VisionModel, inputs: tuple[torch.Tensor]) -> None:
            countdown["steps"] -= model.training
            if model.training and countdown["steps"] == 0:
                run_out("cuda")

        model.register_forward_pre_hook(count)
        return model

    monkeypatch.setattr(training, "build", build_failing)
    epochs, outcome = run(replace(job, checkpoint=None, rungs=()))

    assert countdown["steps"] < 0
    assert outcome.measured.micro_batch == 32
    assert epochs[1] == expected
    assert epochs[0].nll == first.nll


def test_what_fits_is_remembered_in_the_checkpoint(
    make_job: MakeJob, tmp_path: Path, short_of_memory: Callable
) -> None:
    job = make_job(recipe=Recipe(epochs=2, batch_size=64), checkpoint=tmp_path / "checkpoint", rungs=(1,))
    seen = short_of_memory(32, 200)
    steps = train(job)
    next(steps)
    steps.close()
    seen.clear()

    _, outcome = run(replace(job, reported=1))

    assert {count for training, count in seen if training} == {32}
    assert max(count for training, count in seen if not training) <= 200
    assert outcome.measured.micro_batch == 32


def test_a_test_is_evaluated_in_halves_too(make_job: MakeJob, tmp_path: Path, short_of_memory: Callable) -> None:
    job = make_job(weights=tmp_path / "weights")
    run(job)
    (whole,), _ = run(replace(job, task="test"))
    short_of_memory(0, 100)

    (parts,), outcome = run(replace(job, task="test"))

    assert outcome.status == "complete"
    assert parts.accuracy == whole.accuracy
    assert parts.nll == pytest.approx(whole.nll, rel=1e-5)


def test_other_failures_are_not_tried_again() -> None:
    tried: list[int] = []

    def fail(size: int) -> None:
        tried.append(size)
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        within_memory(fail, 8, 8, CPU)
    assert tried == [8]


def test_continuing_from_a_part_keeps_the_minimum_of_the_whole() -> None:
    tried: list[int] = []

    def fail(size: int) -> None:
        tried.append(size)
        raise MemoryError

    with pytest.raises(EvaluationError, match=r"out of memory with 4 of 64 images at a time$"):
        within_memory(fail, 8, 64, CPU)
    assert tried == [8, 4]


def test_a_snapshot_can_be_restored_twice() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    optimizer = FlatOptimizer(torch.optim.AdamW(model.parameters(), lr=0.1, fused=True))

    def step() -> None:
        optimizer.zero_grad()
        model(torch.tensor([[1.0, 2.0], [3.0, 5.0]])).square().sum().backward()
        optimizer.step()

    def state() -> list[torch.Tensor]:
        moments = [value for entry in optimizer.state_dict()["state"].values() for value in entry.values()]
        return [value.clone() for value in [*model.state_dict().values(), *moments]]

    step()
    before, beginning = state(), Snapshot(model, optimizer)
    for _ in range(2):
        step()
        beginning.restore()
        assert all(now.equal(then) for now, then in zip(state(), before, strict=True))
        assert all(parameter.grad is None for parameter in model.parameters())

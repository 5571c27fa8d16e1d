from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Generator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from runners.data import Split
from runners.execution import Execution
from runners.measuring.targets import TrialDevice
from runners.protocol import Cause, EpochResult, EvaluationError, Interrupted, Job, Latency, Measured
from runners.recipe import Recipe
from runners.training import checkpoint
from runners.training import train as training
from runners.training.batches import Normaliser
from runners.training.evaluate import evaluate
from runners.training.train import train
from search_space import Architecture, Branch, RepMLP, Stage, build
from search_space.errors import DataError, WeightsError
from search_space.models.model import VisionModel

MakeJob = Callable[..., Job]
MakeArchitecture = Callable[..., Architecture]


def curve(job: Job) -> list[EpochResult]:
    """Epochs without their times."""
    return [replace(epoch, seconds=0.0) for epoch in train(job)]


def interrupt(steps: Generator[EpochResult, None, Measured]) -> None:
    """End a training as a runner does that will resume it later."""
    with pytest.raises(Interrupted):
        steps.throw(Interrupted())


def test_training_learns(make_job: MakeJob) -> None:
    epochs = curve(make_job(recipe=Recipe(epochs=6, lr=1e-2)))

    assert [epoch.epoch for epoch in epochs] == [1, 2, 3, 4, 5, 6]
    assert epochs[-1].nll < epochs[0].nll < 1.1 * math.log(10)
    assert epochs[-1].accuracy > 0.5
    assert epochs[-1].train_loss < epochs[0].train_loss


@pytest.mark.parametrize("changes", [{}, {"drop_path": 0.3}, {"norm": "batchnorm"}], ids=str)
def test_the_seed_alone_decides(make_job: MakeJob, make_architecture: MakeArchitecture, changes: dict) -> None:
    job = make_job(architecture=make_architecture(**changes), recipe=Recipe(epochs=2))
    first = curve(job)
    torch.manual_seed(99)

    assert curve(job) == first
    assert curve(replace(job, seed=1)) != first


def test_the_global_generator_is_left_alone(make_job: MakeJob) -> None:
    before = torch.random.get_rng_state()
    curve(make_job())

    assert torch.random.get_rng_state().equal(before)


def close(steps: Generator[EpochResult, None, Measured]) -> None:
    """End a training as a runner does that was told to stop it."""
    steps.close()


@pytest.mark.parametrize("end", [interrupt, close])
@pytest.mark.parametrize("changes", [{}, {"drop_path": 0.3}, {"norm": "batchnorm"}], ids=str)
def test_a_resumed_training_equals_an_uninterrupted_one(
    make_job: MakeJob, make_architecture: MakeArchitecture, tmp_path: Path, changes: dict, end: Callable
) -> None:
    settings = {"architecture": make_architecture(**changes), "recipe": Recipe(epochs=4)}
    whole = curve(make_job(**settings, weights=tmp_path / "whole"))
    job = make_job(**settings, checkpoint=tmp_path / "checkpoint", weights=tmp_path / "resumed", rungs=(2,))
    steps = train(job)
    first = [replace(next(steps), seconds=0.0) for _ in range(2)]
    end(steps)

    rest = curve(replace(job, reported=2))

    assert first + rest == whole
    assert (tmp_path / "resumed").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_rung_is_in_the_checkpoint_before_it_is_reported(make_job: MakeJob, tmp_path: Path) -> None:
    """Another process resumes it while the first one has not been closed yet, and ends before that."""
    settings = {"recipe": Recipe(epochs=3)}
    job = make_job(**settings, checkpoint=tmp_path / "checkpoint", rungs=(1,))
    first = train(job)
    next(first)

    assert curve(replace(job, reported=1)) == curve(make_job(**settings))[1:]
    interrupt(first)  # which must not bring back the checkpoint of epoch 1
    assert curve(replace(job, reported=3)) == []


@pytest.mark.parametrize(("reported", "yielded"), [(0, [1, 2, 3, 4, 5]), (2, [3, 4, 5]), (3, [4, 5]), (4, [4, 5])])
def test_what_is_not_known_is_yielded_from_the_checkpoint_on(
    make_job: MakeJob, tmp_path: Path, reported: int, yielded: list[int]
) -> None:
    """The checkpoint holds three epochs: what the search lacks of them is yielded, what comes after them trained."""
    job = make_job(recipe=Recipe(epochs=5), checkpoint=tmp_path / "checkpoint", rungs=(1,))
    steps = train(job)
    for _ in range(3):
        next(steps)
    interrupt(steps)

    whole = curve(make_job(recipe=Recipe(epochs=5)))
    assert curve(replace(job, reported=reported)) == [whole[epoch - 1] for epoch in yielded]


def test_without_its_checkpoint_a_training_starts_again(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job(checkpoint=tmp_path / "checkpoint", reported=2)

    assert curve(job) == curve(make_job())


def test_a_complete_training_is_not_repeated_if_its_end_was_not_noticed(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job(checkpoint=tmp_path / "checkpoint", weights=tmp_path / "weights")
    whole = curve(job)
    (tmp_path / "weights").unlink()

    assert curve(replace(job, reported=2)) == whole[2:]
    assert (tmp_path / "weights").exists()


def test_a_training_stopped_before_its_first_rung_leaves_no_checkpoint(make_job: MakeJob, tmp_path: Path) -> None:
    steps = train(make_job(checkpoint=tmp_path / "checkpoint", rungs=(2,)))
    next(steps)
    steps.close()

    assert not (tmp_path / "checkpoint").exists()


def test_a_latency_is_measured_once(make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed training keeps its first measurement instead of a second noisy one."""
    job = make_job(checkpoint=tmp_path / "checkpoint", rungs=(1,), max_latency_ms=1e9)
    steps = train(job)
    before = next(steps).measured
    steps.close()
    monkeypatch.setattr(TrialDevice, "measure", None)

    (*_, last) = train(replace(job, reported=1))

    assert last.measured == before
    assert last.measured.latency.median_ms == last.measured.latency_ms > 0


def test_a_training_with_a_damaged_checkpoint_restarts(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job(checkpoint=tmp_path / "checkpoint")
    steps = train(job)
    next(steps)
    interrupt(steps)
    job.checkpoint.write_bytes(job.checkpoint.read_bytes()[:-100])

    assert curve(job) == curve(make_job())


def test_a_checkpoint_of_objects_is_ignored_without_the_advice_to_run_them(
    make_job: MakeJob, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, payload = tmp_path / "checkpoint", io.BytesIO()
    torch.save({"model": Fraction(1, 2)}, payload)
    path.write_bytes(checkpoint._MAGIC + hashlib.sha256(payload.getvalue()).digest() + payload.getvalue())

    assert checkpoint.load_checkpoint(path, make_job(), torch.nn.Identity()) is None
    (record,) = caplog.records
    assert record.getMessage().endswith("it holds more than tensors and plain values")


@pytest.mark.parametrize("recipe", [Recipe(epochs=2, lr=1e30), Recipe(epochs=2, lr=math.inf)], ids=["1e30", "inf"])
def test_a_loss_that_is_not_finite_diverges(make_job: MakeJob, recipe: Recipe) -> None:
    with pytest.raises(EvaluationError, match=r"became (nan|inf) in epoch 1") as caught:
        list(train(make_job(recipe=recipe)))

    assert caught.value.cause is Cause.DIVERGED


def test_evaluation_by_hand(make_architecture: MakeArchitecture) -> None:
    """A head of zero weights gives the softmax of its bias, whatever the image."""
    model = build(make_architecture(classes=3))
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(torch.tensor([0.5, 0.25, 0.25]).log())
    split = Split(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 0, 1, 2]))
    cpu = torch.device("cpu")

    metrics = evaluate(model, split, Normaliser((0.0,), (1.0,), cpu), cpu, torch.autocast("cpu", enabled=False))

    assert metrics.nll == pytest.approx((2 * math.log(2) + 2 * math.log(4)) / 4)
    assert metrics.accuracy == 0.5
    assert metrics.balanced_accuracy == pytest.approx(1 / 3)  # the first class is always predicted
    assert metrics.macro_f1 == pytest.approx((2 / 3 + 0 + 0) / 3)
    assert metrics.calibration_error == pytest.approx(0)  # it is half certain, and half right


def test_validation_has_no_label_smoothing(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the learning rate at 0 the same model is validated, whatever the recipe's smoothing."""
    plain, smoothed = (
        curve(make_job(recipe=Recipe(epochs=1, lr=0.0, label_smoothing=smoothing)))[0] for smoothing in (0.0, 0.5)
    )

    assert plain.nll == smoothed.nll
    assert plain.train_loss != smoothed.train_loss


def test_a_test_job_loads_the_weights_and_sees_the_test_split_only(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(weights=tmp_path / "weights")
    validated = curve(job)[-1]

    def untouchable(*args: object) -> None:
        raise AssertionError("a test job needs no training images")

    monkeypatch.setattr(training, "load_splits", untouchable)
    training._splits_on.cache_clear()
    (tested,) = curve(replace(job, task="test"))

    assert (tested.epoch, tested.train_loss) == (3, 0.0)
    assert tested.nll != validated.nll
    assert tested.accuracy > 0.2


def test_training_never_asks_for_the_test_split(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    def untouchable(*args: object) -> None:
        raise AssertionError("a training must not see the test split")

    monkeypatch.setattr(training, "load_test", untouchable)

    assert len(curve(make_job())) == 3


def test_weights_of_another_architecture_are_refused(
    make_job: MakeJob, make_architecture: MakeArchitecture, tmp_path: Path
) -> None:
    job = make_job(weights=tmp_path / "weights")
    curve(job)
    other = replace(job, task="test", architecture=make_architecture(position="learned"))

    with pytest.raises(WeightsError, match="does not hold weights of this architecture"):
        curve(other)


def test_a_flipped_bit_in_the_weights_is_not_tested(make_job: MakeJob, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    execution = Execution(make_job(weights=path), train)
    outcome = None
    while outcome is None:
        _, outcome = execution.advance()
    written = outcome.measured.weights_sha256
    assert written == hashlib.sha256(path.read_bytes()).hexdigest()
    test = make_job(task="test", weights=path, weights_sha256=written)
    assert len(curve(test)) == 1

    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1 << 6
    path.write_bytes(content)

    found = hashlib.sha256(content).hexdigest()
    with pytest.raises(WeightsError, match=f"{path} is damaged: its SHA-256 is {found}, and was {written}"):
        curve(test)
    assert len(curve(replace(test, weights_sha256=None))) == 1  # an older version recorded no digest


@pytest.mark.parametrize("content", [None, b"", b"no safetensors"])
def test_missing_or_damaged_weights_are_named(make_job: MakeJob, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "weights"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(WeightsError, match=str(path)):
        curve(make_job(task="test", weights=path))


def test_an_architecture_for_other_images_is_refused(make_job: MakeJob, make_architecture: MakeArchitecture) -> None:
    with pytest.raises(DataError, match="image_size 16, but the data set 8"):
        curve(make_job(architecture=make_architecture(image_size=16)))


def test_a_latency_over_the_limit_is_found_before_training(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "load_splits", None)  # would be called by a training
    training._splits_on.cache_clear()

    with pytest.raises(EvaluationError, match="more than the 1e-09 ms allowed") as caught:
        curve(make_job(max_latency_ms=1e-9))

    assert caught.value.cause is Cause.TOO_SLOW
    assert caught.value.measured.latency_ms > 1e-9


def test_what_is_measured_is_returned(make_job: MakeJob) -> None:
    execution = Execution(make_job(measure_latency=True), train)
    outcome = None
    while outcome is None:
        _, outcome = execution.advance()

    assert outcome.status == "complete"
    assert outcome.measured.latency_ms > 0
    assert outcome.measured.device.startswith("CPU (")
    assert outcome.measured.versions["torch"] == torch.__version__
    assert outcome.measured.latency.device == outcome.measured.device
    assert outcome.measured.latency.median_ms == outcome.measured.latency_ms


def test_a_batch_larger_than_the_split_is_the_split(make_job: MakeJob) -> None:
    assert len(curve(make_job(recipe=Recipe(epochs=1, batch_size=5000)))) == 1


def test_bfloat16_is_close_to_float32(make_job: MakeJob) -> None:
    float32, bfloat16 = (
        curve(make_job(recipe=Recipe(epochs=2, precision=precision)))[-1] for precision in ("fp32", "bf16")
    )

    assert bfloat16 != float32
    assert bfloat16.nll == pytest.approx(float32.nll, rel=0.05)


def test_the_latency_is_that_of_the_deployed_form(
    make_job: MakeJob, make_architecture: MakeArchitecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Architecture] = []

    def measure(self: TrialDevice, model: VisionModel, device: torch.device) -> Latency:
        measured.append(model.architecture)
        return Latency("", 1, 1, "fp32", 0, 1, 1.0, 1.0, 1.0)

    monkeypatch.setattr(TrialDevice, "measure", measure)
    plain = make_architecture()
    repmlp = replace(plain, stages=(Stage(1, 8, (Branch(RepMLP(2), "batchnorm"),)),))
    for architecture in (plain, repmlp):
        curve(make_job(architecture=architecture, recipe=Recipe(epochs=1), measure_latency=True))

    assert measured == [plain, repmlp.deployed]
    assert repmlp.deployed != repmlp

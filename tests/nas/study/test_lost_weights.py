"""Weights that are lost or damaged before they are tested: detected by their digest, and trained again."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch

from results.database.schema import Role, State
from runners.protocol import Cause, EpochResult, EvaluationError, Job, Measured
from runners.synthetic import synthetic
from runners.training.weights import load_weights, save_weights
from search_space import build
from search_space.errors import RunnerError


def flip(path: Path) -> None:
    """Flip one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@dataclass
class Fragile:
    """An evaluator with synthetic figures that writes and reads weights; something happens to them before a test.

    Attributes:
        happens: What happens to the file.
        times: How often, for each test.
    """

    happens: Callable[[Path], object] = lambda path: None
    times: int = 1
    jobs: list[Job] = field(default_factory=list)
    tests: Counter[str] = field(default_factory=Counter)

    def __call__(self, job: Job) -> Generator[EpochResult, None, Measured]:
        self.jobs.append(job)
        model = build(job.architecture, generator=torch.Generator().manual_seed(job.seed))
        if job.task == "train":
            measured = yield from synthetic(job)
            return replace(measured, weights_sha256=save_weights(model, job.weights, (0.5,), (0.5,)))
        self.tests[job.key] += 1
        if self.tests[job.key] <= self.times:
            self.happens(job.weights)
        load_weights(model, job.weights, job.weights_sha256)
        return (yield from synthetic(replace(job, reported=job.recipe.epochs - 1)))

    @property
    def last(self) -> list[str]:
        """Keys of the finalists' and tests' jobs, in order."""
        return [job.key for job in self.jobs if not job.key.startswith("trial")]


@pytest.fixture
def confirmed(run):
    """Search with one finalist and one fresh seed; returns the report and what the user was told."""

    def make(evaluator, **changes):
        told = []
        return run(evaluator, on_notice=told.append, budget=3, finalists=1, seeds=1, **changes), told

    return make


def the(stored, role: Role):
    (row,) = [row for row in stored().evaluations() if row.role == role]
    return row


def test_the_digest_is_stored_with_the_end_of_an_evaluation(confirmed, stored, settings):
    confirmed(Fragile())
    rows = [row for row in stored().evaluations() if row.weights_sha256 is not None]
    assert {row.role for row in rows} == {Role.TRIAL, Role.FINALIST}
    for row in rows:
        path = Path(settings["out"]) / "study" / "weights" / f"{row.key}.safetensors"
        assert hashlib.sha256(path.read_bytes()).hexdigest() == row.weights_sha256


@pytest.mark.parametrize("happens", [flip, Path.unlink, lambda path: path.write_bytes(b"")], ids=["bit", "gone", "cut"])
def test_lost_weights_are_trained_again_and_tested(confirmed, stored, happens):
    whole, _ = confirmed(Fragile(), study="whole")
    evaluator = Fragile(happens)
    report, told = confirmed(evaluator)
    training, test = evaluator.last[:2]
    assert evaluator.last == [training, test, training, test]
    again, first = [job for job in evaluator.jobs if job.key == training]
    assert (again.seed, again.reported) == (first.seed, 0)
    assert report.winner.test_nll == whole.winner.test_nll
    assert report.compute.fte == whole.compute.fte + 1  # what was trained twice counts twice
    row = the(stored, Role.FINALIST)
    assert (row.state, row.attempts, row.epochs_trained, row.epochs_run) == (State.COMPLETE, 2, 8, 16)
    assert len(stored().curves(Role.FINALIST)[training]) == 8
    assert the(stored, Role.TEST).state == State.COMPLETE
    (sentence,) = told
    assert f"{training} is trained again, because its weights were lost" in sentence
    assert f"{training}.safetensors" in sentence


def test_a_flipped_bit_is_reported_with_both_digests(confirmed, settings, stored):
    _, (sentence,) = confirmed(Fragile(flip))
    assert "its SHA-256 is " in sentence
    assert f"and was {the(stored, Role.FINALIST).weights_sha256} when it was written" in sentence


def test_weights_that_are_lost_again_and_again_end_the_study_untested(confirmed, stored):
    evaluator = Fragile(Path.unlink, times=99)
    report, told = confirmed(evaluator)
    assert len(told) == 4
    assert evaluator.last == 5 * evaluator.last[:2]
    assert report.winner.test_nll is None
    assert [line.partition(":")[0] for line in report.failures] == [f"{evaluator.last[1]} (weights)"]
    again = Fragile()
    assert confirmed(again)[0] == report
    assert again.jobs == []


def test_a_training_that_fails_when_it_is_repeated_ends_the_test(confirmed, stored):
    class Worse(Fragile):
        def __call__(self, job):
            if job.task == "train" and self.tests and job.key.startswith("finalist"):
                raise EvaluationError(Cause.DIVERGED, "the loss became nan")
            return (yield from super().__call__(job))

    report, _ = confirmed(Worse(flip))
    assert (the(stored, Role.FINALIST).state, the(stored, Role.TEST).state) == (State.FAILED, State.FAILED)
    assert "could not be trained again (diverged)" in the(stored, Role.TEST).message
    assert report.finalists == []


def test_an_interruption_in_between_is_resumed(confirmed, stored):
    class Impatient(Fragile):
        def __call__(self, job):
            if job.task == "train" and self.tests and job.key.startswith("finalist"):
                raise KeyboardInterrupt
            return (yield from super().__call__(job))

    with pytest.raises(KeyboardInterrupt):
        confirmed(Impatient(flip))
    assert (the(stored, Role.FINALIST).state, the(stored, Role.TEST).state) == (State.QUEUED, State.QUEUED)
    evaluator = Fragile()
    report, _ = confirmed(evaluator)
    assert [key.partition("-")[0] for key in evaluator.last] == ["finalist", "test"]
    assert report.winner.test_nll is not None


def test_weights_that_only_the_worker_cannot_reach_are_not_trained_again(confirmed):
    def elsewhere(job: Job) -> Generator[EpochResult, None, Measured]:
        if job.task == "test":
            job = replace(job, weights=job.weights.with_name("on-another-machine"))
        return (yield from Fragile()(job))

    with pytest.raises(RunnerError, match=r"there are no weights at .*on-another-machine"):
        confirmed(elsewhere)


def test_weights_of_an_older_version_are_not_checked(confirmed, stored):
    def older(job: Job) -> Generator[EpochResult, None, Measured]:
        measured = yield from Fragile(flip)(job)
        return replace(measured, weights_sha256=None)

    report, told = confirmed(older)
    assert told == []
    assert report.winner.test_nll is not None

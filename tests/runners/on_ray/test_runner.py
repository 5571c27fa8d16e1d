"""The Ray runner on a real Ray, with a source that only keeps a record."""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

pytestmark = [
    # Ray's own, at its start and in its callbacks.
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.xdist_group("ray"),
]
ray = pytest.importorskip("ray")

from ray import cloudpickle  # noqa: E402

from nas.testing.runners import QueuedJobs  # noqa: E402
from runners.on_ray.runner import RayRunner  # noqa: E402
from runners.protocol import Cause, Decision, EpochResult, EvaluationError, Job, Measured, Outcome  # noqa: E402
from runners.recipe import Recipe  # noqa: E402
from runners.training.train import train  # noqa: E402
from search_space.errors import RunnerError  # noqa: E402


class RecordingSource(QueuedJobs):
    """Hands out jobs in order and records what it is told; stops the keys in `stop`."""

    def __init__(self, jobs: Sequence[Job], stop: Sequence[str] = ()) -> None:
        super().__init__(jobs)
        self.stop = stop
        self.epochs: dict[str, list[int]] = {}
        self.outcomes: dict[str, Outcome] = {}

    def report(self, key: str, epochs: Sequence[EpochResult]) -> Decision:
        self.epochs.setdefault(key, []).extend(epoch.epoch for epoch in epochs)
        return Decision.STOP if key in self.stop else Decision.CONTINUE

    def tell(self, key: str, outcome: Outcome) -> None:
        self.running.remove(key)
        self.outcomes[key] = outcome


def by_key(job: Job) -> Generator[EpochResult, None, Measured]:
    """Behaves as the job's key says."""
    for epoch in range(1, job.recipe.epochs + 1):
        if job.key == "killed" and epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if job.key == "diverged" and epoch == 2:
            raise EvaluationError(Cause.DIVERGED, "the loss became nan")
        if job.key == "broken":
            raise ZeroDivisionError("division by zero")
        yield EpochResult(epoch, 1.0, 1.0, 0.5, 0.0)
    return Measured(device=f"process {os.getpid()}")


@pytest.fixture(scope="module")
def two_slots() -> Iterator[None]:
    """A Ray of two CPUs; evaluators of this module travel by value, as workers cannot import it."""
    cloudpickle.register_pickle_by_value(__import__("sys").modules[__name__])
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def run(two_slots: None, tmp_path: Path, make_job: Callable[..., Job]) -> Callable[..., RecordingSource]:
    """Run jobs with these keys, four epochs each, and return the source."""

    def run(*keys: str, stop: Sequence[str] = (), rungs: tuple[int, ...] = ()) -> RecordingSource:
        source = RecordingSource([make_job(key=key, rungs=rungs, recipe=Recipe(epochs=4)) for key in keys], stop)
        RayRunner().run(source, by_key)
        return source

    return run


def test_every_job_is_reported_in_full_and_told_once(run: Callable[..., RecordingSource]) -> None:
    keys = [f"trial-{number}" for number in range(5)]
    source = run(*keys)
    assert source.epochs == {key: [1, 2, 3, 4] for key in keys}
    assert {key: outcome.status for key, outcome in source.outcomes.items()} == dict.fromkeys(keys, "complete")


def test_a_decision_to_stop_takes_effect_at_the_rung(run: Callable[..., RecordingSource]) -> None:
    source = run("stopped", "goes-on", stop=["stopped"], rungs=(2,))
    assert source.epochs == {"stopped": [1, 2], "goes-on": [1, 2, 3, 4]}
    assert source.outcomes["stopped"].status == "stopped"
    assert source.outcomes["goes-on"].status == "complete"


def test_failures_are_typed_and_leave_the_others_alone(run: Callable[..., RecordingSource]) -> None:
    source = run("diverged", "broken", "killed", "fine", rungs=(1,))
    causes = {key: outcome.cause for key, outcome in source.outcomes.items()}
    assert causes == {"diverged": Cause.DIVERGED, "broken": Cause.BUG, "killed": Cause.WORKER_LOST, "fine": None}
    assert "division by zero" in source.outcomes["broken"].message
    assert source.epochs["diverged"] == [1]


def test_an_error_of_the_source_ends_the_run_and_comes_out(
    two_slots: None, tmp_path: Path, make_job: Callable[..., Job]
) -> None:
    class Failing(RecordingSource):
        def tell(self, key: str, outcome: Outcome) -> None:
            raise RunnerError("the source has had enough")

    source = Failing([make_job(key=f"trial-{number}") for number in range(4)])
    with pytest.raises(RunnerError, match="had enough"):
        RayRunner().run(source, by_key)


class Broken:
    """An evaluator that does not arrive."""

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return importlib.import_module, ("no_module_of_this_name",)


def test_workers_that_cannot_be_started_are_one_sentence(two_slots: None, make_job: Callable[..., Job]) -> None:
    source = RecordingSource([make_job()])
    with pytest.raises(RunnerError, match=r"^Ray cannot start a worker: .*no_module_of_this_name"):
        RayRunner().run(source, Broken())
    assert source.outcomes == {}


def test_more_than_the_machine_has_is_refused(two_slots: None, tmp_path: Path, make_job: Callable[..., Job]) -> None:
    with pytest.raises(RunnerError, match="--cpus-per-trial is 64, but there are 2 CPUs"):
        RayRunner(cpus_per_trial=64).run(RecordingSource([make_job()]), by_key)


def test_a_training_that_pauses_at_its_rungs_ends_like_an_uninterrupted_one(
    two_slots: None, tmp_path: Path, make_job: Callable[..., Job], pausing_source: type
) -> None:
    """Three trainings on two slots: workers are reused, and a training resumes wherever there is room."""
    recipe = Recipe(epochs=4)
    keys = [f"trial-{seed}" for seed in range(3)]
    jobs = [
        make_job(
            key=key, seed=seed, rungs=(1, 2), recipe=recipe, checkpoint=tmp_path / key, weights=tmp_path / f"{key}.w"
        )
        for seed, key in enumerate(keys)
    ]
    source = pausing_source(jobs)
    RayRunner().run(source, train)

    assert source.endings == {key: ["stopped", "stopped", "complete"] for key in keys}
    for job in jobs:
        whole = replace(job, checkpoint=None, weights=tmp_path / "whole")
        assert source.epochs[job.key] == [replace(epoch, seconds=0.0, measured=None) for epoch in train(whole)]
        assert job.weights.read_bytes() == whole.weights.read_bytes()

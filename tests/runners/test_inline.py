"""The runner in this process, with real trainings that stop and resume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from runners.inline import InlineRunner
from runners.protocol import Evaluator, Job
from runners.recipe import Recipe
from runners.synthetic import synthetic
from runners.training.train import train
from search_space.errors import RunnerError


@pytest.mark.parametrize("evaluator", [train, synthetic], ids=lambda evaluator: evaluator.__name__)
def test_a_job_that_pauses_at_its_rungs_ends_like_an_uninterrupted_one(
    tmp_path: Path, make_job: Callable[..., Job], pausing_source: type, evaluator: Evaluator
) -> None:
    jobs = [
        make_job(
            key=f"trial-{seed}",
            seed=seed,
            rungs=(1, 3),
            recipe=Recipe(epochs=4),
            checkpoint=tmp_path / f"{seed}.pt",
            weights=tmp_path / f"{seed}.safetensors",
        )
        for seed in range(2)
    ]
    source = pausing_source(jobs)
    InlineRunner().run(source, evaluator)

    assert source.endings == {job.key: ["stopped", "stopped", "complete"] for job in jobs}
    for job in jobs:
        whole = replace(job, checkpoint=None, weights=tmp_path / "whole")
        assert source.epochs[job.key] == [replace(epoch, seconds=0.0, measured=None) for epoch in evaluator(whole)]
        assert job.weights.read_bytes() == whole.weights.read_bytes()


@pytest.mark.parametrize(
    ("wanted", "message"),
    [({"threads": 10**5}, "--cpus-per-trial is 100000, but"), ({"gpus": 512}, "--gpus-per-trial is 512, but")],
)
def test_more_than_the_machine_has_is_refused(wanted: dict[str, int], message: str) -> None:
    with pytest.raises(RunnerError, match=f"^{message} there are "):
        InlineRunner(**wanted).check()

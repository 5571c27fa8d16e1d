"""How a search handles trainings that take too long, and files that cannot be written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas.study.failure_limits import MAX_BEYOND
from results.store.store import Role, State
from runners.protocol import Cause, EpochResult, EvaluationError, Job
from runners.training.train import train
from search_space.errors import RunnerError, StorageError


def test_the_limit_on_time_reaches_every_training(run, recording):
    recorder = recording()
    run(recorder, trial_timeout=90.0)
    assert {job.timeout_s for job in recorder.jobs if job.task == "train"} == {90.0}
    assert {job.timeout_s for job in recorder.jobs if job.task != "train"} == {None}


def test_what_takes_too_long_has_failed_and_says_so(run, stored):
    report = run(train, budget=2, finalists=0, families=False, trial_timeout=1e-6)
    rows = stored().evaluations(Role.TRIAL)
    assert [(row.state, row.cause) for row in rows] == [(State.FAILED, "timeout")] * 2
    assert all("of at most 1e-06 s (--trial-timeout), with 0 of 8 epochs" in row.message for row in rows)
    assert report.causes == {"timeout": 2}


@pytest.mark.parametrize("cause", [Cause.TIMEOUT, Cause.OUT_OF_MEMORY])
def test_a_search_in_which_nothing_fits_ends(run, stored, cause):
    def beyond(job: Job) -> Iterator[EpochResult]:
        raise EvaluationError(cause, "more than there is")
        yield

    with pytest.raises(RunnerError, match=rf"20 evaluations in a row failed.* \({cause}\): more than there is"):
        run(beyond, budget=40, finalists=0, families=False)
    assert len(stored().evaluations(Role.TRIAL)) == MAX_BEYOND


def test_a_search_pauses_if_files_cannot_be_written_and_is_continued_later(run, stored, monkeypatch):
    """The disk says so when it is asked to have everything, as one does that allots its room late.

    It is a stand-in for a full disk, as the database on the same disk is to stay usable; tests/runners/test_files.py
    has the real ones.
    """

    fsync = os.fsync

    def full(handle):
        if ".nas-study.json" not in str(Path(f"/proc/self/fd/{handle}").readlink()):  # which fits in just before
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match=r"trial-0000 was stopped: .*trial-0000.pt cannot be written.*continues"):
            run(train, strategy="random", families=False, epochs=1, budget=2, finalists=0)
    (row,) = stored().evaluations()
    assert (row.state, row.cause, row.attempts) == (State.QUEUED, None, 1)
    run(train, strategy="random", families=False, epochs=1, budget=2, finalists=0)
    rows = stored().evaluations()
    assert [(row.state, row.epochs_trained) for row in rows] == [(State.COMPLETE, 1)] * 2

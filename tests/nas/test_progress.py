"""The progress line, with a clock that only moves when told to."""

from __future__ import annotations

import io

import pytest

from nas.progress import Progress, remaining_seconds
from runners.base import Cause, EpochResult, Measured, Outcome


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def begin(open_search, clock):
    """A search that began on that clock."""

    def make(**changes):
        search = open_search(**changes)
        search.started = clock.now
        return search

    return make


def finish(
    search, nll: float = 1.0, status: str = "complete", cause: Cause | None = None, seconds: float = 10.0
) -> None:
    """Let the next evaluation of a search end."""
    job = search.ask()
    if status != "failed":
        search.report(job.key, [EpochResult(8, nll, nll, 0.875, 0.0)])
    measured = Measured(latency_ms=9.0) if cause == Cause.TOO_SLOW else Measured()
    search.tell(job.key, Outcome(status, seconds, cause, measured=measured))


def test_the_line(begin, clock):
    search, progress = begin(budget=8, finalists=0), Progress(io.StringIO(), clock)
    assert progress.line(search) == "trials 0/8 | 0 running, 0 pruned, 0 failed | 0:00"
    finish(search, nll=2.0)
    finish(search, nll=1.0)
    finish(search, nll=3.0, status="stopped")
    finish(search, status="failed", cause=Cause.DIVERGED)
    search.ask()
    clock.now += 60
    best = search.trials["trial-0001"]
    # 4 finished in 60 s; 4 are left, one of them under way: 60 s more.
    assert progress.line(search) == (
        "trials 4/8 | 1 running, 1 pruned, 1 failed | 1:00, 1:00 left | "
        f"best mlp {best.architecture.params / 1000:.1f}k params, val acc 87.50 %"
    )


def test_time_left_is_not_guessed_from_less_than_four(begin):
    search = begin(budget=8, finalists=0)
    for _ in range(3):
        finish(search)
    assert remaining_seconds(search, 30.0) is None
    finish(search)
    assert remaining_seconds(search, 40.0) == 40.0


def test_time_left_counts_the_finalists(begin):
    search = begin(budget=4, finalists=2, seeds=3)
    for _ in range(4):
        finish(search, seconds=10.0)
    # 40 s of compute in 20 s: two side by side. Six trainings of 10 s, two at a time, take 30 s.
    assert remaining_seconds(search, 20.0) == 30.0


def test_finalists_and_the_test_are_phases(begin, clock):
    search, progress = begin(budget=2, finalists=1, seeds=2), Progress(io.StringIO(), clock)
    for _ in range(3):
        finish(search)
    assert progress.line(search).startswith("finalists 1/2, trials 2/2 | 0 running")
    finish(search)
    search.ask()
    assert progress.line(search).startswith("testing the winner, trials 2/2 | 1 running")


def test_what_was_too_slow_is_not_counted_as_evaluated(begin, clock):
    search = begin(budget=2, max_latency_ms=5)
    for _ in range(3):
        finish(search, status="failed", cause=Cause.TOO_SLOW)
    finish(search)
    assert Progress(io.StringIO(), clock).line(search).startswith("trials 1/2 | 0 running, 0 pruned, 0 failed")


def test_in_a_log_file_a_line_is_printed_now_and_then(begin, clock):
    search, stream = begin(budget=8), io.StringIO()
    with Progress(stream, clock) as progress:
        progress.begin(search, True)
        for seconds in (0, 14, 15, 16, 29, 30):
            clock.now = 1000.0 + seconds
            progress.update(search)
        clock.now += 45
    header, drawn = stream.getvalue().splitlines()[:3], stream.getvalue().splitlines()[3:]
    assert header[0] == "New study study: small on digits, 50.0k parameters"
    assert header[1].strip() == "budget 8, tpe + halving, 8 epochs, inline runner"
    assert header[2].strip().startswith("sqlite:///")
    assert [line.rpartition("| ")[2] for line in drawn] == ["0:00", "0:15", "0:30", "1:15"]  # the last one at the end
    assert "\r" not in stream.getvalue()


def test_on_a_terminal_the_line_is_redrawn_in_place_and_fits(begin, clock):
    search, stream = begin(budget=8), Terminal()
    for _ in range(4):
        finish(search)
    with Progress(stream, clock) as progress:
        progress.begin(search, False)
        progress.update(search)
        clock.now += 0.1
        progress.update(search)
        clock.now += 3700
        progress.update(search)
    drawn = [part.split("\n")[0] for part in stream.getvalue().split("\r")[1:]]
    lines = [part for part in drawn if part.startswith("trials")]
    assert all(len(line.rstrip()) <= 79 for line in lines)
    assert len(lines) == 3  # at once, after an hour, and at the end
    assert "Continuing study study" in stream.getvalue()
    assert stream.getvalue().endswith("\n")


def test_a_finished_study_is_announced_as_such(begin, run, clock):
    run(budget=2, finalists=0)
    stream = io.StringIO()
    with Progress(stream, clock) as progress:
        progress.begin(begin(budget=2, finalists=0), False)
    assert progress.was_spent
    assert stream.getvalue().startswith("Study finished before: study")
    assert "trials " not in stream.getvalue()


def test_farewell_counts_what_is_finished(begin, clock):
    progress = Progress(io.StringIO(), clock)
    assert progress.farewell("nas search") == "Stopped before anything was begun."
    search = begin(budget=8)
    progress.begin(search, True)
    finish(search)
    search.ask()
    assert progress.farewell("nas search --seed 1") == (
        "Stopped after 1 of 8 trials. Nothing is lost; to go on: nas search --seed 1"
    )


def test_the_line_has_the_size_of_the_deployed_form(begin, clock):
    search, progress = begin(space="mlp_family", budget=8, finalists=0), Progress(io.StringIO(), clock)
    for number in range(7):  # the families, RepMLP last
        finish(search, nll=7.0 - number)
    best = search.trials["trial-0006"]
    assert best.mixers.startswith("repmlp")
    assert f"{best.architecture.deployed.params / 1000:.1f}k params" in progress.line(search)
    assert best.architecture.deployed.params // 100 != best.architecture.params // 100

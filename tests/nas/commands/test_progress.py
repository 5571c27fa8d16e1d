"""The progress line, with a clock that only moves when told to."""

from __future__ import annotations

import io

import pytest

from nas.commands.progress import Progress, remaining_seconds
from nas.strategy import policy
from runners.protocol import Cause, EpochResult, Measured, Outcome


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
    """Let the next evaluation of a search end: after eight epochs, after the rung at two, or failed."""
    job = search.ask()
    if status != "failed":
        epochs = range(job.reported + 1, 9) if status == "complete" else (1, 2)
        search.report(job.key, [EpochResult(epoch, nll, nll, 0.875, 0.0) for epoch in epochs])
    measured = Measured(latency_ms=9.0) if cause == Cause.TOO_SLOW else Measured()
    search.tell(job.key, Outcome(status, seconds, cause, measured=measured))


def test_the_line(begin, clock):
    search, progress = begin(families=False, budget=8, finalists=0), Progress(io.StringIO(), clock)
    assert progress.line(search) == "tpe 0/8 | 0 run | 0.0 FTE | 0:00 so far"
    finish(search, nll=2.0)
    finish(search, nll=1.0)
    finish(search, nll=3.0, status="stopped")
    finish(search, status="failed", cause=Cause.DIVERGED)
    search.ask()
    clock.now += 90
    best = search.book.by_key["trial-0001"]
    # Four trials took 8 + 8 + 2 + 0 of 8 epochs in 90 s; four are left, one of them under way: 90 s more.
    assert progress.line(search) == (
        "tpe 4/8 | 1 run, 1 wait, 1 failed | 2.2 FTE | best acc 87.50 % | 1:30 left | 1:30 so far | "
        f"{best.mixers} {best.architecture.params / 1000:.1f}k params"
    )


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (58, "tpe 1/8 | 0 run | 1.0 FTE | best acc 87.50 % | 0:00 so far"),
        (57, "tpe 1/8 | 0 run | 1.0 FTE | best acc 87.50 %"),
        (3, "tpe 1/8"),
    ],
)
def test_what_does_not_fit_is_left_out(begin, clock, width, expected):
    search, progress = begin(families=False, budget=8, finalists=0), Progress(io.StringIO(), clock)
    finish(search)
    assert progress.line(search, width) == expected


def test_a_limit_on_compute_is_shown_and_ends_the_time_left(begin, clock):
    search, progress = begin(families=False, budget=100, max_fte=6, finalists=0), Progress(io.StringIO(), clock)
    for _ in range(4):
        finish(search)
    clock.now += 40
    # Four trainings in 40 s, and compute for two more.
    assert progress.line(search).startswith("tpe 4/100 | 0 run | 4.0/6 FTE | best acc 87.50 % | 0:20 left")


def test_the_phases(begin, clock, monkeypatch):
    monkeypatch.setattr(policy, "STARTUP", 8)
    search = begin(strategy="auto", proxies=(), pruner="none", budget=14, finalists=1, seeds=2)
    progress, shown = Progress(io.StringIO(), clock), []
    while not search.done:
        shown.append(progress.line(search).partition(" | ")[0])
        finish(search)
    trials = [f"start-up {number}/14" for number in range(3, 9)] + [f"surrogate {number}/14" for number in range(9, 14)]
    assert shown[:14] == ["families 0/2", "families 1/2", "families 2/2", *trials]
    assert shown[14:] == ["finalists 0/2", "finalists 1/2", "testing the winner", "testing the winner"]


def test_a_search_without_finalists_ends_with_its_choice(begin, clock):
    search, progress = begin(families=False, pruner="none", budget=2, finalists=0), Progress(io.StringIO(), clock)
    finish(search)
    finish(search)
    assert search.ask() is None
    assert progress.line(search).startswith("choosing the winner | ")


def test_the_test_is_a_phase(begin, clock):
    search = begin(families=False, pruner="none", budget=2, finalists=1, seeds=1)
    for _ in range(3):
        finish(search)
    assert search.ask().task == "test"
    assert Progress(io.StringIO(), clock).line(search).startswith("testing the winner | 1 run")


def test_a_resumed_trial_stays_counted(begin, clock):
    search, progress = begin(families=False, budget=8, finalists=0), Progress(io.StringIO(), clock)
    for nll in (1.0, 2.0, 3.0, 4.0):
        finish(search, nll, "stopped")
    assert progress.line(search).startswith("tpe 4/8 | 0 run, 4 wait | 1.0 FTE")
    assert search.ask().reported == 2
    assert progress.line(search).startswith("tpe 4/8 | 1 run, 3 wait | 1.0 FTE")


def test_pruned_trials_are_shown(begin, clock, run):
    run(families=False, budget=8, finalists=0)
    search = begin(families=False, budget=9, finalists=0)
    assert Progress(io.StringIO(), clock).line(search).startswith("tpe 8/9 | 0 run, 6 pruned | 3.5 FTE")


def test_while_proxies_are_computed_that_is_shown(begin, clock):
    search = begin(strategy="entropy", families=False, budget=8)
    assert search.ask().task == "score"
    assert Progress(io.StringIO(), clock).line(search).startswith("scoring by proxies | 1 run")


def test_time_left_is_not_guessed_from_less_than_four(begin):
    search = begin(budget=8, pruner="none", finalists=0)
    for _ in range(3):
        finish(search)
    assert remaining_seconds(search, 30.0) is None
    finish(search)
    assert remaining_seconds(search, 40.0) == 40.0


def test_time_left_counts_the_finalists(begin):
    search = begin(budget=4, pruner="none", finalists=2, seeds=3)
    for _ in range(4):
        finish(search)
    assert remaining_seconds(search, 20.0) == 30.0  # four trainings in 20 s, six are left
    finish(search)
    assert remaining_seconds(search, 25.0) == 25.0


def test_time_left_counts_what_this_run_has_done(begin, run):
    run(families=False, budget=4, pruner="none", finalists=0)
    search = begin(families=False, budget=12, pruner="none", finalists=0)
    for _ in range(4):
        finish(search)
    assert remaining_seconds(search, 40.0, fte_before=4.0) == 40.0


def test_what_was_too_slow_is_not_counted_as_evaluated(begin, clock):
    search = begin(families=False, budget=2, max_latency_ms=5)
    for _ in range(3):
        finish(search, status="failed", cause=Cause.TOO_SLOW)
    finish(search)
    assert Progress(io.StringIO(), clock).line(search).startswith("tpe 1/2 | 0 run | 1.0 FTE")


def test_in_a_log_file_a_line_is_printed_now_and_then(begin, clock):
    search, stream = begin(budget=8), io.StringIO()
    with Progress(stream, clock) as progress:
        progress.begin(search, True)
        for seconds in (0, 14, 15, 16, 29, 30):
            clock.now = 1000.0 + seconds
            progress.update(search)
        clock.now += 45
    header, drawn = stream.getvalue().splitlines()[:4], stream.getvalue().splitlines()[4:]
    assert header[0] == "New study study: small on digits, 50.0k parameters"
    assert header[1].strip() == "budget 8, 8 epochs, inline runner"
    assert header[2].strip() == "strategy tpe+halving: sampler tpe, ranker none, pruner halving, families"
    assert header[3].strip().startswith("sqlite:///")
    times = [line.rpartition("| ")[2] for line in drawn]
    assert times == [f"{time} so far" for time in ("0:00", "0:15", "0:30", "1:15")]  # the last one at the end
    assert "\r" not in stream.getvalue()


def test_the_strategy_is_said_with_all_its_parts(begin, clock):
    stream = io.StringIO()
    settings = {"strategy": "auto", "families": None, "max_fte": 64, "proxies": "zico,l2"}
    Progress(stream, clock).begin(begin(**settings), True)
    assert [line.strip() for line in stream.getvalue().splitlines()[1:3]] == [
        "budget 6, at most 64 FTE, 8 epochs, inline runner",
        "strategy auto: sampler surrogate, ranker none, pruner two_rate, proxies zico + l2, families, local search",
    ]


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
    lines = [part for part in drawn if part.startswith("tpe")]
    assert all(len(line.rstrip()) <= 79 for line in lines)
    assert "…" not in "".join(lines)
    assert len(lines) == 3  # at once, after an hour, and at the end
    assert "Continuing study study" in stream.getvalue()
    assert stream.getvalue().endswith("\n")


def test_a_finished_study_is_announced_as_such(begin, run, clock):
    run(budget=2, finalists=0)
    stream = io.StringIO()
    with Progress(stream, clock) as progress:
        progress.begin(begin(budget=2, finalists=0), False)
    assert progress.was_spent
    assert stream.getvalue().startswith("Finished study study")
    assert " FTE" not in stream.getvalue()


def test_farewell_counts_what_is_finished(begin, clock):
    progress = Progress(io.StringIO(), clock)
    assert progress.farewell("nas search") == "Stopped before anything was started."
    search = begin(budget=8)
    progress.begin(search, True)
    finish(search)
    search.ask()
    assert progress.farewell("nas search --seed 1") == (
        "Stopped after 1 of 8 trials. Nothing is lost; to continue: nas search --seed 1"
    )


def test_the_line_has_the_size_of_the_deployed_form(begin, clock):
    search, progress = begin(space="mlp_family", pruner="none", budget=8, finalists=0), Progress(io.StringIO(), clock)
    for number in range(7):  # the families, RepMLP last
        finish(search, nll=7.0 - number)
    best = search.book.by_key["trial-0006"]
    assert best.mixers.startswith("repmlp")
    assert f"{best.architecture.deployed.params / 1000:.1f}k params" in progress.line(search)
    assert best.architecture.deployed.params // 100 != best.architecture.params // 100


def test_a_note_stays_above_the_line(begin, clock):
    stream = Terminal()
    progress = Progress(stream, clock)
    progress.update(begin())
    progress.note("nothing runs")
    assert stream.getvalue().rpartition("\r")[2] == "Note: nothing runs.\n"

"""A limit on compute: never exceeded, with enough of it kept for finalists; and the control with as much."""

from __future__ import annotations

import json

import pytest

from nas.config import SearchConfig
from nas.strategy import pool
from nas.study.budget import planned_finalists
from nas.study.control import control_of
from nas.study.spec import make_spec
from results.report.report import make_report
from results.store.store import Role, State
from runners.protocol import Cause, EpochResult, Measured, Outcome, Score
from search_space.errors import ConfigError


@pytest.mark.parametrize(
    ("max_fte", "count"),
    [
        (None, 3),
        (24.0, 3),  # a quarter is six trainings: three finalists with two seeds
        (23.9, 2),  # five trainings: two finalists
        (16.0, 2),
        (15.9, 0),  # three: a single finalist would have nothing to be compared with
        (1.0, 0),
    ],
)
def test_where_compute_is_short_there_are_fewer_finalists(open_search, max_fte, count):
    assert planned_finalists(None, max_fte, seeds=2) == count
    budget = open_search(max_fte=max_fte, seeds=2).budget
    assert (budget.finalists, budget.reserve) == (count, 2.0 * count)


def test_as_many_finalists_as_were_asked_for(open_search):
    """Four with two seeds take eight trainings, more than a quarter of nine; less would leave no training."""
    budget = open_search(max_fte=9.0, finalists=4, seeds=2).budget
    assert (budget.finalists, budget.reserve) == (4, 8.0)
    with pytest.raises(
        ConfigError, match=r"^--max-fte is 8.5; allowed: numbers from 9, .* 4 finalists with 2 seeds 8$"
    ):
        make_spec(SearchConfig.make(max_fte=8.5, finalists=4, seeds=2))


def test_less_compute_than_a_training_takes_is_refused_before_anything_is_written(run, tmp_path):
    with pytest.raises(
        ConfigError, match=r"^--max-fte is 0.01; allowed: numbers from 1, as one full training takes 1$"
    ):
        run(max_fte=0.01)
    assert not (tmp_path / "runs").exists()


def spent(study) -> float:
    """Full trainings of eight epochs, as the database has it; a test is no training."""
    return sum(row.epochs_run for row in study.evaluations() if row.role != Role.TEST) / 8


@pytest.mark.parametrize("strategy", ["auto", "random", "random+halving", "tpe+halving", "one_epoch"])
@pytest.mark.parametrize("max_fte", [1.0, 2.6, 9.0, 17.3])
def test_the_limit_is_kept_and_used(run, stored, strategy, max_fte):
    """What is left over is less than a training, apart from what finalists would have needed."""
    report = run(strategy=strategy, max_fte=max_fte, budget=1000)
    assert spent(stored()) <= max_fte + 1e-9
    count = planned_finalists(None, max_fte, seeds=2)
    assert len(report.finalists) == count
    assert len([row for row in stored().evaluations(Role.FINALIST) if row.state == State.COMPLETE]) == 2 * count
    assert spent(stored()) > max_fte - 1
    assert report.winner is not None


@pytest.mark.parametrize(
    ("space", "budget", "evaluated", "complete", "fte"),
    [
        # Four wait at a quarter and one of them is resumed. The budget is spent, so the remaining compute is not
        # needed.
        ("small", 4, 4, 1, 1.75),
        # A trial starts only if there is compute to resume it: nine start and two of them are resumed, 3.75 in all. If
        # no tenth fits, the best waiting trial does.
        ("small", 1000, 9, 3, 4.5),
        # Of all eight architectures two are resumed; with 1.0 left one more is, and 0.25 are left over.
        ("tiny", 1000, 8, 3, 4.25),
    ],
)
def test_leftover_compute_goes_to_waiting_trials_unless_the_budget_is_spent(
    run, stored, space_files, space, budget, evaluated, complete, fte
):
    settings = {"strategy": "random+halving", "families": False, "max_fte": 4.5, "finalists": 0}
    run(**settings, space=str(space_files[space]), budget=budget)
    rows = stored().evaluations()
    assert [len(rows), sum(row.state == State.COMPLETE for row in rows)] == [evaluated, complete]
    assert spent(stored()) == fte


def test_what_runs_is_counted_before_it_is_spent(open_search):
    """Two trainings fit, however many are requested before the first has reported."""
    search = open_search(strategy="random", families=False, max_fte=2.5, budget=9, finalists=0)
    assert [search.ask() is not None for _ in range(3)] == [True, True, False]


def test_without_a_limit_the_budget_alone_counts(open_search):
    search = open_search(strategy="random", families=False, budget=9, finalists=0)
    assert [search.ask() is not None for _ in range(10)] == [True] * 9 + [False]


def test_a_larger_limit_continues_the_search(run, stored):
    settings = {"strategy": "random+halving", "families": False, "budget": 1000}
    run(**settings, max_fte=4)
    first = {row.key for row in stored().evaluations(Role.TRIAL)}
    run(**settings, max_fte=8)
    assert 4 < spent(stored()) <= 8
    assert first < {row.key for row in stored().evaluations(Role.TRIAL)}


def test_compute_that_was_lost_counts(open_search):
    search = open_search(strategy="random", families=False, max_fte=2.0, budget=9, finalists=0)
    job = search.ask()
    search.report(job.key, [EpochResult(epoch, 1.0, 1.0, 0.5, 0.0) for epoch in range(1, 9)])
    search.report(job.key, [EpochResult(epoch, 1.0, 1.0, 0.5, 0.0) for epoch in range(1, 3)])  # once more
    search.tell(job.key, Outcome("complete", 1.0))
    assert search.budget.fte == 10 / 8
    assert search.ask() is None  # 0.75 are left


def test_limit_and_report_count_alike(open_search, monkeypatch):
    """One evaluation of each kind; epochs of trials take 2 s, so that a full training takes 16 s."""
    monkeypatch.setattr(pool, "SIZE", 40)
    settings = {"strategy": "entropy", "families": False, "budget": 3, "finalists": 1, "seeds": 1}
    search = open_search(**settings)
    ends = iter(
        [
            ([*range(1, 9), 1, 2], Outcome("complete", 20.0)),  # two epochs were lost and computed again
            ([1, 2, 3], Outcome("failed", 6.0, Cause.DIVERGED)),
            ([], Outcome("failed", 5.0, Cause.TOO_SLOW)),
            (range(1, 9), Outcome("complete", 16.0)),
        ]
    )
    while not search.done:
        job = search.ask()
        if job.task == "score":
            measured = Measured(scores=tuple({"entropy": Score(1.0, 0.1)} for _ in job.batch))
            search.tell(job.key, Outcome("complete", 6.0, measured=measured))
            continue
        epochs, outcome, seconds = range(1, 9), Outcome("complete", 40.0), 5.0
        if job.task == "test":
            epochs = [1]
        elif job.key.startswith("trial"):
            (epochs, outcome), seconds = next(ends), 2.0
        for epoch in epochs:
            search.report(job.key, [EpochResult(epoch, 1.0, 1.0, 0.5, seconds)])
        search.tell(job.key, outcome)
    report = make_report(search.study)
    batches = report.compute.stages["proxies"].count
    assert batches >= 1
    assert {stage: account.fte for stage, account in report.compute.stages.items() if account.count} == {
        "proxies": 6 * batches / 16,
        "complete": (10 + 8) / 8,
        "failed": 3 / 8,
        "finalists": 8 / 8,
        "tests": 0.0,
    }
    assert search.budget.fte == report.compute.fte == 6 * batches / 16 + (10 + 8 + 3 + 8) / 8
    assert open_search(**settings).budget.fte == report.compute.fte  # as it is read from the database


# The control.


def test_the_control_is_random_search_with_what_was_spent(run):
    config = SearchConfig.make(
        strategy="auto",
        pruner="median",
        budget=50,
        max_params="20k",
        seed=3,
        finalists=2,
        study="mine",
        control="random",
    )
    report = run(pruner="none")
    control, fte = control_of(config, report), report.compute.fte
    assert (control.parts.sampler, control.parts.ranker, control.parts.pruner) == ("random", "none", "none")
    assert (control.parts.families, control.parts.local, control.parts.proxies) == (False, False, ())
    assert (control.max_fte, control.study_name, control.control) == (fte, "mine-random", None)
    assert (control.max_params, control.seed, control.finalists, control.seeds) == (20_000, 3, 2, 2)


def test_the_control_has_no_more_finalists_than_there_were(run):
    """Of four trials one is complete and trained twice again: 3.75 in all, of which three finalists would take 6."""
    control = control_of(SearchConfig.make(control="random"), run(budget=4))
    assert (control.max_fte, control.finalists, control.seeds) == (3.75, 1, 2)


def test_the_control_of_a_long_name_is_another_study(run):
    config = SearchConfig.make(study="a" * 100, control="random", finalists=0)
    assert control_of(config, run(finalists=0)).study_name == "a" * 93 + "-random"


def test_the_control_is_shown_beside_the_search(nas, space_files, tmp_path):
    command = ["search", "--space", space_files["small"], "--runner", "inline", "--epochs", 2, "--max-params", "4k"]
    command += [
        "--pruner",
        "halving",
        "--budget",
        4,
        "--finalists",
        0,
        "--control",
        "random",
        "--out",
        tmp_path,
        "--study",
        "mine",
    ]
    ran = nas(*command, "--json")
    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    # Of four trials one is resumed after the first of two epochs: 4 * 1/2 + 1/2. The control affords two full ones.
    assert report["compute"]["fte"] == pytest.approx(2.5)
    assert report["control"]["compute"]["fte"] == pytest.approx(2.0)
    assert (report["study"], report["control"]["study"]) == ("mine", "mine-random")
    assert (report["evaluated"], report["control"]["evaluated"]) == (4, 2)
    text = nas(*command).out
    table = text[text.index("Control, with equal compute") :].splitlines()
    assert table[1].split() == ["search", "control:", "random"]
    assert [line.split() for line in table if "compute (FTE)" in line] == [["compute", "(FTE)", "2.5", "2.0"]]
    assert [line.split() for line in table if "architectures" in line] == [["architectures", "4", "2"]]

"""A study that is continued: nothing lost, nothing run twice, and never other settings under the same name."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import closing

import optuna
import pytest
from optuna.trial import TrialState

from nas.study.search import MAX_ATTEMPTS
from results.store.store import Role, State, Store
from runners.protocol import EpochResult, Outcome
from runners.synthetic import synthetic
from search_space.errors import StudyError


def interrupted_at(key: str, epoch: int):
    """An evaluator that is stopped by Ctrl-C after some epochs of one job."""

    def evaluate(job):
        for result in (steps := synthetic(job)):
            if job.key == key and result.epoch > epoch:
                steps.close()
                raise KeyboardInterrupt
            yield result

    return evaluate


def states(study) -> Counter[str]:
    return Counter(row.state for row in study.evaluations())


def test_a_larger_budget_continues_without_repeating(run, stored, recording):
    first, second = recording(), recording()
    run(first, budget=6)
    report = run(second, budget=10)
    begun = list(dict.fromkeys(key for key in second.keys if key.startswith("trial")))
    assert begun == [f"trial-{n:04d}" for n in range(6, 10)]  # no pruned trial is resumed
    assert set(first.keys).isdisjoint(second.keys)
    rows = stored().evaluations(Role.TRIAL)
    assert len({row.architecture.hash for row in rows}) == 10
    assert Counter(row.state for row in rows) == {State.COMPLETE: 10 // 4, State.PRUNED: 8}
    assert {row.attempts for row in stored().evaluations()} == {1}
    assert (report.evaluated, report.budget) == (10, 10)
    assert stored().row.config["budget"] == 10


def test_a_spent_budget_runs_nothing_again(run, recording, stored):
    first, second = recording(), recording()
    report = run(first)
    before = [(row.key, row.state, row.finished_at) for row in stored().evaluations()]
    assert run(second) == report
    assert second.jobs == []
    assert [(row.key, row.state, row.finished_at) for row in stored().evaluations()] == before


def test_a_smaller_budget_runs_nothing(run, recording):
    run(budget=6)
    evaluator = recording()
    assert run(evaluator, budget=3).evaluated == 6
    assert evaluator.jobs == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sampler": "random", "budget": 8}, {"trial-0006", "trial-0007"}),
        ({"pruner": "none", "budget": 7}, {"trial-0006"}),
    ],
)
def test_settings_that_may_change(run, recording, changes, expected):
    run(finalists=0)
    evaluator = recording()
    run(evaluator, finalists=0, **changes)
    assert set(evaluator.keys) == expected


@pytest.mark.parametrize("changes", [{"pruner": "none"}, {"budget": 1000}], ids=["no pruner", "families in full"])
def test_a_trial_that_waits_at_a_former_rung_is_resumed(open_search, changes):
    search = open_search()
    job = search.ask()
    search.report(job.key, [EpochResult(2, 1.0, 1.0, 0.5, 0.0)])
    search.tell(job.key, Outcome("stopped", 1.0))
    again = open_search(**changes).ask()
    assert (again.key, again.reported, again.rungs) == ("trial-0000", 2, ())


def test_more_seeds_add_only_what_is_missing(run, recording, scripted):
    def curve(job):
        return [1.0 + int(job.key.split("-")[1])] * 8

    run(scripted(curve), finalists=1, seeds=1)
    evaluator = recording(scripted(curve))
    report = run(evaluator, finalists=1, seeds=3)
    assert evaluator.keys == [f"{role}-0000-seed-{seed}" for role in ("finalist", "test") for seed in (2, 3)]
    assert (report.winner.trial, report.winner.seeds) == (0, 3)


def test_a_better_winner_takes_over(run, recording, scripted):
    level = {"family": 1.0, "late": 0.5}

    def curve(job):
        return [level["family"] if int(job.key.split("-")[1]) < 2 else level["late"]] * 8

    first = run(scripted(curve), budget=2, pruner="none", finalists=1, seeds=1)
    assert (first.winner.trial, first.winner.test_nll) == (0, 1.0)
    evaluator = recording(scripted(curve))
    report = run(evaluator, budget=3, pruner="none", finalists=1, seeds=1)
    assert evaluator.keys == ["trial-0002", "finalist-0002-seed-1", "test-0002-seed-1"]
    assert [(finalist.trial, finalist.test_nll) for finalist in report.finalists] == [(2, 0.5)]
    assert report.test_evaluations == 2


@pytest.mark.parametrize(
    ("key", "epoch"),
    [("trial-0000", 0), ("trial-0004", 1), ("gone on", 2), ("gone on", 5), ("finalist", 3), ("test", 0)],
)
def test_interrupted_and_continued(run, stored, recording, settings, key, epoch):
    """Wherever it is stopped, a study ends with every evaluation exactly once."""
    whole = recording()
    run(whole, study="whole")
    if key == "gone on":
        ((key, _),) = Counter(whole.keys).most_common(1)
    key = next(known for known in whole.keys if known.startswith(key))
    first, second = recording(interrupted_at(key, epoch)), recording()
    with pytest.raises(KeyboardInterrupt):
        run(first)
    assert states(stored())[State.RUNNING] == 0
    assert {row.key: row.state for row in stored().evaluations()}[key] == State.QUEUED
    storage = optuna.storages.RDBStorage(f"sqlite:///{settings['out']}/nas.db")
    mirrored = optuna.load_study(study_name="study", storage=storage).get_trials(states=[TrialState.WAITING])
    pending = [row.key for row in stored().evaluations(Role.TRIAL) if row.state in (State.QUEUED, State.PAUSED)]
    assert [f"trial-{trial.number:04d}" for trial in mirrored] == pending
    storage.remove_session()
    storage.engine.dispose()

    report = run(second)
    rows = stored().evaluations()
    assert {*first.keys, *second.keys} == {row.key for row in rows}
    assert states(stored()) == states(stored("whole"))
    assert {row.epochs_run - row.epochs_trained for row in rows} == {0}
    assert {row.attempts for row in rows} == {1}  # no worker died
    for role in Role:
        for name, curve in stored().curves(role).items():
            trained = next(row.epochs_trained for row in rows if row.key == name)
            assert [point.epoch for point in curve] == list(range(1, trained + 1))
    assert report.evaluated == 6
    assert report.winner.test_nll is not None


def test_a_driver_that_died_leaves_nothing_running(run, open_search, stored, recording):
    dead = open_search()
    dead.ask()
    job = dead.ask()
    dead.report(job.key, [EpochResult(1, 1.0, 1.0, 0.5, 0.0)])
    assert states(stored()) == {State.RUNNING: 2}
    evaluator = recording()
    report = run(evaluator)
    assert evaluator.keys[:2] == ["trial-0000", "trial-0001"]
    assert states(stored())[State.RUNNING] == 0
    assert {row.attempts for row in stored().evaluations()} == {1}  # no worker died
    assert report.evaluated == 6


def test_a_driver_that_dies_costs_a_trial_nothing_however_often(open_search, stored):
    for reported in range(2 * MAX_ATTEMPTS):
        search = open_search(pruner="none", epochs=100)
        job = search.ask()
        assert (job.key, job.reported) == ("trial-0000", reported)
        search.report(job.key, [EpochResult(reported + 1, 1.0, 1.0, 0.5, 2.0)])
    open_search(pruner="none", epochs=100).close()
    (row,) = stored().evaluations()
    assert (row.state, row.cause, row.attempts, row.seconds) == (State.QUEUED, None, 1, 2.0 * 2 * MAX_ATTEMPTS)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"objective": "accuracy"}, "objective was nll and is now accuracy"),
        ({"objective": "nll,params"}, "objective was nll and is now nll, params"),
        ({"max_params": "20k"}, "max_params was 50000 and is now 20000"),
        ({"max_params": 0}, "max_params was 50000 and is now None"),
        ({"max_macs": "1M"}, "max_macs was None and is now 1000000"),
        ({"max_latency_ms": 5}, "max_latency_ms was None and is now 5.0"),
        ({"epochs": 9}, "recipe.epochs was 8 and is now 9"),
        ({"batch_size": 32}, "recipe.batch_size was 64 and is now 32"),
        ({"lr": 0.5}, "recipe.lr was .* and is now 0.5"),
        ({"seed": 1}, "seed was 0 and is now 1"),
        ({"space": "tiny"}, "space.axes.*space.name was small and is now tiny"),
        ({"data": "fashion_mnist"}, "data.name was digits and is now fashion_mnist"),
    ],
)
def test_other_settings_are_refused(run, stored, recording, space_files, changes, difference):
    run(budget=2, finalists=0)
    before = (len(stored().evaluations()), stored().row.config)
    changes = {
        name: str(space_files.get(str(value), value)) if name == "space" else value for name, value in changes.items()
    }
    if "data" in changes:
        changes["space"] = "mlp_family"  # the space "small" has nothing for such images
    evaluator = recording()
    with pytest.raises(StudyError, match=difference) as caught:
        run(evaluator, budget=9, **changes)
    assert "'study' has settings that differ from this command" in str(caught.value)
    assert "--study" in str(caught.value)
    assert evaluator.jobs == []
    assert (len(stored().evaluations()), stored().row.config) == before


def test_another_name_is_another_study(run, stored):
    run(budget=2, finalists=0)
    run(budget=2, finalists=0, study="other", seed=1)
    assert [len(stored(name).evaluations()) for name in ("study", "other")] == [2, 2]


def test_equal_settings_give_equal_studies(run, stored):
    for name in ("first", "second"):
        run(study=name, budget=10)
    first, second = (
        [(row.key, row.architecture.hash, row.state, row.nll) for row in stored(name).evaluations()]
        for name in ("first", "second")
    )
    assert first == second


def test_a_second_driver_is_kept_out(run, recording, tmp_path):
    evaluator = recording()
    (tmp_path / "runs").mkdir()
    with closing(Store(f"sqlite:///{tmp_path}/runs/nas.db")) as store:
        with (
            store.driving("study"),
            pytest.raises(StudyError, match=r"'study' is already being searched by process \d+"),
        ):
            run(evaluator)
        assert store.study("study") is None
    assert evaluator.jobs == []
    assert run(evaluator).evaluated == 6


def test_the_report_is_written(run, tmp_path):
    report = run()
    folder = tmp_path / "runs" / "study"
    assert json.loads((folder / "report.json").read_text()) == json.loads(json.dumps(report.to_dict()))
    assert f"Winner: trial {report.winner.trial}," in (folder / "report.txt").read_text()

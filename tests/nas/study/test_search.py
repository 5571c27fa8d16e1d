"""A search from its first trial to the test of its winner, with evaluations that are scripted instead of trained."""

from __future__ import annotations

from contextlib import closing
from statistics import mean, stdev

import optuna
import pytest
import sqlalchemy as sa
from optuna.study import StudyDirection
from optuna.trial import TrialState

from nas.strategy.ranking import Ranking
from nas.study.failure_limits import MAX_BEYOND, MAX_BROKEN, MAX_TOO_SLOW
from results.report.pareto import pareto_front
from results.store.store import Role, State, Store
from runners.protocol import Cause, Decision, EpochResult, EvaluationError, Measured, Outcome, Score
from search_space import Architecture
from search_space.errors import ConfigError, DataError, RunnerError, SpaceError, StorageError


def number_of(job) -> int:
    """The number in the key of a job."""
    return int(job.key.split("-")[1])


def falling(level: float) -> list[float]:
    """Eight epochs that end at `level`."""
    return [level + 0.125 * left for left in range(7, -1, -1)]


@pytest.fixture
def optuna_study(settings):
    """The study as Optuna reads it."""
    storages = []

    def load(name: str = "study") -> optuna.Study:
        storages.append(optuna.storages.RDBStorage(f"sqlite:///{settings['out']}/nas.db"))
        return optuna.load_study(study_name=name, storage=storages[-1])

    yield load
    for storage in storages:
        storage.remove_session()
        storage.engine.dispose()


# The budget, and the order of trials.


def test_the_budget_counts_distinct_architectures(run, stored, recording):
    evaluator = recording()
    report = run(evaluator, budget=12)
    rows = stored().evaluations(Role.TRIAL)
    assert (report.evaluated, report.budget) == (12, 12)
    assert [row.number for row in rows] == list(range(12))
    assert len({row.architecture.hash for row in rows}) == 12
    begun = list(dict.fromkeys(key for key in evaluator.keys if key.startswith("trial")))
    assert begun == [f"trial-{n:04d}" for n in range(12)]
    assert all(row.architecture.params <= 50_000 for row in rows)


@pytest.mark.parametrize(("budget", "in_full"), [(6, False), (1000, True)])
def test_families_come_first_and_in_full_where_that_takes_little_of_the_compute(open_search, budget, in_full):
    """Two full trainings are a large share of the compute of six trials, and a small one of that of a thousand."""
    search, jobs = open_search(budget=budget), []
    for _ in range(3):
        jobs.append(search.ask())
        assert jobs[-1].key == f"trial-{len(jobs) - 1:04d}"  # of so few, none is promoted
        for epochs in ((1, 2), range(3, 9)):
            if search.report(jobs[-1].key, [EpochResult(e, 9.0, 9.0, 0.5, 0.0) for e in epochs]) is Decision.STOP:
                search.tell(jobs[-1].key, Outcome("stopped", 1.0))
                break
        else:
            search.tell(jobs[-1].key, Outcome("complete", 1.0))
    trials = search.book.searched
    assert [trial.origin for trial in trials] == ["family:vit", "family:mixer", "tpe"]
    assert [trial.phase for trial in trials] == ["families", "families", "sampler"]
    assert [job.rungs for job in jobs] == [() if in_full else (2,)] * 2 + [(2,)]
    assert [trial.state for trial in trials] == [State.COMPLETE if in_full else State.PAUSED] * 2 + [State.PAUSED]


def test_a_small_budget_is_spent_on_families(run, stored):
    report = run(budget=1, finalists=0)
    assert [row.origin for row in stored().evaluations()] == ["family:vit"]
    assert [family.name for family in report.families] == ["vit"]


def test_pruned_trials_keep_the_figures_of_the_epoch_they_were_stopped_at(run, stored, scripted, optuna_study):
    run(scripted(lambda job: falling(0.5 if number_of(job) < 2 else 2.0)), budget=4)
    row = stored().evaluations(Role.TRIAL)[2]
    assert (row.state, row.epochs_trained, row.epochs_planned) == (State.PRUNED, 2, 8)
    assert row.nll == 2.0 + 0.125 * 6
    assert [epoch.epoch for epoch in stored().curves()["trial-0002"]] == [1, 2]
    trial = optuna_study().trials[2]
    assert trial.state == TrialState.PRUNED
    assert trial.value == 2.75
    assert trial.intermediate_values == {1: 2.875, 2: 2.75}


def test_without_a_pruner_everything_is_trained_in_full(run, stored):
    run(pruner="none")
    assert {(row.state, row.epochs_trained) for row in stored().evaluations(Role.TRIAL)} == {(State.COMPLETE, 8)}


def test_optuna_reads_the_same_study(run, stored, optuna_study):
    run(budget=8)
    rows, read = stored().evaluations(Role.TRIAL), optuna_study()
    assert read.metric_names == ["validation NLL (nats)"]
    for row, trial in zip(rows, read.trials, strict=True):
        assert (trial.number, trial.params, trial.value) == (row.number, row.choices, row.nll)
        assert trial.state.name == row.state
        assert trial.user_attrs["architecture"] == row.architecture.hash
        assert (trial.user_attrs["params"], trial.user_attrs["val_nll"]) == (row.architecture.params, row.nll)
        assert len(trial.intermediate_values) == trial.user_attrs["epochs_trained"] == row.epochs_trained


# Finalists and the test.


def test_finalists_are_trained_again_with_fresh_seeds_and_the_winner_is_tested(run, stored, recording, scripted):
    # Trial n ends at (n + 1) / 4, but retrained the third is best. Ranks count all three trainings: they have the means
    # (0.25 + 1.0 + 1.375) / 3 = 0.875, (0.5 + 0.5 + 1.0) / 3 = 0.667 and (0.75 + 0.5 + 0.25) / 3 = 0.5.
    retrained = {0: {11: 1.0, 12: 1.375}, 1: {11: 0.5, 12: 1.0}, 2: {11: 0.5, 12: 0.25}}

    def curve(job):
        number = number_of(job)
        if job.task == "test":
            return [2.0 + job.seed / 8]
        level = retrained[number][job.seed] if job.key.startswith("finalist") else (number + 1) / 4
        return falling(level)

    evaluator = recording(scripted(curve))
    report = run(evaluator, seed=10, pruner="none", finalists=3, seeds=2)
    jobs = evaluator.jobs[6:]
    assert {job.seed for job in evaluator.jobs[:6]} == {10}
    assert sorted((job.key, job.seed) for job in jobs[:6]) == [
        (f"finalist-{number:04d}-seed-{index}", 10 + index) for number in (0, 1, 2) for index in (1, 2)
    ]
    assert all(job.rungs == () and job.recipe.epochs == 8 for job in jobs[:6])
    assert [(job.key, job.task, job.seed, job.weights.name) for job in jobs[6:]] == [
        ("test-0002-seed-1", "test", 11, "finalist-0002-seed-1.safetensors"),
        ("test-0002-seed-2", "test", 12, "finalist-0002-seed-2.safetensors"),
    ]
    assert [finalist.trial for finalist in report.finalists] == [2, 1, 0]
    assert [finalist.mean_nll for finalist in report.finalists] == [0.375, 0.75, 1.1875]  # of the fresh seeds alone
    assert report.winner.sd_nll == pytest.approx(stdev([0.5, 0.25]))
    assert report.winner.mean_accuracy == pytest.approx(mean([1 / 1.5, 1 / 1.25]))
    assert report.winner.test_nll == 2.0 + mean([11, 12]) / 8
    assert [finalist.test_nll for finalist in report.finalists[1:]] == [None, None]
    assert report.test_evaluations == 1


def test_finalists_come_from_trials_trained_in_full(run, stored, scripted):
    # Of eight trials two are promoted: the first ones. The others look hopeless at the rung, though they would end
    # best.
    def curve(job):
        return falling(0.5) if number_of(job) < 2 else [9.0, 9.0, *[0.125] * 6]

    report = run(scripted(curve), budget=8, finalists=3)
    assert {finalist.trial for finalist in report.finalists} == {0, 1}


def test_the_rank_of_a_finalist_counts_its_trial_too(run, scripted):
    """The fresh seed alone says 0.5 against 0.625; with the trials it is 2.0 / 2 against 0.875 / 2."""
    levels = {"trial-0000": 1.5, "finalist-0000": 0.5, "trial-0001": 0.25, "finalist-0001": 0.625}

    def curve(job):
        return falling(next((level for key, level in levels.items() if job.key.startswith(key)), 3.0))

    report = run(scripted(curve), budget=2, pruner="none", finalists=2, seeds=1)
    assert [(finalist.trial, finalist.mean_nll) for finalist in report.finalists] == [(1, 0.625), (0, 0.5)]


def test_a_study_that_is_opened_again_keeps_its_finalists(run, scripted, recording, monkeypatch):
    """Even if the surrogate ranks the trials differently by now; only new trials change the finalists."""
    level = scripted(lambda job: falling((number_of(job) + 1) / 4))
    report = run(level, pruner="none", finalists=2)
    monkeypatch.setattr(Ranking, "best", lambda self, trials, count: list(reversed(trials))[:count])
    again = recording(level)
    assert run(again, pruner="none", finalists=2) == report
    assert again.jobs == []
    run(again, pruner="none", finalists=3)
    assert {number_of(job) for job in again.jobs} == {5}
    run(again, pruner="none", finalists=2, budget=7)
    assert [number_of(job) for job in again.jobs if job.key.startswith("finalist")][-2:] == [6, 6]


def test_no_finalists_means_no_test(run, stored):
    report = run(finalists=0)
    assert {row.role for row in stored().evaluations()} == {"trial"}
    assert report.finalists == []
    assert report.winner.test_nll is None


def test_a_finalist_whose_trainings_all_fail_is_left_out(run, scripted):
    def curve(job):
        if job.key.startswith("finalist-0000") or job.key == "finalist-0001-seed-1":
            raise EvaluationError(Cause.DIVERGED, "no")
        return falling((number_of(job) + 1) / 4)

    report = run(scripted(curve), pruner="none", finalists=3, seeds=2)
    # The means of trial and trainings are 0.5 of two, and 0.75 of three.
    assert [(finalist.trial, finalist.seeds, finalist.sd_nll) for finalist in report.finalists] == [
        (1, 1, None),
        (2, 2, 0.0),
    ]
    assert report.winner.trial == 1


def test_accuracy_chooses_finalists_if_it_is_the_objective(run, scripted, stored, optuna_study):
    report = run(
        scripted(lambda job: falling((number_of(job) + 1) / 4)), objective="accuracy", pruner="none", finalists=2
    )
    assert [finalist.trial for finalist in report.finalists] == [0, 1]
    assert optuna_study().direction == StudyDirection.MAXIMIZE
    assert optuna_study().best_value == pytest.approx(1 / 1.25)


# Several objectives.


def test_several_objectives_end_in_a_pareto_front(run, stored, optuna_study):
    settings = {"objective": "nll,params", "budget": 14, "pruner": "none"}
    report = run(**settings, finalists=0)
    rows = stored().evaluations(Role.TRIAL)
    front = {rows[index].number for index in pareto_front([(row.nll, row.architecture.params) for row in rows])}
    assert {point.trial for point in report.pareto} == front
    nlls = [point.nll for point in report.pareto]
    sizes = [point.params for point in report.pareto]
    assert nlls == sorted(nlls)
    assert sizes == sorted(sizes, reverse=True)
    assert len(front) > 1
    assert {finalist.trial for finalist in run(**settings, finalists=2).finalists} <= front
    read = optuna_study()
    assert read.directions == [StudyDirection.MINIMIZE] * 2
    assert {trial.number for trial in read.best_trials} == front
    assert [trial.values for trial in read.trials] == [[row.nll, row.architecture.params] for row in rows]


def test_with_several_objectives_the_least_dominated_are_promoted(open_search):
    """Of eight trials each is worse than all before it: k others dominate one if k earlier ones are cheaper."""
    search = open_search(objective="nll,macs", budget=8)
    jobs = [search.ask() for _ in range(8)]
    for number, job in enumerate(jobs):
        search.report(job.key, [EpochResult(2, number, float(number), 0.5, 0.0)])
        search.tell(job.key, Outcome("stopped", 1.0))
        if number == 3:
            # One of four continues at once: the first, which is best, whatever the costs.
            first = search.ask()
            assert (first.key, first.reported) == ("trial-0000", 2)
    macs = [job.architecture.macs for job in jobs]
    dominating = [sum(earlier <= macs[number] for earlier in macs[:number]) for number in range(8)]
    second = min(range(1, 8), key=lambda number: (dominating[number], number))
    assert search.ask().key == f"trial-{second:04d}"  # two of eight
    assert search.ask() is None


def test_a_pruned_trial_of_several_objectives_has_no_values_for_optuna(run, optuna_study):
    run(objective="nll,macs", budget=8)
    pruned = [trial for trial in optuna_study().trials if trial.state == TrialState.PRUNED]
    assert len(pruned) == 6
    assert {trial.values is None for trial in pruned} == {True}


def test_two_qualities_may_be_objectives(run):
    report = run(strategy="auto", objective="nll,accuracy", budget=16, families=False)
    assert report.evaluated == 16


def test_latency_is_measured_where_it_is_asked_for(run, stored, recording, scripted):
    evaluator = recording(scripted(lambda job: falling(1.0), Measured(latency_ms=1.5, device="a slow one")))
    run(evaluator, objective="nll,latency", pruner="none", budget=3, finalists=1, seeds=1)
    assert [job.measure_latency for job in evaluator.jobs] == [True] * 3 + [False] * 2
    assert {(row.latency_ms, row.device) for row in stored().evaluations(Role.TRIAL)} == {(1.5, "a slow one")}


# Failures.


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (EvaluationError(Cause.DIVERGED, "the loss became nan"), "diverged"),
        (MemoryError("too large"), "out_of_memory"),
        (ZeroDivisionError("a fault of ours"), "bug"),
    ],
)
def test_a_failure_is_typed_and_the_search_continues(run, stored, scripted, error, cause, optuna_study):
    def curve(job):
        if job.key in ("trial-0001", "trial-0003"):
            raise error
        return falling(1.0)

    report = run(scripted(curve))
    assert report.evaluated == 6
    assert report.causes == {cause: 2}
    row = stored().evaluations(Role.TRIAL)[3]
    assert (row.state, row.cause, row.nll) == (State.FAILED, cause, None)
    assert str(error) in row.message
    trial = optuna_study().trials[3]
    assert (trial.state, trial.values, trial.user_attrs["cause"]) == (TrialState.FAIL, None, cause)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_figures_that_are_not_finite_are_a_divergence(run, stored, scripted, value):
    report = run(scripted(lambda job: [1.0, value] if job.key == "trial-0001" else falling(1.0)))
    assert report.causes == {"diverged": 1}
    assert stored().evaluations(Role.TRIAL)[1].nll == 1.0
    assert report.evaluated == 6


def test_an_evaluation_without_an_epoch_is_a_failure(run, stored, scripted):
    report = run(scripted(lambda job: [] if job.key == "trial-0001" else falling(1.0)))
    assert report.causes == {"bug": 1}
    assert "without an epoch" in stored().evaluations(Role.TRIAL)[1].message


def test_nothing_but_divergence_still_ends(run, scripted):
    def curve(job):
        raise EvaluationError(Cause.DIVERGED, "no")

    report = run(scripted(curve), budget=12)
    assert (report.counts["failed"], report.winner, report.finalists) == (12, None, [])


def test_the_same_fault_again_and_again_ends_the_search(run, stored, scripted):
    def curve(job):
        raise ZeroDivisionError("a fault of ours")

    with pytest.raises(RunnerError, match=r"5 evaluations in a row failed, the last: trial-0004 failed \(bug\): Zero"):
        run(scripted(curve), budget=50)
    assert [row.state for row in stored().evaluations()] == [State.FAILED] * 5


def test_faults_that_are_not_in_a_row_do_not_end_it(run, scripted):
    """Every fourth is trained up to the rung at least."""

    def curve(job):
        if number_of(job) % 4:
            raise ZeroDivisionError("a fault of ours")
        return falling(1.0)

    assert run(scripted(curve), budget=12, finalists=0).causes == {"bug": 9}


def test_unreadable_data_ends_the_search_at_once(run, stored, scripted):
    def curve(job):
        raise DataError("the images are gone")

    with pytest.raises(RunnerError, match=r"^trial-0000 failed \(data\): the images are gone"):
        run(scripted(curve))
    assert len(stored().evaluations()) == 1


def test_what_is_too_slow_does_not_count_towards_the_budget(run, stored, scripted):
    def curve(job):
        if number_of(job) in (0, 3, 4):
            raise EvaluationError(Cause.TOO_SLOW, "7 ms", Measured(latency_ms=7.0))
        return falling(1.0)

    report = run(scripted(curve), max_latency_ms=5, finalists=0)
    rows = stored().evaluations()
    assert (len(rows), report.evaluated, report.causes) == (9, 6, {"too_slow": 3})
    assert rows[3].latency_ms == 7.0
    assert len({row.architecture.hash for row in rows}) == 9


def test_a_limit_that_nothing_meets_ends_the_search_naming_the_fastest(run, stored, scripted):
    def curve(job):
        latency_ms = 6.0 if number_of(job) == 17 else 10.0 + number_of(job)
        raise EvaluationError(Cause.TOO_SLOW, "too slow", Measured(latency_ms=latency_ms))

    with pytest.raises(SpaceError, match=r"50 architectures in a row exceed --max-latency-ms 5; the fastest.* 6 ms"):
        run(scripted(curve), max_latency_ms=5, sampler="random")
    assert len(stored().evaluations()) == 50


def fail(search, cause: Cause, latency_ms: float | None = None) -> None:
    """Hand out jobs up to a training that fails; batches of proxies before it are scored."""
    while (job := search.ask()).task == "score":
        search.tell(job.key, scored(job))
    search.tell(job.key, Outcome("failed", 1.0, cause, "so it is", Measured(latency_ms=latency_ms)))


def scored(job) -> Outcome:
    """A batch of proxies that has been scored."""
    scores = tuple({name: Score(1.0, 0.1) for name in job.proxies} for _ in job.batch)
    return Outcome("complete", 1.0, measured=Measured(scores=scores))


def test_batches_of_proxies_do_not_hide_that_everything_is_too_slow(open_search, stored):
    search = open_search(strategy="auto", max_latency_ms=1e-9, budget=200)
    for _ in range(3):  # so the model knows something, and asks for proxies
        job = search.ask()
        search.report(job.key, [EpochResult(epoch, 1.0, 1.0, 0.5, 0.0) for epoch in range(1, 9)])
        search.tell(job.key, Outcome("complete", 1.0))
    for number in range(MAX_TOO_SLOW - 1):
        fail(search, Cause.TOO_SLOW, latency_ms=number + 2.0)
    with pytest.raises(SpaceError, match=r"50 architectures in a row exceed --max-latency-ms 1e-09; .* took 2 ms"):
        fail(search, Cause.TOO_SLOW, latency_ms=9.0)
    rows = stored().evaluations()
    assert sum(row.role == Role.TRIAL for row in rows) == 3 + MAX_TOO_SLOW
    assert sum(row.role == Role.PROXIES for row in rows) > 1


@pytest.mark.parametrize(
    ("counted", "most", "between", "error"),
    [
        (Cause.TOO_SLOW, MAX_TOO_SLOW, (Cause.BUG, Cause.TIMEOUT), SpaceError),
        (Cause.TIMEOUT, MAX_BEYOND, (Cause.TOO_SLOW, Cause.BUG, Cause.DIVERGED), RunnerError),
        (Cause.BUG, MAX_BROKEN, (Cause.TOO_SLOW, Cause.DIVERGED, Cause.OUT_OF_MEMORY), RunnerError),
    ],
)
def test_other_failures_do_not_restart_a_count(open_search, counted, most, between, error):
    search = open_search(strategy="random", families=False, budget=500)
    others = [cause for cause in between for _ in range(3)]  # fewer than end a search themselves
    for cause in [counted] * (most // 2) + others + [counted] * (most - most // 2 - 1):
        fail(search, cause)
    with pytest.raises(error, match=rf"{most} \w+ in a row"):
        fail(search, counted)


def test_proxies_that_fail_every_time_are_not_excused_by_trainings(open_search):
    search = open_search(strategy="auto", budget=500)

    def train_until_a_batch_fails() -> None:
        while (job := search.ask()).task != "score":
            search.report(job.key, [EpochResult(epoch, 1.0, 1.0, 0.5, 0.0) for epoch in range(1, 9)])
            search.tell(job.key, Outcome("complete", 1.0))
        search.tell(job.key, Outcome("failed", 1.0, Cause.BUG, "a fault of ours"))

    for _ in range(MAX_BROKEN - 1):
        train_until_a_batch_fails()
    with pytest.raises(RunnerError, match=r"5 evaluations in a row failed, the last: proxies-0004 failed \(bug\)"):
        train_until_a_batch_fails()


# Lost workers: told by hand, as runners in this process lose none.


def test_a_lost_worker_is_replaced_four_times(open_search, stored):
    search = open_search(budget=1)
    lost = Outcome("failed", 1.5, Cause.WORKER_LOST, "it was killed")
    for attempt in (1, 2, 3, 4, 5):
        assert search.ask().key == "trial-0000"
        assert not search.done
        search.report("trial-0000", [EpochResult(1, 1.0, 1.0, 0.5, 1.5)])
        search.tell("trial-0000", lost)
        (row,) = stored().evaluations()
        assert (row.seconds, row.epochs_trained, row.epochs_run) == (1.5 * attempt, 1, attempt)
        assert row.state == (State.QUEUED if attempt < 5 else State.FAILED)
    assert (row.cause, row.attempts, row.message) == ("worker_lost", 5, "it was killed")
    assert search.done


def test_a_lost_node_is_not_counted(open_search, stored):
    search = open_search(budget=1)
    for _ in range(12):
        search.ask()
        search.tell("trial-0000", Outcome("failed", 1.5, Cause.NODE_LOST, "the node was preempted by its cloud"))
    (row,) = stored().evaluations()
    assert (row.state, row.attempts, row.seconds) == (State.QUEUED, 1, 18.0)


def test_a_full_disk_pauses_the_search_and_loses_nothing(open_search, stored):
    search = open_search(budget=1, pruner="none")
    job = search.ask()
    search.report(job.key, [EpochResult(1, 1.0, 1.0, 0.5, 1.5)])
    full = Outcome("failed", 2.0, Cause.STORAGE, "no space is left for /runs/trial-0000.pt")
    with pytest.raises(StorageError, match=r"trial-0000 was stopped: no space is left .* the same command continues"):
        search.tell(job.key, full)
    search.close()
    (row,) = stored().evaluations()
    assert (row.state, row.attempts, row.seconds, row.epochs_trained) == (State.QUEUED, 1, 2.0, 1)
    again = open_search(budget=1, pruner="none").ask()
    assert (again.key, again.reported) == ("trial-0000", 1)


def test_a_worker_that_is_lost_before_its_first_epoch_has_cost_time_too(open_search, stored):
    search = open_search(budget=1)
    search.ask()
    search.tell("trial-0000", Outcome("failed", 1.5, Cause.WORKER_LOST, "the node is gone"))
    assert stored().evaluations()[0].seconds == 1.5


def test_epochs_that_are_reported_twice_are_stored_once(open_search, stored):
    search = open_search()
    search.ask()
    first = [EpochResult(epoch, 1.0, 1.0, 0.5, 0.0) for epoch in (1, 2, 3)]
    again = [EpochResult(epoch, 2.0, 2.0, 0.25, 0.0) for epoch in (1, 2, 3, 4)]
    assert search.report("trial-0000", first) is Decision.CONTINUE
    assert search.report("trial-0000", again) is Decision.CONTINUE
    curve = stored().curves()["trial-0000"]
    assert [(epoch.epoch, epoch.nll) for epoch in curve] == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0)]


def test_finalists_wait_for_the_last_trial(open_search):
    search = open_search(budget=2, finalists=1, seeds=1)
    jobs = [search.ask(), search.ask()]
    assert search.ask() is None
    assert not search.done
    for job in jobs:
        search.report(job.key, [EpochResult(8, 1.0, 1.0, 0.5, 0.0)])
        assert search.phase == "trials"
        search.tell(job.key, Outcome("complete", 1.0))
    finalist = search.ask()
    assert finalist.key.startswith("finalist-")
    assert search.phase == "finalists"
    assert search.ask() is None


# Where the space ends.


@pytest.mark.parametrize("finalists", [0, 1])
def test_a_space_smaller_than_the_budget_ends_early(run, stored, space_files, recording, finalists):
    evaluator = recording()
    changes = {"space": str(space_files["tiny"]), "budget": 20, "finalists": finalists, "seeds": 2 - finalists}
    report = run(evaluator, **changes)
    assert (report.evaluated, report.budget) == (8, 20)
    assert len({row.architecture.hash for row in stored().evaluations(Role.TRIAL)}) == 8
    jobs = 8 + 2 + 2 * finalists  # two trials are resumed after the rung
    assert len(evaluator.jobs) == jobs
    assert run(evaluator, **changes) == report  # and nothing is left to do the next time
    assert len(evaluator.jobs) == jobs


def test_a_limit_below_everything_is_refused_before_anything_is_written(run, tmp_path):
    with pytest.raises(SpaceError, match="no architecture of the space 'small' has at most 100 parameters"):
        run(max_params=100)
    assert list(tmp_path.iterdir()) == []


def test_a_sampler_that_cannot_is_refused_before_anything_is_written(run, tmp_path):
    with pytest.raises(ConfigError, match="cmaes handles one objective"):
        run(sampler="cmaes", objective="nll,params")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


# Files.


def test_only_weights_that_can_be_exported_are_kept(run, tmp_path):
    def evaluate(job):
        if job.task == "train":
            job.weights.write_bytes(b"weights")
        for epoch, nll in enumerate(falling((number_of(job) + 1) / 16), start=1):
            yield EpochResult(epoch, nll, nll, 0.5, 0.0)
        return Measured()

    run(evaluate, budget=14, pruner="none", finalists=1, seeds=2)
    kept = {path.stem for path in (tmp_path / "runs" / "study" / "weights").iterdir()}
    best = {f"trial-{number:04d}" for number in range(10)}
    assert kept == best | {"finalist-0000-seed-1", "finalist-0000-seed-2"}


def test_the_same_on_postgresql(run, postgres):
    url = sa.make_url(postgres()).set(password="geheim").render_as_string(hide_password=False)
    assert run(storage=url, budget=5).evaluated == 5
    report = run(storage=url, budget=8)
    assert report.evaluated == 8
    assert report.winner.test_nll is not None
    with closing(Store(url, create=False)) as store:
        study = store.study("study")
        assert len({row.architecture.hash for row in study.evaluations(Role.TRIAL)}) == 8
        assert "geheim" not in str(study.row.config)


def test_sizes_are_those_of_the_deployed_form(run, stored, optuna_study):
    """RepMLP is trained with branches that are merged later; the database and Optuna have the merged size."""
    run(space="mlp_family", objective="nll,params", pruner="none", budget=7, finalists=0)
    (row,) = (row for row in stored().evaluations(Role.TRIAL) if row.origin == "family:repmlp")
    trained = Architecture.from_yaml(row.architecture.yaml)
    assert trained.hash == row.architecture.hash
    params, macs = trained.deployed.cost
    assert params != trained.params
    assert (row.architecture.params, row.architecture.macs) == (params, macs)
    trial = optuna_study().trials[row.number]
    assert (trial.user_attrs["params"], trial.user_attrs["macs"]) == (params, macs)
    assert trial.values == [row.nll, params]


@pytest.mark.parametrize(("gpus", "device"), [(0, "cpu"), (None, "auto")])
def test_without_a_gpu_to_reserve_every_job_runs_on_the_cpu(run, recording, gpus, device):
    evaluator = recording()
    run(evaluator, budget=1, gpus_per_trial=gpus)
    assert {job.device for job in evaluator.jobs} == {device}

"""Trials wait at rungs and resume from their checkpoints: the same number in all, whatever is killed in between."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from nas.study.search import Search
from results.store.store import Role, State
from runners.execution import Execution
from runners.protocol import Cause, Decision, EpochResult, Job, Outcome
from runners.synthetic import synthetic

EIGHT = {"strategy": "random+halving", "families": False, "budget": 8, "finalists": 0}


def epochs(first: int, last: int, nll: float = 1.0) -> list[EpochResult]:
    return [EpochResult(epoch, nll, nll, 0.5, 0.0) for epoch in range(first, last + 1)]


@pytest.fixture
def search(open_search) -> Search:
    """Eight random trials of eight epochs, with a rung after the second; no finalists."""
    return open_search(**EIGHT)


def train(search: Search, nll: float, job: Job | None = None) -> Job:
    """Run the next job to its next rung, or to its end."""
    job = job or search.ask()
    assert job is not None
    last = next((rung for rung in job.rungs if rung > job.reported), job.recipe.epochs)
    decision = search.report(job.key, epochs(job.reported + 1, last, nll))
    if last == job.recipe.epochs:
        search.tell(job.key, Outcome("complete", 1.0))
    elif decision is Decision.STOP:
        search.tell(job.key, Outcome("stopped", 1.0))
    else:
        search.report(job.key, epochs(last + 1, job.recipe.epochs, nll))
        search.tell(job.key, Outcome("complete", 1.0))
    return job


def test_trials_wait_are_resumed_and_are_pruned(search, stored):
    for nll in (4.0, 1.0, 2.0):
        train(search, nll)
    assert [trial.state for trial in search.book.searched] == [State.PAUSED] * 3
    assert [row.state for row in stored().evaluations()] == [State.PAUSED] * 3
    train(search, 3.0)  # the fourth: one of four is promoted, the best
    job = train(search, 1.0)
    assert (job.key, job.reported) == ("trial-0001", 2)
    assert [trial.state for trial in search.book.searched] == [State.PAUSED, State.COMPLETE, State.PAUSED, State.PAUSED]
    for _ in range(3):
        train(search, 9.0)
    train(search, 0.5)  # the eighth: a second one may be promoted, and as it is the best, it continues at once
    assert search.book.searched[7].state == State.COMPLETE
    assert search.done
    rows = stored().evaluations()
    assert [row.number for row in rows if row.state == State.COMPLETE] == [1, 7]
    assert {row.state for row in rows} == {State.COMPLETE, State.PRUNED}
    assert {row.number: (row.epochs_trained, row.epochs_run) for row in rows} == {
        number: (8, 8) if number in (1, 7) else (2, 2) for number in range(8)
    }


def test_files_of_waiting_trials_are_kept_and_of_pruned_ones_deleted(search, open_search):
    keys = []
    for _ in range(3):
        keys.append(train(search, 1.0).key)
        search.folder.checkpoint(keys[-1]).write_bytes(b"so far")
    search.close()
    assert all(search.folder.checkpoint(key).exists() for key in keys)
    search = open_search(**EIGHT)
    while not search.done:
        train(search, 1.0)
    pruned = [trial.key for trial in search.book.searched if trial.state == State.PRUNED]
    assert set(keys) & set(pruned)
    assert not any(search.folder.checkpoint(key).exists() for key in pruned)


def test_a_trial_that_is_being_stopped_is_not_resumed_before_its_end_is_reported(search):
    """If several run at once, there is time between the decision at a rung and the end of the job."""
    jobs = [search.ask() for _ in range(5)]
    for job in jobs[:3]:
        train(search, 2.0, job)
    # The fourth is the worst and stopped; the fifth is better and among five one may pass: but it is told late.
    assert search.report(jobs[3].key, epochs(1, 2, 9.0)) is Decision.STOP
    search.tell(jobs[3].key, Outcome("stopped", 1.0))
    promoted = search.ask()
    assert (promoted.key, promoted.reported) == (jobs[0].key, 2)
    assert search.report(jobs[4].key, epochs(1, 2, 1.0)) is Decision.STOP  # the one place is taken
    asked = [search.ask() for _ in range(3)]  # the rest of the budget
    assert [job.key for job in asked] == ["trial-0005", "trial-0006", "trial-0007"]
    for job in asked[:2]:
        train(search, 9.0, job)
    assert search.report(asked[2].key, epochs(1, 2, 9.0)) is Decision.STOP  # the place is the fifth trial's
    assert search.ask() is None  # which is still being stopped
    search.tell(jobs[4].key, Outcome("stopped", 1.0))
    again = search.ask()
    assert (again.key, again.reported) == (jobs[4].key, 2)


def test_a_stopped_trial_waits_even_if_its_worker_is_lost_before_it_reports(search, stored):
    """It had finished its work; if restarted, it would be trained past the rung that it was stopped at."""
    job = search.ask()
    assert search.report(job.key, epochs(1, 2, 9.0)) is Decision.STOP
    search.tell(job.key, Outcome("failed", 1.0, Cause.WORKER_LOST, "it is gone"))
    assert search.book.searched[0].state == State.PAUSED
    (row,) = stored().evaluations()
    assert (row.state, row.attempts, row.seconds) == (State.PAUSED, 1, 1.0)
    assert search.ask().key == "trial-0001"


def test_a_promoted_trial_is_restarted_if_its_worker_is_lost(search):
    for nll in (4.0, 3.0, 2.0):
        train(search, nll)
    job = search.ask()
    assert search.report(job.key, epochs(1, 2, 1.0)) is Decision.CONTINUE
    search.tell(job.key, Outcome("failed", 1.0, Cause.WORKER_LOST, "it is gone"))
    again = search.ask()
    assert (again.key, again.reported) == (job.key, 2)
    assert search.book.searched[3].attempts == 2


def test_at_least_one_is_trained_in_full(open_search, stored):
    search = open_search(strategy="random+halving", families=False, budget=3, finalists=0)
    for nll in (3.0, 1.0, 2.0):
        train(search, nll)
    assert not search.done
    assert train(search, 1.0).key == "trial-0001"
    assert search.done
    assert [row.state for row in stored().evaluations()] == [State.PRUNED, State.COMPLETE, State.PRUNED]


def test_if_the_promoted_trial_fails_the_next_best_is_promoted(open_search):
    search = open_search(strategy="random+halving", families=False, budget=3, finalists=0)
    for nll in (3.0, 1.0, 2.0):
        train(search, nll)
    search.tell(search.ask().key, Outcome("failed", 1.0, Cause.DIVERGED, "nan"))
    assert train(search, 2.0).key == "trial-0002"
    assert search.done


# Killed: the search object is dropped, and the study opened again.


class Killed(BaseException):
    """The process is gone."""


def run_until(search: Search, killed: Callable[[str], bool]) -> None:
    """Run a search in this process as the inline runner does, until it is done or is killed between two steps."""

    def step() -> None:
        if killed(job.key):
            raise Killed

    while (job := search.ask()) is not None:
        step()
        execution = Execution(job, synthetic)
        outcome = None
        while outcome is None:
            results, outcome = execution.advance()
            if results:
                stop = search.report(job.key, results) is Decision.STOP
                step()
                if stop and outcome is None:
                    outcome = execution.stop()
        search.tell(job.key, outcome)
        step()


@pytest.mark.parametrize("strategy", ["random+halving", "auto"])
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_step_the_same_number_is_promoted(open_search, stored, strategy, seed):
    """24 trials are killed at about every fifth step: 24 // 4 are trained in full, and nothing is trained twice."""
    changes = {
        "strategy": strategy,
        "proxies": (),
        "pruner": "halving",
        "families": False,
        "budget": 24,
        "finalists": 0,
    }
    rng = random.Random(seed)
    kills, waiting = Counter[str](), set[str]()

    def killed(key: str) -> bool:
        """Nothing is killed a third time, which would fail the trial."""
        kills[key] += rng.random() < 0.2 and kills[key] < 2
        return kills.total() > deaths

    while True:
        deaths = kills.total()
        search = open_search(**changes)
        assert waiting <= {trial.key for trial in search.book.searched if trial.state in (State.PAUSED, State.QUEUED)}
        try:
            run_until(search, killed)
            break
        except Killed:
            waiting = {row.key for row in stored().evaluations() if row.state == State.PAUSED}
    assert kills.total() > 5
    rows = stored().evaluations(Role.TRIAL)
    assert len({row.architecture.hash for row in rows}) == 24
    states = Counter(row.state for row in rows)
    assert states[State.COMPLETE] + states[State.PRUNED] == 24
    if strategy == "auto":  # a waiting trial that is better than what new ones promise is resumed as well
        assert 24 // 4 <= states[State.COMPLETE] < 24
    else:
        assert states[State.COMPLETE] == 24 // 4
    assert {row.epochs_trained for row in rows if row.state == State.PRUNED} == {2}
    assert all(row.epochs_run == row.epochs_trained for row in rows)


def test_killed_while_resuming_it_waits_again(open_search, search):
    for nll in (4.0, 1.0, 2.0, 3.0):
        train(search, nll)
    assert search.ask().key == "trial-0001"
    again = open_search(strategy="random+halving", families=False, budget=8, finalists=0)
    assert [trial.state for trial in again.book.searched] == [State.PAUSED] * 4
    job = again.ask()
    assert (job.key, job.reported) == ("trial-0001", 2)


def test_killed_after_resuming_it_is_not_decided_twice(open_search, search):
    for nll in (4.0, 1.0, 2.0, 3.0):
        train(search, nll)
    job = search.ask()
    search.report(job.key, epochs(3, 4))
    again = open_search(strategy="random+halving", families=False, budget=8, finalists=0)
    job = again.ask()
    assert (job.key, job.reported) == ("trial-0001", 4)
    assert again.report(job.key, epochs(5, 8)) is Decision.CONTINUE
    again.tell(job.key, Outcome("complete", 1.0))
    for _ in range(3):  # its place is taken: up to seven trials no other is promoted
        job = again.ask()
        assert again.report(job.key, epochs(1, 2, 0.25)) is Decision.STOP
        again.tell(job.key, Outcome("stopped", 1.0))

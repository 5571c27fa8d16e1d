"""Several drivers on one study in PostgreSQL: they share the work, and take over from lost drivers."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from nas.api import search
from nas.config import SearchConfig
from nas.strategy import policy
from nas.strategy.planner import Start
from nas.study.opening import open_folder, open_store, open_with_files
from nas.study.records import new_trial
from nas.study.search import Search
from nas.study.spec import make_spec
from results.database.schema import DriverRow, DriverState
from results.store.store import Role, State
from runners.execution import Execution
from runners.protocol import Cause, Job, Outcome
from runners.synthetic import synthetic
from search_space.errors import LeaseLost, StorageError


@pytest.fixture
def shared(settings: dict[str, Any], postgres: Callable[[], str]) -> dict[str, Any]:
    """Settings of a study that several may drive: twelve random trials, a rung, two finalists."""
    return {**settings, "strategy": "random+halving", "families": False, "storage": postgres(), "budget": 12,
            "finalists": 2, "seeds": 1}  # fmt: skip


@pytest.fixture
def driver(shared: dict[str, Any]) -> Iterator[Callable[..., Search]]:
    """One more driver of the study, with connections of its own."""
    with ExitStack() as stack:

        def make(**changes: Any) -> Search:
            given = {**shared, **changes}
            if given["finalists"] == 0:  # then there is nothing that could have several seeds
                del given["seeds"]
            config = SearchConfig.make(**given)
            folder = open_folder(config)
            store = open_store(config, folder)
            stack.callback(store.close)
            spec = make_spec(config)
            return Search(spec, open_with_files(store, spec, folder)[0], folder)

        yield make


def execute(search: Search, job: Job) -> None:
    """Run a job to its end, or to where it is stopped."""
    execution = Execution(job, synthetic)
    outcome: Outcome | None = None
    while outcome is None:
        epochs, outcome = execution.advance()
        if epochs and search.report(job.key, epochs).value == "stop" and outcome is None:
            outcome = execution.stop()
    search.tell(job.key, outcome)


def rows(search: Search) -> list[Any]:
    return search.study.evaluations()


def turn_by_turn(*searches: Search) -> Counter[int]:
    """Let drivers take turns, each with a job under way while the others decide; returns how many jobs each did."""
    under_way: dict[int, Job] = {}
    did = Counter[int]()
    while not all(search.done for search in searches):
        for index, one in enumerate(searches):
            if index in under_way:
                execute(one, under_way.pop(index))
                did[index] += 1
            job = one.ask()
            if job is not None:
                under_way[index] = job
    return did


def test_two_drivers_that_choose_among_candidates_train_nothing_twice(driver, monkeypatch):
    """Both hold candidates from the same 768 architectures: what one of them starts, the other must drop."""
    monkeypatch.setattr(policy, "STARTUP", 4)
    first, second = (driver(strategy="auto", proxies=(), budget=24, finalists=0) for _ in range(2))
    started = set[str]()

    def none_left_with_the_other() -> bool:
        for one in (first, second):
            one.others.poll()
            started.update(trial.architecture.hash for trial in one.book.searched)
        held = [{each.architecture.hash for each in one.planner._pool.candidates()} for one in (first, second)]
        return all(held) and not any(started & each for each in held)

    for one in (first, second):
        one.dispatch.peek()
    turn_by_turn(first, second)
    assert none_left_with_the_other()
    trials = [row for row in rows(first) if row.role == Role.TRIAL]
    assert len(trials) == len({row.architecture_id for row in trials}) == 24


def test_the_database_refuses_an_architecture_that_is_a_trial_already(driver):
    """Whatever a driver may get wrong."""
    search = driver()
    job = search.ask()
    with pytest.raises(StorageError, match="uq_nas_evaluations_trials"):
        search.book.start(new_trial(search.spec, Start(job.architecture, "sampler", "random"), 1))
    assert [row.key for row in rows(search)] == [job.key]


def test_two_drivers_share_a_study_and_train_nothing_twice(driver):
    first, second = driver(), driver()
    did = turn_by_turn(first, second)
    found = rows(first)
    trials = [row for row in found if row.role == Role.TRIAL]
    assert [row.number for row in trials] == list(range(12))
    assert len({row.architecture_id for row in trials}) == 12
    assert Counter(row.role for row in found) == {Role.TRIAL: 12, Role.FINALIST: 2, Role.TEST: 1}
    assert {row.state for row in found} == {State.COMPLETE, State.PRUNED}
    assert sum(row.state == State.COMPLETE for row in trials) == 12 // 4
    assert {row.attempts for row in found} == {1}
    assert min(did.values()) >= 5
    assert first.budget.fte == second.budget.fte == sum(row.epochs_run for row in found if row.role != Role.TEST) / 8


def test_what_one_starts_the_other_knows_before_it_starts_anything(driver):
    first, second = driver(), driver()
    one, two = first.ask(), second.ask()
    assert [one.key, two.key] == ["trial-0000", "trial-0001"]
    assert one.architecture != two.architecture
    assert [trial.key for trial in second.book.pending] == ["trial-0000", "trial-0001"]
    third = first.ask()
    assert [trial.key for trial in first.book.searched] == ["trial-0000", "trial-0001", third.key]


def test_what_changes_while_it_is_read_is_not_missed(driver):
    """The second one reports just after the first one has read how many decisions there were."""
    first, second = driver(pruner="none"), driver(pruner="none")
    job = second.ask()
    epochs, _ = Execution(job, synthetic).advance()
    reported: list[bool] = []

    def report(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "nas_studies.decisions" in statement and statement.startswith("SELECT") and not reported:
            reported.append(True)
            second.report(job.key, epochs)

    sa.event.listen(first.study.store.engine, "after_cursor_execute", report)
    assert first.ask().key == "trial-0001"
    assert reported
    assert len(first.book.searched) == 2


def test_a_budget_is_exact_however_it_is_shared(driver):
    drivers = [driver(pruner="none", finalists=0) for _ in range(3)]
    jobs = [one.ask() for one in drivers for _ in range(12)]
    assert [job is not None for job in jobs] == [True] * 12 + [False] * 24


def test_both_decide_at_the_same_moment_and_one_decides_again(driver):
    """The second has looked at the study, and the first starts a trial before the second one does."""
    first, second = driver(), driver()
    assert not second.done  # its next move is decided
    taken = second.dispatch.ahead.architecture
    first.planner.candidates.enter(taken)
    first.dispatch.ahead = second.dispatch.ahead
    job = first.dispatch.next_job()
    assert job.architecture == taken
    other = second.others.retry_if_outdated(second.dispatch.next_job)
    assert other.key == "trial-0001"
    assert other.architecture != taken


def test_a_waiting_trial_is_resumed_by_one_of_them(driver):
    first, second = driver(strategy="tpe+halving", seed=3), driver(strategy="tpe+halving", seed=3)
    while not (job := first.ask()).reported:
        execute(first, job)
    assert first.book.by_key[job.key].state == State.RUNNING
    second.others.poll()
    assert second.book.by_key[job.key].state == State.RUNNING
    assert second.ask().key != job.key
    execute(first, job)
    second.others.poll()
    assert second.book.by_key[job.key].state == State.COMPLETE
    assert second.book.best.key == first.book.best.key


def forget(search: Search) -> None:
    """Let a driver's lease be an hour old, without further renewals."""
    lease = search.driver._lease
    lease._stop_renewing()
    with search.study.store.engine.begin() as connection:
        connection.execute(
            sa.update(DriverRow).where(DriverRow.id == lease.id).values(heard_at=DriverRow.heard_at - 3600)
        )
    search.study.store._reached_since -= 3600


def test_a_silent_driver_is_taken_over_and_cannot_return(driver):
    lost, other = driver(pruner="none"), driver(pruner="none")
    job = lost.ask()
    epochs, _ = Execution(job, synthetic).advance()
    lost.report(job.key, epochs[:3])
    forget(lost)
    other.study.store._reached_since -= 3600
    again = other.ask()
    assert (again.key, again.reported, other.book.by_key[again.key].attempts) == (job.key, 3, 1)
    with pytest.raises(LeaseLost, match="did not renew its lease"):
        lost.tell(job.key, Outcome("complete", 1.0))
    execute(other, again)
    row = next(row for row in rows(other) if row.key == job.key)
    assert (row.state, row.epochs_trained, row.epochs_run, row.attempts) == (State.COMPLETE, 8, 8, 1)
    lost.close()  # it has nothing to give back


def test_after_the_database_was_unavailable_no_driver_is_lost_at_once(driver):
    silent, other = driver(), driver()
    silent.ask()
    forget(silent)
    other.study.store.note_absence()
    assert other.ask().key == "trial-0001"
    with other.study.store.session() as session:
        assert set(session.scalars(sa.select(DriverRow.state))) == {DriverState.ALIVE}


def test_a_broken_connection_is_waited_out_and_nothing_doubled(driver, monkeypatch):
    """The server cuts every connection while an epoch is written; the write is made again, once."""
    one = driver(pruner="none", finalists=0, budget=2)
    notes: list[str] = []
    one.study.store.on_wait = notes.append
    monkeypatch.setattr("results.database.retry.sleep", lambda seconds: None)
    admin = sa.create_engine(one.study.store.engine.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)

    def cut() -> None:
        others = "pid <> pg_backend_pid() AND datname = current_database()"
        with admin.connect() as connection:
            connection.execute(sa.text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"))

    while (job := one.ask()) is not None:
        execution, outcome = Execution(job, synthetic), None
        while outcome is None:
            epochs, outcome = execution.advance()
            cut()
            one.report(job.key, epochs)
        cut()
        one.tell(job.key, outcome)
    cut()
    assert one.done
    found = rows(one)
    assert [(row.state, row.epochs_trained, row.epochs_run) for row in found] == [(State.COMPLETE, 8, 8)] * 2
    assert notes
    admin.dispose()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_waiting_for_a_database_and_loses_nothing(driver, monkeypatch, number):
    one, other = driver(pruner="none"), driver(pruner="none")
    job = one.ask()
    epochs, _ = Execution(job, synthetic).advance()

    def refuse(*_: object) -> None:
        raise psycopg.OperationalError("connection refused")

    engine, pauses = one.study.store.engine, []
    sa.event.listen(engine, "do_connect", refuse)
    engine.dispose()

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        os.kill(os.getpid(), number)

    monkeypatch.setattr("results.database.retry.sleep", pause)
    usual = signal.signal(number, lambda *_: None)  # as a runner does, which lets trainings write checkpoints first
    try:
        with pytest.raises(KeyboardInterrupt):
            one.report(job.key, epochs)
        one.close()
        assert signal.getsignal(number)(number, None) is None
    finally:
        signal.signal(number, usual)
    assert len(pauses) == 1
    sa.event.remove(engine, "do_connect", refuse)
    forget(one)
    other.study.store._reached_since -= 3600
    again = other.ask()
    assert (again.key, again.reported, other.book.by_key[again.key].attempts) == (job.key, 0, 1)


def test_a_commit_whose_answer_is_lost_is_not_made_again(driver):
    """The server has committed, the connection breaks before it says so."""
    one = driver(pruner="none")
    job = one.ask()
    engine, broken = one.study.store.engine, []

    def break_after_commit(connection: sa.Connection) -> None:
        if not broken:
            broken.append(True)
            connection.connection.driver_connection.commit()
            connection.connection.driver_connection.close()

    sa.event.listen(engine, "commit", break_after_commit)
    epochs, outcome = Execution(job, synthetic).advance()
    one.report(job.key, epochs)
    sa.event.remove(engine, "commit", break_after_commit)
    assert broken
    one.tell(job.key, outcome)
    row = rows(one)[0]
    assert (row.state, row.epochs_trained, row.epochs_run) == (State.COMPLETE, 8, 8)


def test_a_search_that_was_taken_over_takes_part_again(shared, tmp_path: Path):
    """The whole command: it is declared lost in the middle, and ends with everything done once."""
    lost = []

    def on_change(running: Search) -> None:
        if running.finished_here == 3 and not lost:
            lost.append(True)
            with running.study.store.engine.begin() as connection:
                connection.execute(sa.update(DriverRow).values(state=DriverState.LOST))
                connection.execute(
                    sa.text(
                        "UPDATE nas_evaluations SET driver_id = NULL, revision = revision + 1000"
                        " WHERE state = 'RUNNING'"
                    )
                )

    report = search(evaluator=synthetic, on_change=on_change, **shared)
    assert lost
    assert report.evaluated == 12
    assert report.counts["complete"] + report.counts["pruned"] == 12


def test_a_driver_that_ends_gives_its_lease_back(driver):
    one = driver()
    one.ask()
    one.close()
    other = driver()
    assert other.others.count == 0
    assert other.ask().key == "trial-0000"
    assert other.book.by_key["trial-0000"].attempts == 1


def test_a_finalist_with_lost_weights_is_retrained_by_any_idle_driver(driver):
    one, other = driver(budget=2), driver(budget=2)
    while not any(trial.role == Role.TEST for trial in one.book.pending):
        job = one.ask()
        assert job is not None
        if job.task == "test":
            break
        execute(one, job)
    one.tell(job.key, Outcome("failed", 0.5, Cause.WEIGHTS, "the weights are gone"))
    training = other.ask()
    assert training is not None
    assert training.key == job.key.replace("test", "finalist")
    assert (training.seed, training.reported) == (job.seed, 0)
    assert one.ask() is None  # the test waits for it
    assert not one.done
    execute(other, training)
    again = one.ask()
    assert again is not None
    assert again.key == job.key
    execute(one, again)
    assert one.done
    assert other.ask() is None
    assert other.done

"""What several drivers decide at the same time, and what interruptions at bad moments leave behind."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from nas.api import search
from nas.study.files import RunFolder
from nas.study.housekeeping import delete_study, rename_study
from nas.study.search import Search
from results.database.schema import DriverRow, DriverState, FinalistRow
from results.store.process import is_gone, this_process
from results.store.store import Role, State
from runners.execution import Execution
from runners.protocol import Cause, Decision, EvaluationError, Job
from runners.synthetic import synthetic
from search_space.errors import LeaseLost, NasError, StudyError
from search_space.signals import STOPPING, uninterrupted
from tests.nas.study.test_sharing import driver, execute, forget, rows, shared

__all__ = ["driver", "shared"]  # fixtures


class Worker:
    """A job under way: what it has computed is reported later."""

    def __init__(self, search: Search, job: Job) -> None:
        self.search, self.job, self.execution, self.done = search, job, Execution(job, synthetic), False

    def deliver(self, epochs: Any, outcome: Any) -> None:
        stop = bool(epochs) and self.search.report(self.job.key, epochs) is Decision.STOP
        if outcome is None and stop:
            outcome = self.execution.stop()
        if outcome is not None:
            self.search.tell(self.job.key, outcome)
            self.done = True


def side_by_side(*drivers: Search) -> None:
    """Let drivers search with a worker each, which all compute before any of them reports."""
    workers: dict[int, Worker] = {}
    while not all(one.done for one in drivers):
        for number, one in enumerate(drivers):
            if number not in workers and (job := one.ask()) is not None:
                workers[number] = Worker(one, job)
        computed = [(worker, worker.execution.advance()) for worker in workers.values()]
        for worker, found in computed:
            worker.deliver(*found)
        workers = {number: worker for number, worker in workers.items() if not worker.done}


@pytest.mark.parametrize("drivers", [1, 2, 4])
@pytest.mark.parametrize("pruner", ["median", "two_rate"])
def test_a_limit_on_compute_holds_for_all_drivers_together(driver, drivers: int, pruner: str):
    """Trials that reach a rung at the same time cannot all be promoted with the same compute."""
    settings = {"budget": 40, "max_fte": 2.0, "finalists": 0, "strategy": "random", "pruner": pruner}
    searches = [driver(**settings) for _ in range(drivers)]
    side_by_side(*searches)
    fte = sum(row.epochs_run for row in rows(searches[0])) / 8
    assert 1.5 <= fte <= 2.0
    assert {one.budget.fte for one in searches} == {fte}


def test_a_leaving_driver_keeps_the_checkpoints_of_others(driver):
    """The first one was busy all the while, and has not seen what the second one began."""
    first, second = driver(), driver()
    mine = first.ask()
    for _ in range(3):
        job = second.ask()
        second.folder.checkpoint(job.key).write_bytes(b"waits")
        execute(second, job)
    second.folder.checkpoint(second.ask().key).write_bytes(b"was interrupted")
    second.close()
    first.folder.checkpoint(mine.key).write_bytes(b"was interrupted")
    first.folder.checkpoint("trial-0099").write_bytes(b"of nothing that goes on")
    first.close()
    assert {path.stem for path in first.folder.checkpoints.iterdir()} == {f"trial-000{number}" for number in range(5)}
    assert {row.state for row in rows(first)} == {State.PAUSED, State.QUEUED}


def ranks(search: Search) -> list[tuple[int, int | None]]:
    with search.study.store.session() as session:
        return session.execute(sa.select(FinalistRow.number, FinalistRow.rank).order_by(FinalistRow.number)).all()


@pytest.mark.parametrize(
    ("one", "other"),
    [({"budget": 8}, {"budget": 16}), ({"finalists": 1}, {"finalists": 3}), ({}, {})],
    ids=["budget", "finalists", "alike"],
)
def test_drivers_agree_on_finalists_whatever_their_settings(driver, one: dict[str, Any], other: dict[str, Any]):
    first, second = driver(pruner="none", **one), driver(pruner="none", **other)
    if "budget" in one:
        side_by_side(first)  # it has finished when the other one continues
    side_by_side(first, second)
    agreed = ranks(first)
    for each in (first, second, first, second):
        assert each.done
        assert ranks(first) == agreed
    placed = [rank for _, rank in agreed if rank is not None]
    assert sorted(placed) == list(range(1, len(placed) + 1))
    winner = next(number for number, rank in agreed if rank == 1)
    tested = [row.number for row in rows(first) if row.role == Role.TEST]
    assert tested.count(winner) == 1
    assert len(tested) == 1 or one != other  # where one wants more than the other, it may find another winner


def test_a_trial_that_failed_for_its_images_can_end_once_they_are_fixed(settings):
    given = {**settings, "strategy": "random", "families": False, "budget": 4, "finalists": 0}

    def broken(job: Job) -> Any:
        if job.key == "trial-0002":
            raise EvaluationError(Cause.DATA, "unreadable")
        return (yield from synthetic(job))

    with pytest.raises(NasError, match="unreadable"):
        search(evaluator=broken, **given)
    for _ in range(2):
        assert search(evaluator=synthetic, **given).counts["complete"] == 4


def test_what_has_ended_is_not_queued_by_an_interruption(settings, monkeypatch):
    """The second Ctrl-C comes right after a trial was entered as complete."""
    given = {**settings, "strategy": "random", "families": False, "budget": 4, "finalists": 0}

    def interrupted(folder: RunFolder, key: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "discard_checkpoint", interrupted)
        with pytest.raises(KeyboardInterrupt):
            search(evaluator=synthetic, **given)
    assert search(evaluator=synthetic, **given).counts["complete"] == 4


def test_a_commit_without_a_received_reply_counts(driver, monkeypatch):
    one = driver(pruner="none", finalists=0, budget=2)
    job = one.ask()
    epochs, _ = Execution(job, synthetic).advance()
    with_retries = one.study.store.with_retries

    def interrupted(act: Callable[[], Any]) -> None:
        with_retries(act)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(one.study.store, "with_retries", interrupted)
        with pytest.raises(KeyboardInterrupt):
            one.report(job.key, epochs)
    one.close()
    other = driver(pruner="none", finalists=0, budget=2)
    again = other.ask()
    assert (again.key, again.reported) == (job.key, 8)
    execute(other, again)
    row = rows(other)[0]
    assert (row.state, row.epochs_run) == (State.COMPLETE, 8)


@pytest.mark.parametrize("act", ["renamed", "deleted"])
def test_a_silent_driver_cannot_continue_a_study_that_was_renamed_or_deleted(driver, shared, tmp_path, act: str):
    """It was stopped by Ctrl-Z, for example; nor does the command create the study again when it returns."""
    silent = driver(pruner="none")
    job = silent.ask()
    forget(silent)
    store = driver().study.store  # makes no difference: it is this process, too
    with store.session() as session, session.begin():
        session.execute(sa.update(DriverRow).values(heard_at=DriverRow.heard_at - 3600))
    if act == "renamed":
        rename_study(store, "study", "other", [tmp_path / "none"])
    else:
        delete_study(store, "study", [tmp_path / "none"])
    with pytest.raises(LeaseLost):
        silent.report(job.key, Execution(job, synthetic).advance()[0])
    with pytest.raises(StudyError, match="renamed or deleted"):
        silent.study.drive()
    with store.session() as session:
        assert set(session.scalars(sa.select(DriverRow.state))) <= {DriverState.LOST}


def test_signals_wait_for_the_end_of_a_step():
    seen: list[int] = []
    usual = {number: signal.signal(number, lambda number, _: seen.append(number)) for number in STOPPING}
    try:
        with uninterrupted():
            for number in STOPPING:
                signal.raise_signal(number)
            assert seen == []
        assert seen == list(STOPPING)
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def test_a_process_that_cannot_be_seen_may_still_be_there(monkeypatch):
    """As where /proc hides the processes of other users; number 1 is always there."""
    host, process = this_process()
    world = process.split(" ")[0]
    monkeypatch.setattr("results.store.process._started", lambda number: None)
    assert not is_gone(host, f"{world} 1 1")
    assert is_gone(host, f"{world} {2**22 + 1} 1")  # beyond the largest number that Linux gives

"""The book of evaluations: in step with the database, whatever happens to an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nas.study.evaluations import Evaluations
from nas.study.search import Search
from results.store.driver import Outdated
from results.store.store import State
from runners.protocol import Cause, EpochResult, Outcome


@pytest.fixture
def search(open_search: Callable[..., Search]) -> Search:
    return open_search(strategy="random+halving", families=False, budget=8, finalists=0)


def epochs(*numbers: int) -> list[EpochResult]:
    """Epochs of a second and a half each."""
    return [EpochResult(number, 1.0, 1.0 / number, 0.5, 1.5) for number in numbers]


def as_stored(stored: Callable[..., Any]) -> dict[str, tuple[Any, ...]]:
    return {
        row.key: (row.state, row.cause, row.attempts, row.epochs_trained, row.epochs_run, row.seconds)
        for row in stored().evaluations()
    }


def as_remembered(book: Evaluations) -> dict[str, tuple[Any, ...]]:
    return {
        key: (trial.state, trial.cause, trial.attempts, trial.epoch, trial.epochs_run, trial.seconds)
        for key, trial in book.by_key.items()
    }


def test_the_book_shows_what_the_database_has(search: Search, stored: Callable[..., Any]) -> None:
    """Also another book that is read from it."""
    running, paused, failed, lost, complete = (search.ask().key for _ in range(5))
    search.report(running, epochs(1))
    search.report(paused, epochs(1, 2))
    search.tell(paused, Outcome("stopped", 3.5))
    search.tell(failed, Outcome("failed", 0.5, Cause.DIVERGED, "it is not finite"))
    search.report(lost, epochs(1))
    search.tell(lost, Outcome("failed", 0.0, Cause.WORKER_LOST))
    search.report(complete, epochs(*range(1, 9)))
    search.tell(complete, Outcome("complete", 13.0))
    assert as_remembered(search.book) == as_stored(stored)
    assert as_stored(stored) == {
        running: (State.RUNNING, None, 1, 1, 1, 0.0),  # billed at its end
        paused: (State.PAUSED, None, 1, 2, 2, 3.5),
        failed: (State.FAILED, Cause.DIVERGED, 1, 0, 0, 0.5),
        lost: (State.QUEUED, None, 2, 1, 1, 1.5),
        complete: (State.COMPLETE, None, 1, 8, 8, 13.0),
    }
    assert [trial.key for trial in search.book.queue] == [lost]
    assert search.book.here == {running}
    other = Evaluations(search.spec, search.study.drive(), search.folder)
    other.merge()
    assert as_remembered(other) == as_stored(stored)


@pytest.mark.parametrize(
    ("write", "change"),
    [
        ("set_pending", lambda book, trial: book.pause(trial)),
        ("set_pending", lambda book, trial: book.requeue(trial, worker_died=True)),
        ("set_pending", lambda book, trial: book.resume(trial)),
        ("finish", lambda book, trial: book.finish(trial, State.FAILED, Cause.DIVERGED)),
        ("train_again", lambda book, trial: book.train_again(trial, trial)),
    ],
)
def test_where_another_driver_was_quicker_the_book_stays_as_it_was(
    search: Search,
    monkeypatch: pytest.MonkeyPatch,
    write: str,
    change: Callable[[Evaluations, Any], None],
) -> None:
    trial = search.book.by_key[search.ask().key]
    search.report(trial.key, epochs(1))

    def refuse(*arguments: object, **options: object) -> None:
        raise Outdated

    def state() -> tuple[Any, ...]:
        book = search.book
        return as_remembered(book), trial.unbilled, book.pending, list(book.queue), set(book.here)

    before = state()
    monkeypatch.setattr(search.driver, write, refuse)
    with pytest.raises(Outdated):
        change(search.book, trial)
    assert state() == before


def test_seconds_are_billed_once(open_search: Callable[..., Search]) -> None:
    """A training with lost weights is billed for both runs, not twice for the first."""
    search = open_search(strategy="random", families=False, budget=1, finalists=1, seeds=1)
    for _ in ("trial", "finalist"):
        key = search.ask().key
        search.report(key, epochs(*range(1, 9)))
        search.tell(key, Outcome("complete", 13.0))
    assert search.ask().task == "test"
    search.tell("test-0000-seed-1", Outcome("failed", 0.5, Cause.WEIGHTS, "they are gone"))
    again = search.ask()
    assert (again.key, again.reported) == (key, 0)
    search.report(key, epochs(1, 2))
    search.tell(key, Outcome("failed", 0.0, Cause.DIVERGED))
    assert search.book.by_key[key].seconds == 13.0 + 3.0

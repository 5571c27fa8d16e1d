"""The account of a study, worked by hand: two epochs are a full training."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from results.database.schema import Role, State
from results.report.ledger import STAGES, Account, Ledger, make_ledger
from results.store.store import StudyStore


@pytest.fixture
def study(sqlite_store, make_study) -> StudyStore:
    return make_study(sqlite_store)


@pytest.fixture
def add(study, architectures, add_evaluation) -> Callable[..., None]:
    def make(number: int, **changes) -> None:
        add_evaluation(study, number, architectures[number], **changes)

    return make


@pytest.fixture
def ledger(study) -> Callable[[], Ledger]:
    return lambda: make_ledger(study.evaluations(), study.seconds_per_epoch())


def test_nothing_costs_nothing(ledger):
    assert ledger() == Ledger(0.0, 0.0, dict.fromkeys(STAGES, Account(0, 0.0, 0.0)), {})


def test_every_evaluation_is_in_one_row(study, add, ledger, new_evaluation, architectures, space):
    # An epoch takes 4 s, so a full training takes 8 s.
    axes = {axis.name: axis for axis in space.axes}
    add(0, seconds=10.0, seconds_per_epoch=4.0)
    add(1, seconds=12.0, seconds_per_epoch=4.0)
    study.driver.add_repeated("trial-0001", 1)  # one epoch was lost and computed again: 3 of 2
    add(2, seconds=5.0, seconds_per_epoch=4.0, state=State.PRUNED, epochs=1)
    add(3, seconds=2.0, state=State.FAILED, cause="too_slow", epochs=0)  # measured, not trained
    add(4, seconds=6.0, seconds_per_epoch=4.0, state=State.FAILED, cause="diverged", epochs=1)
    add(0, key="finalist-0000-seed-1", role=Role.FINALIST, seconds=9.0, seconds_per_epoch=4.0)
    add(0, key="test-0000-seed-1", role=Role.TEST, seconds=4.0, epochs=1)  # trains nothing
    for number, seconds in enumerate([1.0, 3.0]):
        key = f"proxies-{number:04d}"
        add(number, key=key, role=Role.PROXIES, seconds=seconds, epochs=0, epochs_planned=0)
    for number, state in ((5, State.PAUSED), (6, State.RUNNING), (7, State.QUEUED)):
        study.driver.start(new_evaluation(number, architectures[number]), axes)
        study.driver.set_pending(f"trial-{number:04d}", state, seconds=0.0)
    compute = ledger()
    assert compute.stages == {
        "proxies": Account(2, 4.0, 0.5),
        "complete": Account(2, 22.0, 2.5),
        "pruned": Account(1, 5.0, 0.5),
        "paused": Account(1, 0.0, 0.0),
        "running": Account(1, 0.0, 0.0),
        "queued": Account(1, 0.0, 0.0),
        "failed": Account(2, 8.0, 0.5),
        "finalists": Account(1, 9.0, 1.0),
        "tests": Account(1, 4.0, 0.0),
    }
    assert (compute.seconds, compute.fte) == (52.0, 5.0)


def test_what_cannot_be_compared_with_a_training_yet_is_unknown(add, ledger):
    add(0, key="proxies-0000", role=Role.PROXIES, seconds=3.0, epochs=0, epochs_planned=0)
    compute = ledger()
    assert compute.stages["proxies"] == Account(1, 3.0, None)
    assert (compute.seconds, compute.fte) == (3.0, 0.0)


def test_trials_are_counted_by_the_phase_that_proposed_them(add, ledger):
    add(0, phase="families", seconds=2.0)
    add(1, phase="model", seconds=3.0)
    add(2, phase="model", seconds=1.0, state=State.PRUNED, epochs=1)
    add(3)  # by a strategy without parts
    add(0, key="finalist-0000-seed-1", role=Role.FINALIST, phase="families")  # no trial
    assert ledger().parts == {"families": Account(1, 2.0, 1.0), "model": Account(2, 4.0, 1.5)}

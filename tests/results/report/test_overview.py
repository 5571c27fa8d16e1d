"""Studies at a glance: their state, results and cost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from results.database.schema import Role, State
from results.report.overview import make_overviews
from results.store.store import Store


def overview(store: Store):
    (found,) = make_overviews(store)
    return found


def test_a_study_without_trials(store, make_study):
    make_study(store).driver.leave()
    found = overview(store)
    assert (found.name, found.state, found.evaluated, found.budget) == ("study", "stopped", 0, 8)
    assert (found.space, found.data, found.best, found.counts, found.fte) == ("small", "digits", None, {}, 0.0)
    assert found.last_activity is None
    assert abs(datetime.now(UTC) - found.created) < timedelta(hours=1)


def test_a_study_without_an_identity(store):
    store.create_study("bare", identity={}, config={}, objectives={"nll": "minimize"}, metric_names=["NLL"])
    found = overview(store)
    assert (found.state, found.space, found.data, found.budget) == ("stopped", None, None, None)


def test_the_results_of_a_study(store, make_study, add_evaluation, new_evaluation, architectures, space):
    """Two full trainings of 2 epochs, one epoch of a pruned one, and a running one: 2.5 full trainings."""
    study = make_study(store)
    add_evaluation(study, 0, architectures[0], nll=0.75)
    add_evaluation(study, 1, architectures[1], nll=0.25)
    add_evaluation(study, 2, architectures[2], nll=0.1, state=State.PRUNED, epochs=1)
    add_evaluation(study, 3, architectures[3], state=State.FAILED, cause="too_slow", epochs=0, seconds=0.0)
    study.driver.start(new_evaluation(4, architectures[4]), {axis.name: axis for axis in space.axes})
    found = overview(store)
    assert (found.evaluated, found.fte) == (3, 2.5)  # what was too slow is not one of the budget
    assert found.counts == {"running": 1, "complete": 2, "pruned": 1, "failed": 1}
    best = found.best
    assert (best.trial, best.objective, best.value, best.seeds) == (1, "nll", 0.25, 0)
    assert best.hash == architectures[1].hash
    assert best.mixers == space.encode(architectures[1])["stage1.mixer"]
    newest = study.evaluations()[-1].started_at
    assert found.last_activity == (newest if newest.tzinfo else newest.replace(tzinfo=UTC))
    plain = found.to_dict()
    assert datetime.fromisoformat(plain["last_activity"]) == found.last_activity
    assert plain["best"]["trial"] == 1


def test_more_accuracy_is_better(store, make_study, add_evaluation, architectures):
    study = make_study(store, objectives=("accuracy",))
    for number, accuracy in enumerate((0.5, 0.75, 0.25)):
        add_evaluation(study, number, architectures[number], accuracy=accuracy)
    assert (overview(store).best.trial, overview(store).best.value) == (1, 0.75)


def test_the_winner_comes_before_the_best_trial(store, make_study, add_evaluation, architectures):
    study = make_study(store)
    for number, nll in enumerate((0.5, 0.25)):
        add_evaluation(study, number, architectures[number], nll=nll)
    study.driver.put_finalist(0, architectures[0], 2, rank=1, mean_nll=0.375)
    study.driver.put_finalist(1, architectures[1], 2, rank=2, mean_nll=0.5)
    best = overview(store).best
    assert (best.trial, best.value, best.seeds) == (0, 0.375, 2)


def test_a_study_whose_winner_was_chosen_without_finalists_is_finished(
    sqlite_store, make_study, add_evaluation, architectures
):
    """A limit on compute has ended it after 2 of 8 trials."""
    study = make_study(sqlite_store)
    for number, nll in enumerate((0.5, 0.25)):
        add_evaluation(study, number, architectures[number], nll=nll)
    study.driver.put_finalist(0, architectures[0], 0, rank=1)
    study.driver.leave()
    found = overview(sqlite_store)
    assert (found.state, found.best.trial, found.best.value, found.best.seeds) == ("finished", 0, 0.5, 0)


@pytest.mark.parametrize(
    ("trials", "tested", "queued", "expected"),
    [
        (8, False, False, "finished"),  # the budget of 8 is spent
        (7, False, False, "stopped"),
        (7, True, False, "finished"),  # a limit on compute has ended it
        (7, True, True, "stopped"),
        (8, False, True, "stopped"),
    ],
)
def test_the_state_of_a_study(
    sqlite_store, make_study, add_evaluation, architectures, trials, tested, queued, expected
):
    study = make_study(sqlite_store)
    for number in range(trials):
        add_evaluation(study, number, architectures[number], epochs=1)
    study.driver.put_finalist(0, architectures[0], 1, rank=1, mean_nll=0.5, test_nll=0.5 if tested else None)
    if queued:
        add_evaluation(study, 0, architectures[0], role=Role.FINALIST, key="finalist-0000-seed-1", state=State.FAILED)
        study.driver.set_pending("finalist-0000-seed-1", State.QUEUED)
    study.driver.leave()
    assert overview(sqlite_store).state == expected


def test_a_study_is_running_while_it_is_driven(store, make_study):
    for name in ("first", "second"):
        make_study(store, name).driver.leave()
    other = Store(store.url)
    with other.driving("second"):
        driver = other.study("second").drive()
        assert [one.state for one in make_overviews(store)] == ["stopped", "running"]
        driver.leave()
    other.close()
    assert [one.state for one in make_overviews(store)] == ["stopped", "stopped"]

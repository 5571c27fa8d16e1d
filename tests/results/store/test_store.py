"""Every write is one transaction over our tables and Optuna's, alike on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from results.store.store import Ending, EpochRecord, Facts, Role, State, Store
from search_space.errors import StorageError
from search_space.space import Axis


@pytest.fixture
def axes(space) -> dict[str, Axis]:
    return {axis.name: axis for axis in space.axes}


@pytest.fixture
def content(store: Store) -> Callable[[], dict[str, list[str]]]:
    """Everything that is in the database, Optuna's tables included."""

    def read() -> dict[str, list[str]]:
        metadata = sa.MetaData()
        metadata.reflect(store.engine)
        with store.engine.connect() as connection:
            return {
                name: sorted(map(repr, connection.execute(sa.select(table)).all()))
                for name, table in metadata.tables.items()
            }

    return read


def epoch(number: int, nll: float = 1.0) -> EpochRecord:
    return EpochRecord(number, nll + 0.5, nll, 0.25 * number, 0.125)


def test_an_evaluation_from_start_to_finish(store, make_study, new_evaluation, architectures, axes):
    study = make_study(store)
    architecture = architectures[0]
    study.driver.start(new_evaluation(0, architecture, origin="family:vit", seed=7), axes)
    (row,) = study.evaluations()
    assert (row.state, row.epochs_trained, row.nll, row.attempts, row.seconds) == (State.RUNNING, 0, None, 1, 0.0)
    study.driver.add_epochs("trial-0000", [epoch(1, 2.0)], {1: 2.0})
    study.driver.add_epochs("trial-0000", [epoch(2, 1.0), epoch(3, 0.5)], {2: 1.0, 3: 0.5})
    study.driver.finish(
        "trial-0000",
        Ending(
            State.COMPLETE,
            seconds=2.5,
            latency_ms=0.25,
            peak_memory_mib=12.0,
            device="a" * 300,
            versions={"torch": "2.13"},
            values=[0.5],
        ),
    )
    (row,) = study.evaluations(Role.TRIAL)
    assert (row.key, row.role, row.number, row.origin, row.seed) == ("trial-0000", "trial", 0, "family:vit", 7)
    assert (row.state, row.cause, row.message) == (State.COMPLETE, None, None)
    assert (row.epochs_planned, row.epochs_trained, row.nll, row.accuracy) == (2, 3, 0.5, 0.75)
    assert (row.seconds, row.latency_ms, row.peak_memory_mib) == (2.5, 0.25, 12.0)
    assert (row.device, row.versions) == ("a" * 200, {"torch": "2.13"})
    assert row.choices == new_evaluation(0, architecture).choices
    assert (row.architecture.hash, row.architecture.yaml) == (architecture.hash, architecture.to_yaml())
    assert (row.architecture.params, row.architecture.macs) == (architecture.params, architecture.macs)
    assert row.finished_at >= row.started_at
    curve = study.curves()["trial-0000"]
    assert [(e.epoch, e.train_loss, e.nll, e.accuracy, e.seconds) for e in curve] == [
        (1, 2.5, 2.0, 0.25, 0.125),
        (2, 1.5, 1.0, 0.5, 0.125),
        (3, 1.0, 0.5, 0.75, 0.125),
    ]


def test_an_interrupted_evaluation_keeps_account_of_its_attempts(
    store, make_study, new_evaluation, architectures, axes
):
    study = make_study(store)
    study.driver.start(new_evaluation(0, architectures[0]), axes)
    study.driver.set_pending("trial-0000", State.QUEUED, seconds=1.0)
    study.driver.set_pending("trial-0000", State.RUNNING)
    study.driver.set_pending("trial-0000", State.QUEUED, seconds=0.5, died=True)
    study.driver.set_pending("trial-0000", State.RUNNING)
    study.driver.finish("trial-0000", Ending(State.FAILED, 2.0, cause="worker_lost", message="gone"))
    (row,) = study.evaluations()
    assert (row.state, row.cause, row.message, row.attempts, row.seconds) == ("FAILED", "worker_lost", "gone", 2, 3.5)


def test_a_paused_evaluation_keeps_what_is_known_and_is_pruned_without_another_epoch(
    store, make_study, new_evaluation, architectures, axes
):
    study = make_study(store)
    study.driver.start(new_evaluation(0, architectures[0], phase="startup"), axes)
    study.driver.add_epochs("trial-0000", [epoch(1, 2.0)], {1: 2.0})
    settings = {"threads": 1, "batch_size": 1, "precision": "fp32", "warm_up": 1, "repeats": 1}
    latency = {"device": "a CPU", **settings, "median_ms": 0.5, "lower_ms": 0.25, "upper_ms": 0.75}
    facts = Facts(latency_ms=0.5, latency=latency, device="a GPU", versions={"torch": "2.13"})
    study.driver.set_pending("trial-0000", State.PAUSED, seconds=1.5, facts=facts)
    (row,) = study.evaluations()
    assert (row.state, row.phase, row.seconds, row.attempts, row.finished_at) == ("PAUSED", "startup", 1.5, 1, None)
    assert (row.latency_ms, row.latency, row.device, row.versions) == (0.5, latency, "a GPU", {"torch": "2.13"})
    study.driver.set_pending("trial-0000", State.RUNNING)
    study.driver.set_pending("trial-0000", State.PAUSED, seconds=0.5)
    study.driver.finish("trial-0000", Ending(State.PRUNED, 0.0, values=[2.0]))
    (row,) = study.evaluations()
    assert (row.state, row.epochs_trained, row.nll, row.seconds) == ("PRUNED", 1, 2.0, 2.0)
    assert (row.latency_ms, row.latency, row.device) == (0.5, latency, "a GPU")
    assert row.finished_at is not None


def test_proxies_have_an_account_and_no_epochs(store, make_study, new_evaluation, architectures, axes):
    study = make_study(store)
    study.driver.start(
        new_evaluation(3, architectures[0], key="proxies-0003", role=Role.PROXIES, choices={}, epochs_planned=0), axes
    )
    study.driver.finish("proxies-0003", Ending(State.COMPLETE, 1.5))
    (row,) = study.evaluations(Role.PROXIES)
    assert (row.key, row.state, row.seconds, row.epochs_run, row.optuna_trial_id) == (
        "proxies-0003",
        "COMPLETE",
        1.5,
        0,
        None,
    )
    assert study.evaluations(Role.TRIAL) == []


def test_the_mean_epoch_is_that_of_trials(store, make_study, new_evaluation, architectures, axes):
    study = make_study(store)
    assert study.seconds_per_epoch() == 0.0
    for number, role in enumerate((Role.TRIAL, Role.FINALIST, Role.TEST)):
        study.driver.start(new_evaluation(number, architectures[number], key=role, role=role), axes)
    study.driver.add_epochs(Role.TRIAL, [EpochRecord(n, 1.0, 1.0, 0.5, 2.0) for n in (1, 2)], {})
    study.driver.add_epochs(Role.FINALIST, [EpochRecord(1, 1.0, 1.0, 0.5, 5.0)], {})
    study.driver.add_epochs(Role.TEST, [EpochRecord(2, 1.0, 1.0, 0.5, 99.0)], {})
    assert study.seconds_per_epoch() == 2.0


def test_a_message_may_hold_any_character(store, make_study, new_evaluation, architectures, axes):
    study = make_study(store)
    study.driver.start(new_evaluation(0, architectures[0]), axes)
    study.driver.finish("trial-0000", Ending(State.FAILED, 1.0, cause="bug", message="bytes \x00 and words ä"))
    (row,) = study.evaluations()
    assert row.state == State.FAILED
    assert row.message.endswith("and words ä")


def test_an_architecture_is_stored_once_for_all_studies(store, make_study, new_evaluation, architectures, axes):
    first, second = make_study(store, "first"), make_study(store, "second")
    for study in (first, second):
        study.driver.start(new_evaluation(0, architectures[0]), axes)
    assert first.evaluations()[0].architecture_id == second.evaluations()[0].architecture_id
    assert [study.name for study in store.studies()] == ["first", "second"]


def test_a_study_is_found_again_by_a_second_connection(store, make_study, new_evaluation, architectures, axes):
    make_study(store, "mine").driver.start(new_evaluation(0, architectures[0]), axes)
    again = Store(store.url, create=False)
    study = again.study("mine")
    study.update_config({"budget": 99})
    driver = study.drive()
    driver.changes()
    driver.finish("trial-0000", Ending(State.PRUNED, 1.0))
    assert again.study("mine").row.config == {"budget": 99}
    assert store.study("mine").evaluations()[0].state == State.PRUNED
    assert again.study("other") is None
    again.close()


def test_finalists_are_updated_in_place_and_come_winner_first(store, make_study, add_evaluation, architectures):
    study = make_study(store)
    for number in range(3):
        add_evaluation(study, number, architectures[number])
        study.driver.put_finalist(number, architectures[number], 2)
    study.driver.put_finalist(2, architectures[2], 3, rank=1, mean_nll=0.25)
    study.driver.put_finalist(0, architectures[0], 3, rank=2, mean_nll=0.5)
    found = study.finalists()
    assert [(row.number, row.rank, row.seeds, row.mean_nll) for row in found] == [
        (2, 1, 3, 0.25),
        (0, 2, 3, 0.5),
        (1, None, 2, None),
    ]


# Failures in the middle of a transaction.


def test_a_start_that_fails_in_our_tables_leaves_nothing(
    store, make_study, new_evaluation, architectures, axes, content
):
    study = make_study(store)
    study.driver.start(new_evaluation(0, architectures[0]), axes)
    before = content()
    with pytest.raises(StorageError, match="failed"):  # the key is taken, which shows after Optuna's rows are in
        study.driver.start(new_evaluation(1, architectures[1], key="trial-0000"), axes)
    assert content() == before


def test_a_start_that_fails_in_optunas_tables_leaves_nothing(
    store, make_study, new_evaluation, architectures, axes, content
):
    study = make_study(store)
    before = content()
    known = {name: axis for name, axis in axes.items() if name != "stage1.order"}
    with pytest.raises(KeyError):
        study.driver.start(new_evaluation(0, architectures[0]), known)
    assert content() == before


@pytest.mark.parametrize(
    ("epochs", "quality"),
    [
        ([epoch(2), epoch(1)], {2: 1.0, 1: 1.0}),  # epoch 1 is in our tables already
        ([epoch(2), epoch(3)], {2: 1.0, 1: 1.0}),  # only Optuna's table has step 1 already
    ],
)
def test_epochs_are_added_all_or_none(store, make_study, new_evaluation, architectures, axes, content, epochs, quality):
    study = make_study(store)
    study.driver.start(new_evaluation(0, architectures[0]), axes)
    study.driver.add_epochs("trial-0000", [epoch(1)], {1: 1.0})
    before = content()
    with pytest.raises(StorageError, match="failed"):
        study.driver.add_epochs("trial-0000", epochs, quality)
    assert content() == before


def test_a_finish_is_all_or_nothing(store, make_study, new_evaluation, architectures, axes, content):
    study = make_study(store)
    study.driver.start(new_evaluation(0, architectures[0]), axes)
    with store.engine.begin() as connection:  # the last of the tables that it writes to takes nothing
        connection.execute(sa.text("ALTER TABLE trial_values RENAME TO hidden"))
    before = content()
    with pytest.raises(StorageError, match="failed"):
        study.driver.finish("trial-0000", Ending(State.COMPLETE, 1.0, values=[1.0], attrs={"origin": "again"}))
    assert content() == before


def test_creating_a_study_of_a_taken_name_returns_the_existing_one(store, make_study, content):
    mine = make_study(store, "mine")
    before = content()
    again = store.create_study("mine", identity={}, config={}, objectives={"accuracy": "maximize"}, metric_names=["a"])
    assert (again.row.id, again.row.identity) == (mine.row.id, mine.row.identity)
    assert content() == before


def test_of_drivers_that_make_one_database_and_study_at_once_all_have_the_same(database_url):
    ready = threading.Barrier(4)

    def make(_: int) -> str:
        ready.wait()
        opened = Store(database_url)
        made = opened.create_study(
            "mine", identity={}, config={}, objectives={"nll": "minimize"}, metric_names=["validation NLL"]
        )
        opened.close()
        return made.row.uid

    with ThreadPoolExecutor(4) as drivers:
        assert len(set(drivers.map(make, range(4)))) == 1


def test_a_database_that_breaks_while_it_is_read_is_an_error_of_ours(store):
    with store.engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE nas_finalists"))
        connection.execute(sa.text("DROP TABLE nas_epochs"))
        connection.execute(sa.text("DROP TABLE nas_evaluations"))
        connection.execute(sa.text("DROP TABLE nas_drivers"))
        connection.execute(sa.text("DROP TABLE nas_studies"))
    with pytest.raises(StorageError):
        store.studies()
    with pytest.raises(StorageError):
        store.study("mine")

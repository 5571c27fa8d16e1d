"""What we write into Optuna's tables is read back through Optuna's public interface, on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.storages._rdb import models
from optuna.storages._rdb.models import SCHEMA_VERSION
from optuna.study import StudyDirection
from optuna.trial import TrialState

from results.database.connection import shown, wait_for_turn
from results.database.optuna_tables import distribution
from results.database.schema import StudyRow
from results.store.rename_delete import _delete_rows
from results.store.store import Ending, EpochRecord, Role, State, Store
from search_space.errors import StorageError, StudyError
from search_space.space import Axis

CURVE = [EpochRecord(1, 2.0, 1.5, 0.25, 0.1), EpochRecord(2, 1.0, 0.75, 0.625, 0.1)]
EXPECTED = {
    "patch": IntDistribution(2, 4, step=2),
    "dim": IntDistribution(16, 32, step=8),
    "pooling": CategoricalDistribution(("gap", "class_token")),
    "position": CategoricalDistribution(("none", "learned")),
    "norm": CategoricalDistribution(("layernorm",)),
    "layer_scale": CategoricalDistribution((None,)),
    "drop_path": CategoricalDistribution((0.0,)),
    "stages": CategoricalDistribution((1,)),
    "stage1.depth": IntDistribution(1, 4),
    "stage1.mixer": CategoricalDistribution(("attention", "mlp", "linear")),
    "stage1.heads": IntDistribution(2, 4, step=2),
    "stage1.token_hidden": CategoricalDistribution(("C/2",)),
    "stage1.token_norm": CategoricalDistribution(("channel",)),
    "stage1.channel_ratio": IntDistribution(2, 4, step=2),
    "stage1.order": CategoricalDistribution(("token_first",)),
}


@pytest.fixture
def axes(space) -> dict[str, Axis]:
    return {axis.name: axis for axis in space.axes}


@pytest.fixture
def storage(store: Store) -> Iterator[optuna.storages.RDBStorage]:
    """Optuna's own way into the same database."""
    opened = optuna.storages.RDBStorage(store.url)
    yield opened
    opened.remove_session()
    opened.engine.dispose()


@pytest.fixture
def load(storage: optuna.storages.RDBStorage) -> Callable[[], optuna.Study]:
    return lambda: optuna.load_study(study_name="study", storage=storage)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((1, 2, 3), IntDistribution(1, 3)),
        ((16, 24, 32), IntDistribution(16, 32, step=8)),
        ((1, 2, 4), CategoricalDistribution((1, 2, 4))),
        ((4,), CategoricalDistribution((4,))),
        ((True, False), CategoricalDistribution((True, False))),
        ((None, 0.1), CategoricalDistribution((None, 0.1))),
    ],
)
def test_evenly_spaced_whole_numbers_are_ordered_and_all_else_is_categorical(values, expected):
    assert distribution(Axis("axis", values)) == expected


def test_every_trial_is_read_back_as_it_was_written(
    store, make_study, new_evaluation, architectures, space, axes, load
):
    study = make_study(store)
    for number, architecture in enumerate(architectures[:6]):
        study.driver.start(
            new_evaluation(number, architecture, attrs={"mixers": "m", "params": architecture.params}), axes
        )
    study.driver.add_epochs("trial-0000", CURVE, {1: 1.5, 2: 0.75})
    study.driver.finish("trial-0000", Ending(State.COMPLETE, 1.0, values=[0.75], attrs={"val_accuracy": 0.625}))
    study.driver.add_epochs("trial-0001", CURVE[:1], {1: 1.5})
    study.driver.finish("trial-0001", Ending(State.PRUNED, 1.0, values=[1.5]))
    study.driver.finish("trial-0002", Ending(State.FAILED, 1.0, cause="bug", message="no", attrs={"cause": "bug"}))
    study.driver.set_pending("trial-0003", State.QUEUED)
    study.driver.add_epochs("trial-0005", CURVE[:1], {1: 1.5})
    study.driver.set_pending("trial-0005", State.PAUSED)

    read = load()
    assert read.directions == [StudyDirection.MINIMIZE]
    assert read.metric_names == ["nll"]
    trials = read.get_trials()
    assert [trial.number for trial in trials] == [0, 1, 2, 3, 4, 5]
    states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.WAITING, TrialState.RUNNING]
    assert [trial.state for trial in trials] == [*states, TrialState.WAITING]
    assert [trial.values for trial in trials] == [[0.75], [1.5], None, None, None, None]
    assert [trial.intermediate_values for trial in trials] == [{1: 1.5, 2: 0.75}, {1: 1.5}, {}, {}, {}, {1: 1.5}]
    for trial, architecture in zip(trials, architectures, strict=False):
        choices = space.encode(architecture)
        assert trial.params == choices
        assert trial.distributions == {name: EXPECTED[name] for name in choices}
        assert trial.user_attrs.items() >= {"mixers": "m", "params": architecture.params}.items()
        assert trial.datetime_start is not None
        assert (trial.datetime_complete is not None) is trial.state.is_finished()
    assert trials[0].user_attrs["val_accuracy"] == 0.625
    assert trials[2].user_attrs["cause"] == "bug"
    assert read.best_trial.number == 0


def test_only_active_parameters_are_stored(store, make_study, new_evaluation, space, axes, load):
    choices = {
        "patch": 2,
        "dim": 16,
        "pooling": "gap",
        "position": "none",
        "norm": "layernorm",
        "layer_scale": None,
        "drop_path": 0.0,
        "stages": 1,
        "stage1.depth": 1,
        "stage1.mixer": "linear",
        "stage1.channel_ratio": 2,
        "stage1.order": "token_first",
    }
    study = make_study(store)
    study.driver.start(new_evaluation(0, space.decode(choices)), axes)
    assert load().trials[0].params == choices  # no heads, token_hidden or token_norm


def test_several_objectives(store, make_study, new_evaluation, architectures, axes, load):
    study = make_study(store, objectives=("accuracy", "params"))
    for number, values in enumerate([[0.5, 10.0], [0.75, 20.0], [0.25, 30.0], [0.5, float("inf")]]):
        study.driver.start(new_evaluation(number, architectures[number]), axes)
        study.driver.finish(f"trial-{number:04d}", Ending(State.COMPLETE, 1.0, values=values))
    read = load()
    assert read.directions == [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
    assert read.metric_names == ["accuracy", "params"]
    assert read.trials[3].values == [0.5, float("inf")]
    assert [trial.number for trial in read.best_trials] == [0, 1]


def test_trials_alone_enter_optunas_tables(store, make_study, new_evaluation, architectures, axes, load):
    study = make_study(store)
    study.driver.start(new_evaluation(0, architectures[0], key="finalist-0000-seed-1", role=Role.FINALIST), axes)
    study.driver.add_epochs("finalist-0000-seed-1", CURVE, {1: 1.5, 2: 0.75})
    study.driver.finish("finalist-0000-seed-1", Ending(State.COMPLETE, 1.0, values=[0.75]))
    assert load().trials == []


def test_a_study_of_the_same_name_that_is_not_ours_is_left_alone(store, make_study, storage, load):
    theirs = optuna.create_study(study_name="study", storage=storage, directions=["maximize", "minimize"])
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        theirs.set_metric_names(["profit", "risk"])
    theirs.tell(theirs.ask({"x": IntDistribution(0, 9)}), [1.0, 2.0])
    with pytest.raises(
        StudyError, match=r"already holds a study 'study' of Optuna, .* choose another --study"
    ) as caught:
        make_study(store)
    assert shown(store.url) in str(caught.value)
    assert [study.name for study in store.studies()] == []
    assert load().metric_names == ["profit", "risk"]
    assert [trial.values for trial in load().trials] == [[1.0, 2.0]]
    make_study(store, "another")
    assert len(load().trials) == 1


def test_the_tables_are_as_optuna_makes_them(database_url, make_study, tmp_path):
    """Its storage opens them without a word, and finds nothing to upgrade; so are its own tables, column by column."""
    store = Store(database_url)
    make_study(store)
    opened = optuna.storages.RDBStorage(database_url, skip_table_creation=True)
    assert opened.get_current_version() == opened.get_head_version()
    own = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'own.db'}")
    ours, theirs = sa.inspect(opened.engine), sa.inspect(own.engine)
    for table in theirs.get_table_names():
        assert {column["name"] for column in ours.get_columns(table)} == {
            column["name"] for column in theirs.get_columns(table)
        }
    for storage in (own, opened):
        with storage.engine.connect() as connection:
            assert connection.execute(sa.text("SELECT schema_version, library_version FROM version_info")).all() == [
                (SCHEMA_VERSION, optuna.__version__)
            ]
        storage.engine.dispose()
    store.close()


def test_tables_that_a_kill_left_unfinished_are_completed(store, make_study):
    """Optuna makes its tables one by one; an earlier version of this program let it."""
    with store.engine.begin() as connection:
        wait_for_turn(connection, "creation")
        models.StudyModel.__table__.create(connection)
    make_study(store)
    opened = optuna.storages.RDBStorage(store.url)
    assert optuna.load_study(study_name="study", storage=opened).trials == []
    opened.engine.dispose()


def test_tables_of_another_optuna(store, make_study, storage):
    with store.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'v2.6.0.a'"))
        connection.execute(sa.text("UPDATE version_info SET library_version = '2.9.0'"))
    with pytest.raises(StorageError, match=r"are of its version 2\.9\.0, and this is .*: optuna storage upgrade"):
        make_study(store)
    assert store.studies() == []


def test_optuna_can_continue_where_we_stopped(store, make_study, new_evaluation, architectures, axes, load):
    study = make_study(store)
    study.driver.start(new_evaluation(0, architectures[0]), axes)
    study.driver.finish("trial-0000", Ending(State.COMPLETE, 1.0, values=[0.75]))
    read = load()
    trial = read.ask(EXPECTED)
    read.tell(trial, 0.5)
    assert trial.number == 1
    assert load().best_value == 0.5


def test_of_a_study_that_others_use_their_trials_stay(
    store, make_study, new_evaluation, architectures, axes, storage, load
):
    """They may have been there before, when an earlier version took over the name, or come later."""
    study = make_study(store)
    study.driver.start(new_evaluation(0, architectures[0]), axes)
    study.driver.finish("trial-0000", Ending(State.COMPLETE, 1.0, values=[0.75]))
    study.driver.leave()
    theirs = load().ask(EXPECTED)
    load().tell(theirs, 0.5)
    make_study(store, "other").driver.leave()
    for name in ("study", "other"):
        with store.session() as session, session.begin():
            _delete_rows(session, session.scalars(sa.select(StudyRow).where(StudyRow.name == name)).one())
    assert store.studies() == []
    assert optuna.get_all_study_names(storage) == ["study"]
    assert [(trial.number, trial.value) for trial in load().trials] == [(1, 0.5)]

"""Renaming and deleting: both sets of tables change together, and what other studies use stays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import optuna
import pytest
import sqlalchemy as sa

from results.database.tables import all_tables
from results.store.rename_delete import count_trials, deleting, is_driven, renaming
from results.store.store import Store
from search_space.errors import StorageError, StudyError

LEASES = ("nas_drivers", "nas_studies")
"""Tables that a driver changes when it joins and leaves."""


def contents(store: Store) -> dict[str, list[tuple[object, ...]]]:
    """All rows of all tables."""
    with store.engine.connect() as connection:
        names = sa.inspect(connection).get_table_names()
        return {
            name: sorted(map(tuple, connection.execute(sa.text(f"SELECT * FROM {name}"))), key=repr)
            for name in sorted(names)
        }


@contextmanager
def optuna_storage(store: Store) -> Iterator[optuna.storages.RDBStorage]:
    """Optuna's own way into the same database."""
    storage = optuna.storages.RDBStorage(store.url)
    yield storage
    storage.remove_session()
    storage.engine.dispose()


def rename_study(store: Store, old: str, new: str) -> None:
    with renaming(store, old, new):
        pass


def delete_study(store: Store, name: str) -> None:
    with deleting(store, name):
        pass


def optuna_names(store: Store) -> list[str]:
    with optuna_storage(store) as storage:
        return sorted(optuna.get_all_study_names(storage))


@pytest.fixture
def studies(store, make_study, add_evaluation, architectures):
    """A store with the studies "one" (architectures 0, 1 and 2) and "two" (1 and 3), with scores of 0, 1 and 4."""
    one, two = make_study(store, "one"), make_study(store, "two")
    for study, chosen in ((one, (0, 1)), (two, (1, 3))):
        for number, index in enumerate(chosen):
            add_evaluation(study, number, architectures[index])
    one.driver.put_finalist(0, architectures[2], 2, rank=1, mean_nll=0.5)
    for study in (one, two):
        study.driver.leave()
    store.put_scores("only one", {architectures[0]: {"zico": (1.0, 0.1)}, architectures[4]: {"zico": (2.0, 0.1)}})
    store.put_scores("both", {architectures[1]: {"zico": (3.0, 0.1)}})
    return store


# Renaming.


def test_a_new_name_everywhere(studies):
    before = studies.study("one").evaluations()
    rename_study(studies, "one", "first")
    assert [row.name for row in studies.studies()] == ["first", "two"]
    assert optuna_names(studies) == ["first", "two"]
    assert [row.key for row in studies.study("first").evaluations()] == [row.key for row in before]


def test_the_settings_carry_the_new_name(store):
    store.create_study(
        "old", identity={}, config={"study": "old"}, objectives={"nll": "minimize"}, metric_names=["NLL"]
    )
    rename_study(store, "old", "new")
    assert store.study("new").row.config == {"study": "new"}


def test_a_database_that_fails_in_the_end_leaves_everything_as_it_was(studies):
    def fail(session):
        raise sa.exc.OperationalError("COMMIT", {}, Exception("the disk is full"))

    before = contents(studies)
    sa.event.listen(sa.orm.Session, "before_commit", fail)
    try:
        with pytest.raises(StorageError, match="the disk is full"):
            rename_study(studies, "one", "first")
        with pytest.raises(StorageError, match="the disk is full"):
            delete_study(studies, "one")
    finally:
        sa.event.remove(sa.orm.Session, "before_commit", fail)
    assert contents(studies) == before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("one", "two", "there is already a study 'two' in "),
        ("one", "one", "there is already a study 'one' in "),
        ("on", "first", "there is no study 'on' in .*did you mean 'one'"),
        ("one", "theirs", "there is already a study 'theirs' in "),
    ],
)
def test_a_name_that_will_not_do(studies, tmp_path, old, new, message):
    with optuna_storage(studies) as storage:
        optuna.create_study(study_name="theirs", storage=storage)
    before = contents(studies)
    with pytest.raises(StudyError, match=message):
        rename_study(studies, old, new)
    assert contents(studies) == before
    assert not list(tmp_path.glob("*.on.lock"))


def test_a_study_that_is_searched_is_left_alone(studies):
    other = Store(studies.url)
    before = contents(studies)
    with other.driving("one"):
        driver = other.study("one").drive()
        assert (is_driven(studies, "one"), is_driven(studies, "two")) == (True, False)
        with pytest.raises(StudyError, match="'one' is being searched; stop the search before it is renamed"):
            rename_study(studies, "one", "first")
        with pytest.raises(StudyError, match="'one' is being searched; stop the search before it is deleted"):
            delete_study(studies, "one")
        driver.leave()
    other.close()
    after = contents(studies)
    assert {table: rows for table, rows in after.items() if table not in LEASES} == {
        table: rows for table, rows in before.items() if table not in LEASES
    }
    assert not is_driven(studies, "one")


# Deleting.


def test_how_many_trials_a_study_has(studies):
    assert count_trials(studies, "one") == 2  # the finalist is no trial


def test_a_deleted_study_leaves_the_other_as_if_it_had_been_alone(studies, architectures):
    two = contents_of(studies, "two")
    delete_study(studies, "one")
    assert [row.name for row in studies.studies()] == ["two"]
    assert optuna_names(studies) == ["two"]
    assert contents_of(studies, "two") == two
    hashes = [architecture.hash for architecture in architectures]
    with studies.engine.connect() as connection:
        left = set(connection.scalars(sa.text("SELECT hash FROM nas_architectures")))
    assert left == {hashes[1], hashes[3]}
    assert studies.scores("only one", hashes) == {}
    assert studies.scores("both", hashes) == {hashes[1]: {"zico": (3.0, 0.1)}}


def contents_of(store: Store, name: str) -> object:
    study = store.study(name)
    with optuna_storage(store) as storage:
        trials = optuna.load_study(study_name=name, storage=storage).get_trials()
    rows = [(row.id, row.key, row.architecture.hash, row.nll) for row in study.evaluations()]
    return rows, [vars(epoch)["nll"] for curve in study.curves().values() for epoch in curve], trials


def test_after_the_last_study_nothing_is_left(studies):
    for name in ("one", "two"):
        delete_study(studies, name)
    rows = {name: rows for name, rows in contents(studies).items() if rows}
    assert set(rows) == {"nas_alembic_version", "alembic_version", "version_info"}


def test_every_table_is_known(store, make_study):
    make_study(store)
    assert set(sa.inspect(store.engine).get_table_names()) == {table.name for table in all_tables()}


def test_a_deleted_name_is_free(studies, make_study, add_evaluation, architectures):
    delete_study(studies, "one")
    again = make_study(studies, "one")
    add_evaluation(again, 0, architectures[0])
    assert [row.number for row in again.evaluations()] == [0]


def test_no_study_no_deletion(studies):
    before = contents(studies)
    with pytest.raises(StudyError, match="there is no study 'three'"):
        delete_study(studies, "three")
    assert contents(studies) == before

"""The check of a database: an intact one passes, and every kind of damage is reported."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from results.database.checks import MIRRORED, check_database
from results.database.migrations.env_names import VERSION_TABLE
from results.database.schema import Role, State
from results.store.records import Ending, EpochRecord
from results.store.store import Store
from search_space.errors import StorageError


@pytest.fixture
def whole(store, make_study, new_evaluation, add_evaluation, architectures, space):
    """A store with a trial in every state, a finalist, and a test."""
    study = make_study(store)
    axes = {axis.name: axis for axis in space.axes}
    for number, state in enumerate(State):
        new = new_evaluation(number, architectures[number])
        study.driver.start(new, axes)
        if state in (State.QUEUED, State.PAUSED):
            study.driver.set_pending(new.key, state)
        elif state != State.RUNNING:
            study.driver.add_epochs(new.key, [EpochRecord(1, 0.5, 0.5, 0.75, 0.1)], {})
            study.driver.finish(new.key, Ending(state, 1.0, values=[0.5] if state == State.COMPLETE else None))
    add_evaluation(study, 3, architectures[3], role=Role.FINALIST, key="finalist-0003-seed-1")
    study.driver.put_finalist(3, architectures[3], 1)
    store.put_scores("context", {architectures[0]: {"zico": (1.0, 0.1)}})
    return store


def damage(store: Store, statement: str) -> None:
    """Change a database behind the program's back, without its foreign keys."""
    engine = sa.create_engine(store.engine.url)  # SQLite checks them only where it is told to
    with engine.begin() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()


def test_every_state_has_its_mirror():
    assert set(MIRRORED) == set(State)


def test_a_whole_database_has_no_problems(whole):
    health = check_database(whole.url)
    assert health.problems == []
    expected = {"nas_studies": 1, "nas_evaluations": 7, "nas_finalists": 1, "trials": 6, "nas_scores": 1}
    assert {name: health.rows[name] for name in expected} == expected
    assert set(health.rows) == set(sa.inspect(whole.engine).get_table_names())


def test_a_database_without_studies_is_whole(store):
    assert check_database(store.url).problems == []


def test_a_check_writes_nothing(whole):
    heard = []
    before = [row.state for row in whole.study("study").evaluations()]
    check_database(whole.url, heard.append)
    assert {"integrity", "schema", "nas_evaluations", "trials", "architectures"} <= set(heard)
    assert [row.state for row in whole.study("study").evaluations()] == before


@pytest.mark.parametrize(
    ("statement", "table", "message"),
    [
        (
            "UPDATE trials SET state = 'RUNNING' WHERE number = 3",
            "trials",
            "trial-0003 of the study 'study' is COMPLETE, which is COMPLETE there; Optuna's tables say RUNNING",
        ),
        (
            "UPDATE nas_evaluations SET state = 'WEIRD' WHERE key = 'trial-0001'",
            "trials",
            "trial-0001 of the study 'study' is WEIRD, which is no state; Optuna's tables say RUNNING",
        ),
        (
            "UPDATE trials SET number = 9 WHERE number = 2",
            "trials",
            "trial-0002 of the study 'study' has the number 2 in ours, 9 in Optuna's tables",
        ),
        (
            "UPDATE nas_evaluations SET optuna_trial_id = 99 WHERE key = 'trial-0004'",
            "trials",
            "trial-0004 of the study 'study' is missing in Optuna's tables (trial_id 99)",
        ),
        (
            "UPDATE nas_evaluations SET role = 'proxies' WHERE key = 'trial-0005'",
            "nas_evaluations",
            "it lacks what Optuna's tables have of the study 'study': trial 5",
        ),
        (
            "UPDATE studies SET study_name = 'other'",
            "studies",
            "the study 'study' is 'other' in Optuna's tables (study_id 1)",
        ),
        (
            "UPDATE nas_studies SET optuna_study_id = 7",
            "studies",
            "the study 'study' is missing in Optuna's tables (study_id 7)",
        ),
        (
            "UPDATE nas_architectures SET yaml = 'patch: 2' WHERE id = 2",
            "nas_architectures",
            "the YAML of id 2 is not an architecture: ",
        ),
        (
            "UPDATE nas_architectures SET yaml = (SELECT yaml FROM nas_architectures WHERE id = 1) WHERE id = 2",
            "nas_architectures",
            "the YAML of id 2 gives the hash ",
        ),
    ],
)
def test_damage_is_reported_in_one_line(whole, statement, table, message):
    damage(whole, statement)
    problems = check_database(whole.url).problems
    assert any(name == table and text.startswith(message) for name, text in problems), problems
    assert all("\n" not in text for _, text in problems)


def test_dangling_references_are_reported(sqlite_store, make_study, add_evaluation, architectures):
    """PostgreSQL does not let it happen."""
    study = make_study(sqlite_store)
    for number in range(7):
        add_evaluation(study, number, architectures[number])
    damage(sqlite_store, "DELETE FROM nas_architectures WHERE id < 7")
    damage(sqlite_store, "DELETE FROM trials WHERE number = 6")
    problems = check_database(sqlite_store.url).problems
    expected = "6 rows refer to what nas_architectures does not have: architecture_id 1, 2, 3, 4, 5 and 1 more"
    assert ("nas_evaluations", expected) in problems
    assert ("trial_values", "1 row refers to what trials does not have: trial_id 7") in problems
    assert ("trials", "trial-0006 of the study 'study' is missing in Optuna's tables (trial_id 7)") in problems


def test_an_older_schema_is_reported_and_nothing_else_is_checked(whole):
    damage(whole, f"UPDATE {VERSION_TABLE} SET version_num = '0001_initial'")
    health = check_database(whole.url)
    ((table, problem),) = health.problems
    assert (table, health.version) == ("", "0001_initial")
    assert problem.startswith("the schema is that of 0001_initial, not of ")


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("DROP TABLE nas_epochs", ("nas_epochs", "the table is missing")),
        ("ALTER TABLE nas_evaluations DROP COLUMN message", ("nas_evaluations", "it lacks column message")),
    ],
)
def test_missing_parts_of_the_schema_are_reported(whole, statement, expected):
    damage(whole, statement)
    assert check_database(whole.url).problems == [expected]


def test_a_file_with_a_torn_page_is_reported(sqlite_store, make_study, add_evaluation, architectures):
    study = make_study(sqlite_store)
    for number in range(10):
        add_evaluation(study, number, architectures[number])
    with sqlite_store.engine.connect() as connection:
        size = connection.exec_driver_sql("PRAGMA page_size").scalar()
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'nas_architectures'"
        page = connection.exec_driver_sql(query).scalar()
    sqlite_store.close()
    path = Path(sa.make_url(sqlite_store.url).database)
    whole = bytearray(path.read_bytes())
    whole[(page - 1) * size : page * size] = bytes(size)
    path.write_bytes(whole)
    problems = check_database(sqlite_store.url).problems
    assert problems
    assert all(text.startswith("SQLite says: ") for _, text in problems)


def test_a_foreign_database_is_refused(tmp_path):
    with pytest.raises(StorageError, match="there is no database at"):
        check_database(f"sqlite:///{tmp_path}/missing.db")
    (tmp_path / "notes.db").write_text("These are notes, not a database.\n" * 100)
    with pytest.raises(StorageError, match="file is not a database"):
        check_database(f"sqlite:///{tmp_path}/notes.db")
    (tmp_path / "empty.db").touch()
    with pytest.raises(StorageError, match="holds no searches"):
        check_database(f"sqlite:///{tmp_path}/empty.db")

"""Copying between databases: every value as it is stored, verified, and all of it or nothing."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from results.database.copying import BATCH, copy_database
from results.database.migrations.env_names import VERSION_TABLE
from results.database.schema import Base
from results.store.store import EpochRecord, State, Store
from search_space.errors import StorageError

KINDS = ("sqlite", "postgresql")


@pytest.fixture
def make_url(request, tmp_path):
    """URLs of new, empty databases of a kind; a SQLite file does not exist yet."""

    def make(kind: str, name: str = "copy.db") -> str:
        return f"sqlite:///{tmp_path / name}" if kind == "sqlite" else request.getfixturevalue("postgres")()

    return make


@pytest.fixture
def fill(make_study, new_evaluation, add_evaluation, architectures, space):
    """Put two studies into a store, with what is hard to keep: long fractions, infinity, NaN, texts, JSON."""

    def make(store: Store) -> Store:
        study = make_study(store, "study", ("nll", "latency"), {"nll": 2.302585092994046, "latency": 1e-300})
        for number, architecture in enumerate(architectures[:2]):
            add_evaluation(study, number, architecture, nll=math.inf if number == 1 else 0.1 + 0.2, latency_ms=1 / 3)
        study.driver.start(new_evaluation(2, architectures[2]), {axis.name: axis for axis in space.axes})
        quality = {1: math.inf, 2: -math.inf, 3: math.nan, 4: 5e-324}
        epochs = [EpochRecord(epoch, 1e308, -0.0, 0.1, 2**-40, 1 / 3, None, 2**-60) for epoch in quality]
        study.driver.add_epochs("trial-0002", epochs, quality)
        study.driver.put_finalist(0, architectures[0], 2, rank=1, mean_nll=0.1, sd_nll=None, test_macro_f1=1 / 7)
        store.put_scores("Übung", {architectures[5]: {"zico": (None, 0.5), "Zen": (1e-17, 0.5), "a_b": (1.0, 0.5)}})
        study.update_config({"budget": 8, "text": "größer als 'x' \\ \"y\"", "none": None, "float": 1e22})
        make_study(store, "other")
        for stop in store.at_close:
            stop()  # no driver renews its lease, however long the copies take
        return store

    return make


@pytest.fixture
def original(store, fill):
    """The two studies, on SQLite and on PostgreSQL."""
    return fill(store)


@pytest.fixture
def in_a_file(sqlite_store, fill):
    """The two studies, on SQLite."""
    return fill(sqlite_store)


def raw(url: str) -> dict[str, list[tuple[object, ...]]]:
    """All of a SQLite file as it is stored, by Python's own driver."""
    with closing(sqlite3.connect(str(sa.make_url(url).database))) as connection, connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {name: sorted(connection.execute(f"SELECT * FROM {name}").fetchall(), key=repr) for name in names}
    connection.close()
    return found


def seen(url: str) -> tuple[str, str]:
    """A study as the program and as Optuna read it."""
    store = Store(url, create=False)
    study = store.study("study")
    assert study is not None
    rows = [
        {name: value for name, value in vars(row).items() if name not in ("_sa_instance_state", "architecture_row")}
        for row in (*study.evaluations(), *study.finalists(), study.row)
    ]
    store.close()
    storage = optuna.storages.RDBStorage(url)
    trials = optuna.load_study(study_name="study", storage=storage).get_trials()
    storage.remove_session()
    storage.engine.dispose()
    return repr(rows), repr(trials)


def tables(url: str) -> list[str]:
    engine = sa.create_engine(url)
    names = sa.inspect(engine).get_table_names()
    engine.dispose()
    return names


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_is_read_as_the_original(original, make_url, kind):
    target = make_url(kind)
    before = seen(original.url)
    copied = copy_database(original.url, target)
    assert copied.nans == 0
    assert (copied.rows["nas_studies"], copied.rows["nas_evaluations"], copied.rows["trials"]) == (2, 3, 3)
    assert set(copied.rows) == set(tables(original.url)) == set(tables(target))
    assert seen(original.url) == before
    if kind == original.engine.dialect.name:  # times are read as each database gives them
        assert seen(target) == before
    assert seen(target)[1] == before[1]


def test_there_and_back_again_nothing_has_changed(original, make_url):
    """From SQLite over PostgreSQL, and the other way round to SQLite once more, compared byte by byte."""
    first, second, third = (make_url(kind, f"{kind}.db") for kind in ("postgresql", "sqlite", "postgresql"))
    copy_database(original.url, first)
    copy_database(first, second)
    copy_database(second, third)
    last = make_url("sqlite", "last.db")
    copy_database(third, last)
    expected = raw(original.url) if original.engine.dialect.name == "sqlite" else raw(second)
    assert raw(second) == raw(last) == expected
    assert any(math.inf in row for row in expected["nas_evaluations"])


@pytest.mark.parametrize("kind", KINDS)
def test_new_rows_are_numbered_after_the_copied_ones(
    in_a_file, make_url, make_study, add_evaluation, architectures, kind
):
    target = make_url(kind)
    copy_database(in_a_file.url, target)
    copy = Store(target)
    row = make_study(copy, "newest")
    add_evaluation(row, 0, architectures[9])
    (evaluation,) = row.evaluations()
    assert (row.row.id, row.row.optuna_study_id, evaluation.id, evaluation.optuna_trial_id) == (3, 3, 4, 4)
    copy.close()


def test_the_copy_has_exactly_the_schema(in_a_file, make_url):
    target = make_url("postgresql")
    copy_database(in_a_file.url, target)
    engine = sa.create_engine(target)
    options = {
        "compare_type": True,
        "include_name": lambda name, kind, _: kind != "table" or (name or "").startswith("nas_"),
        "version_table": VERSION_TABLE,
    }
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata) == []
    engine.dispose()


@pytest.mark.parametrize("kind", KINDS)
def test_more_rows_than_fit_into_a_batch(
    sqlite_store, make_url, make_study, new_evaluation, architectures, space, kind
):
    study, count = make_study(sqlite_store), 2 * BATCH + 1
    study.driver.start(new_evaluation(0, architectures[0]), {axis.name: axis for axis in space.axes})
    study.driver.add_epochs("trial-0000", [EpochRecord(n, 1.0, 1 / n, 0.5, 0.1) for n in range(1, count + 1)], {})
    heard = []
    target = make_url(kind)
    copied = copy_database(sqlite_store.url, target, lambda *what: heard.append(what))
    assert copied.rows["nas_epochs"] == count
    for what in ("copied", "compared"):
        steps = [(done, total) for told, name, done, total in heard if (told, name) == (what, "nas_epochs")]
        assert steps == [(BATCH, count), (2 * BATCH, count), (count, count)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_database_without_studies(sqlite_store, make_url, kind):
    target = make_url(kind)
    copied = copy_database(sqlite_store.url, target)
    assert sum(copied.rows.values()) == 1  # the version
    copy = Store(target, create=False)
    assert copy.studies() == []
    copy.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_running_search_is_copied_as_of_one_moment(original, make_url, make_study, kind):
    def add_a_study(*_):
        if len(original.studies()) == 2:
            make_study(original, "meanwhile")

    target = make_url(kind)
    copied = copy_database(original.url, target, add_a_study)
    assert (copied.rows["nas_studies"], copied.rows["studies"]) == (2, 2)
    assert len(original.studies()) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_target_that_is_not_empty_is_left_alone(in_a_file, make_url, kind):
    target = make_url(kind)
    engine = sa.create_engine(target)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE theirs (id INTEGER)"))
    with pytest.raises(StorageError, match=r"is not empty: it holds 1 tables, such as theirs; allowed: an empty"):
        copy_database(in_a_file.url, target)
    engine.dispose()
    assert tables(target) == ["theirs"]


def test_a_database_is_not_copied_onto_itself(original):
    before = seen(original.url)
    with pytest.raises(StorageError, match="is not empty"):
        copy_database(original.url, original.url)
    assert seen(original.url) == before


def test_an_empty_file_is_an_empty_database(in_a_file, make_url, tmp_path):
    (tmp_path / "copy.db").touch()
    copy_database(in_a_file.url, make_url("sqlite"))
    assert "nas_studies" in tables(make_url("sqlite"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", [("copied", "nas_epochs"), ("compared", "trial_params")])
def test_an_interrupted_copy_leaves_nothing(in_a_file, make_url, tmp_path, kind, at):
    def interrupt(*what):
        if what[:2] == at:
            raise KeyboardInterrupt

    target = make_url(kind)
    before = files(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        copy_database(in_a_file.url, target, interrupt)
    assert files(tmp_path) == before
    if kind == "postgresql":
        assert tables(target) == []
    copy_database(in_a_file.url, target)  # nothing is in the way of another attempt


def files(folder: Path) -> list[str]:
    """The files in a folder but for those that SQLite keeps while a database is open."""
    return sorted(path.name for path in folder.iterdir() if path.suffix not in (".db-wal", ".db-shm"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_that_arrives_changed_is_detected(in_a_file, make_url, tmp_path, kind):
    """The driver is handed another value than was read, once."""

    def alter(connection, cursor, statement, parameters, context, executemany):
        if statement.startswith("INSERT INTO nas_finalists"):
            changed = [
                {name: _next(value) for name, value in row.items()} if isinstance(row, dict) else (*map(_next, row),)
                for row in (parameters if executemany else [parameters])
            ]
            parameters = changed if executemany else changed[0]
        return statement, parameters

    target = make_url(kind)
    before = files(tmp_path)
    sa.event.listen(sa.Engine, "before_cursor_execute", alter, retval=True)
    try:
        with pytest.raises(
            StorageError, match=r"nas_finalists is not equal to the original: mean_nll of {'id': 1} is 0.1"
        ):
            copy_database(in_a_file.url, target)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", alter)
    assert files(tmp_path) == before
    if kind == "postgresql":
        assert tables(target) == []


def _next(value: object) -> object:
    """The number after 0.1; whatever is not 0.1 as it is."""
    return math.nextafter(0.1, 1) if value == 0.1 else value


def test_what_postgresql_cannot_hold_is_refused(sqlite_store, make_study, add_evaluation, architectures, postgres):
    study, target = make_study(sqlite_store), postgres()
    add_evaluation(study, 0, architectures[0])
    with sqlite_store.engine.begin() as connection:
        connection.execute(sa.text("UPDATE nas_evaluations SET device = :long"), {"long": "x" * 201})
    with pytest.raises(StorageError, match="value too long"):
        copy_database(sqlite_store.url, target)
    assert tables(target) == []


def test_nan_is_null_on_sqlite_and_stays_nan_on_postgresql(
    postgres, make_url, make_study, add_evaluation, architectures
):
    store = Store(postgres())
    study = make_study(store)
    add_evaluation(study, 0, architectures[0], state=State.FAILED, cause="diverged")
    with store.engine.begin() as connection:
        connection.execute(sa.text("UPDATE nas_evaluations SET nll = 'NaN'"))
    other, file = make_url("postgresql"), make_url("sqlite")
    assert copy_database(store.url, other).nans == 0
    assert copy_database(store.url, file).nans == 1
    store.close()
    for url, expected in ((other, "nan"), (file, "None")):
        copy = Store(url)
        assert str(copy.study("study").evaluations()[0].nll) == expected
        copy.close()


def test_times_are_those_of_utc_whatever_the_zone_of_the_session(sqlite_store, make_study, postgres, make_url):
    make_study(sqlite_store)
    created = sqlite_store.study("study").row.created_at
    tokyo = sa.make_url(postgres()).update_query_dict({"options": "-c timezone=Asia/Tokyo"})
    between = tokyo.render_as_string(hide_password=False)
    copy_database(sqlite_store.url, between)
    copy_database(between, make_url("sqlite"))
    back = Store(make_url("sqlite"))
    assert back.study("study").row.created_at == created
    back.close()


@pytest.mark.parametrize("side", ["source", "target"])
def test_an_unreachable_database_is_named_without_its_password(in_a_file, make_url, side):
    bad = "postgresql+psycopg://me:geheim@127.0.0.1:1/db"
    pair = (bad, make_url("sqlite")) if side == "source" else (in_a_file.url, bad)
    with pytest.raises(StorageError, match=r"postgresql\+psycopg://me:\*\*\*@127.0.0.1:1/db cannot be used") as caught:
        copy_database(*pair)
    assert "geheim" not in str(caught.value)
    assert not Path(str(sa.make_url(make_url("sqlite")).database)).exists()


def test_an_older_schema_must_be_upgraded_first(in_a_file, make_url):
    with in_a_file.engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '0001_initial'"))
    with pytest.raises(StorageError, match=r"0001_initial, not of .*nas db upgrade --storage"):
        copy_database(in_a_file.url, make_url("sqlite"))


def test_a_source_that_is_none(make_url, tmp_path):
    with pytest.raises(StorageError, match=r"there is no database at .*missing\.db"):
        copy_database(make_url("sqlite", "missing.db"), make_url("sqlite"))
    (tmp_path / "empty.db").touch()
    with pytest.raises(StorageError, match="holds no searches"):
        copy_database(make_url("sqlite", "empty.db"), make_url("sqlite"))
    assert files(tmp_path) == ["empty.db"]


def test_a_log_without_its_database_is_in_the_way(in_a_file, make_url, tmp_path):
    (tmp_path / "copy.db-wal").write_text("changes of a file that is gone")
    with pytest.raises(StorageError, match=r"copy\.db-wal is left over from a deleted database"):
        copy_database(in_a_file.url, make_url("sqlite"))


def test_a_folder_that_is_missing(in_a_file, make_url):
    with pytest.raises(StorageError, match="cannot be written: No such file"):
        copy_database(in_a_file.url, make_url("sqlite", "missing/copy.db"))

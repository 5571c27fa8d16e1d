"""Factories for studies made by hand."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

import results
from results.store.store import Ending, EpochRecord, NewEvaluation, Role, State, Store, StudyStore
from search_space import Architecture
from search_space.space import SearchSpace

IDENTITY: dict[str, Any] = {
    "space": {"name": "small"},
    "data": {"name": "digits", "split_seed": 0, "image_size": None},
    "objective": ["nll"],
    "max_params": 50_000,
    "max_macs": None,
    "max_latency_ms": None,
    "recipe": {"epochs": 2},
    "seed": 0,
}


def latency_record(device: str, median_ms: float | None) -> dict[str, Any]:
    """A latency as stored in the database."""
    figures = dict.fromkeys(("median_ms", "lower_ms", "upper_ms"), median_ms)
    settings = {"threads": 1, "batch_size": 1, "precision": "fp32", "warm_up": 1, "repeats": 1}
    return {"device": device, **settings, **figures}


@pytest.fixture
def architectures(space: SearchSpace) -> list[Architecture]:
    """Ten distinct architectures, by growing number of parameters, no two of them alike."""
    rng, found = random.Random(0), dict[int, Architecture]()
    while len(found) < 10:
        architecture = space.sample(rng, space.limits)
        found.setdefault(architecture.params, architecture)
    return [found[params] for params in sorted(found)]


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """An empty store, on SQLite and on PostgreSQL."""
    opened = Store(database_url)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    """An empty store on SQLite, for tests of what is read from it."""
    opened = Store(f"sqlite:///{tmp_path / 'nas.db'}")
    yield opened
    opened.close()


@pytest.fixture
def make_study() -> Callable[..., StudyStore]:
    """A study without trials, with this process as its `driver`; keywords change its identity."""

    def make(
        store: Store,
        name: str = "study",
        objectives: tuple[str, ...] = ("nll",),
        reference: dict[str, float] | None = None,
        **identity: Any,
    ) -> StudyStore:
        study = store.create_study(
            name,
            identity={**IDENTITY, **identity},
            config={"budget": 8},
            objectives={name: "maximize" if name == "accuracy" else "minimize" for name in objectives},
            metric_names=list(objectives),
            reference=reference,
        )
        study.driver = study.drive()
        study.driver.changes()
        return study

    return make


@pytest.fixture
def new_evaluation(space: SearchSpace) -> Callable[..., NewEvaluation]:
    """An evaluation that is about to be started; keywords change it."""

    def make(number: int, architecture: Architecture, **changes: Any) -> NewEvaluation:
        settings = {
            "key": f"trial-{number:04d}",
            "role": Role.TRIAL,
            "origin": "tpe",
            "choices": space.encode(architecture),
            "seed": 0,
            "epochs_planned": 2,
            **changes,
        }
        return NewEvaluation(number=number, architecture=architecture, **settings)

    return make


@pytest.fixture
def add_evaluation(space: SearchSpace, new_evaluation: Callable[..., NewEvaluation]) -> Callable[..., None]:
    """Put an evaluation into a study that trained for `epochs` epochs and ended."""

    def add(
        study: StudyStore,
        number: int,
        architecture: Architecture,
        nll: float = 1.0,
        accuracy: float = 0.5,
        metrics: tuple[float | None, float | None, float | None] = (None, None, None),
        state: State = State.COMPLETE,
        seconds: float = 1.0,
        epochs: int = 2,
        retried: bool = False,
        cause: str | None = None,
        latency_ms: float | None = None,
        latency_on: str | None = None,
        seconds_per_epoch: float = 0.1,
        **changes: Any,
    ) -> None:
        new = new_evaluation(number, architecture, **changes)
        study.driver.start(new, {axis.name: axis for axis in space.axes})
        if retried:
            study.driver.set_pending(new.key, State.QUEUED, died=True)
            study.driver.set_pending(new.key, State.RUNNING)
        if epochs:
            curve = [EpochRecord(n, nll, nll, accuracy, seconds_per_epoch, *metrics) for n in range(1, epochs + 1)]
            study.driver.add_epochs(new.key, curve, {})
        values = [nll] * len(study.row.objectives) if state == State.COMPLETE else None
        latency = None if latency_on is None else latency_record(latency_on, latency_ms)
        study.driver.finish(
            new.key, Ending(state, seconds, cause, latency_ms=latency_ms, latency=latency, values=values)
        )

    return add


@pytest.fixture(scope="session")
def upgrade() -> Callable[[sa.Connection, str], None]:
    """Bring the tables of a database to a version of its time."""

    def make(connection: sa.Connection, revision: str) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(results.__file__).parent / "database" / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    return make


@pytest.fixture
def earlier_version(
    upgrade: Callable[[sa.Connection, str], None],
    make_study: Callable[..., StudyStore],
    add_evaluation: Callable[..., None],
    architectures: list[Architecture],
    tmp_path: Path,
) -> Callable[[str], Path]:
    """A SQLite file of an earlier version with a study of three trials, "old"."""
    newest = tmp_path / "newest" / "nas.db"
    store = Store(f"sqlite:///{newest}")
    study = make_study(store, "old")
    for number, architecture in enumerate(architectures[:3]):
        add_evaluation(study, number, architecture, nll=1.0 + number)
    study.driver.leave()
    store.close()

    def make(revision: str) -> Path:
        path = newest.with_name(f"{revision}.db")
        shutil.copyfile(newest, path)
        with closing(sqlite3.connect(path)) as connection:
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                if name.startswith("nas_"):
                    connection.execute(f"DROP TABLE {name}")
            connection.execute("VACUUM")
        engine = sa.create_engine(f"sqlite:///{path}")
        with engine.begin() as old:
            upgrade(old, revision)
        engine.dispose()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("ATTACH DATABASE ? AS newest", (str(newest),))
            for (name,) in connection.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'").fetchall():
                if name.startswith("nas_") and not name.endswith("version"):
                    columns = ", ".join(row[1] for row in connection.execute(f"PRAGMA main.table_info({name})"))
                    connection.execute(f"INSERT INTO main.{name} ({columns}) SELECT {columns} FROM newest.{name}")
            connection.commit()
        return path

    return make

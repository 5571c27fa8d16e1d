"""`nas db`: checking, upgrading and copying on the command line."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa

from nas.study.files import storage_url
from results.database.connection import HEAD
from results.database.migrations.env_names import VERSION_TABLE
from results.store.store import Role, Store


def execute(url: str, statement: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()


@pytest.fixture
def url(run, settings, monkeypatch):
    """The SQLite database of a finished study."""
    monkeypatch.delenv("NAS_STORAGE", raising=False)
    run(budget=4)
    return storage_url(None, settings["out"])


def test_without_a_command_it_shows_help(nas):
    ran = nas("db")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("Usage: nas db ")


def test_an_unknown_command(nas):
    ran = nas("db", "chek")
    assert (ran.code, ran.out) == (2, "")
    assert "there is no command 'chek'; allowed: upgrade, check, copy; did you mean 'check'?" in ran.err


def test_a_whole_database(nas, url):
    ran = nas("db", "check", "--storage", url)
    assert (ran.code, ran.err) == (0, "")
    lines = [line.split() for line in ran.out.splitlines()]
    assert ["nas_studies", "1", "ok"] in lines
    assert ["trials", "4", "ok"] in lines
    assert {line[-1] for line in lines} == {"ok"}
    ran = nas("db", "check", "--storage", url, "--json")
    plain = json.loads(ran.out)
    assert (ran.code, plain["ok"], plain["problems"], plain["version"]) == (0, True, [], HEAD)
    assert plain["rows"] == {name: int(rows.replace(",", "")) for name, rows, _ in lines}


def test_a_damaged_database(nas, url):
    execute(url, "UPDATE trials SET number = 9 WHERE number = 3")
    ran = nas("db", "check", "--storage", url)
    assert (ran.code, ran.err) == (1, "")
    assert ["trials", "4", "damaged"] in [line.split() for line in ran.out.splitlines()]
    problem = "trial-0003 of the study 'study' has the number 3 in ours, 9 in Optuna's tables"
    assert ran.out.splitlines()[-1] == f"trials: {problem}"
    ran = nas("db", "check", "--storage", url, "--json")
    plain = json.loads(ran.out)
    assert (ran.code, plain["ok"], plain["problems"]) == (1, False, [{"table": "trials", "problem": problem}])


def test_upgrading(nas, url):
    ran = nas("db", "upgrade", "--storage", url)
    assert (ran.code, ran.out) == (0, f"The database {url} is up to date: {HEAD}\n")
    execute(url, f"UPDATE {VERSION_TABLE} SET version_num = '9999_future'")
    ran = nas("db", "upgrade", "--storage", url)
    assert (ran.code, ran.out) == (2, "")
    assert "newer version" in ran.err


def test_upgrading_from_the_first_version(nas, tmp_path):
    """Its tables are made by the migration of that time."""
    from pathlib import Path

    from alembic import command
    from alembic.config import Config

    import results

    old = f"sqlite:///{tmp_path / 'old.db'}"
    engine = sa.create_engine(old)
    config = Config()
    config.set_main_option("script_location", str(Path(results.__file__).parent / "database" / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001_initial")
    engine.dispose()
    ran = nas("db", "check", "--storage", old)
    assert (ran.code, ran.err) == (1, "")
    assert "the schema is that of 0001_initial" in ran.out
    ran = nas("db", "upgrade", "--storage", old)
    assert (ran.code, ran.out) == (0, f"The database {old} was brought from 0001_initial to {HEAD}\n")
    assert nas("db", "check", "--storage", old).code == 0


def test_a_search_continues_where_it_was_copied_to(nas, url, run, recording, postgres, tmp_path):
    """From SQLite to PostgreSQL, there with a larger budget, and back, there with a larger one still."""
    server, file, done = postgres(), f"sqlite:///{tmp_path / 'back.db'}", 4
    for source, target in ((url, server), (server, file)):
        ran = nas("db", "copy", source, target)
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.startswith("Copied ")
        assert "all were read back and compared" in ran.out
        evaluator = recording()
        report = run(evaluator, budget=done + 2, storage=target)
        assert report.evaluated == done + 2
        begun = {key for key in evaluator.keys if key.startswith("trial")}
        assert begun == {f"trial-{number:04d}" for number in (done, done + 1)}
        assert nas("db", "check", "--storage", target).code == 0
        done += 2
    store = Store(url)
    assert len(store.study("study").evaluations(Role.TRIAL)) == 4  # the original has not changed
    store.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "--storage", "sqlite:///missing.db"], "there is no database at missing.db"),
        (["upgrade", "--storage", "sqlite:///missing.db"], "there is no database at missing.db"),
        (["check", "--storage", "mysql://me:geheim@host/db"], "not supported; allowed: sqlite"),
        (["copy", "sqlite:///missing.db", "sqlite:///new.db"], "there is no database at missing.db"),
        (["copy", "nas.db", "sqlite:///new.db"], "the storage <not a database URL> is not supported; allowed: sqlite"),
        (["copy", "sqlite:///missing.db"], "Missing argument 'TO'"),
        (["copy", "postgresql+psycopg://me:geheim@127.0.0.1:1/db", "sqlite:///new.db"], "cannot be used"),
    ],
)
def test_a_mistake_is_answered_in_one_line(nas, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    ran = nas("db", *arguments)
    assert (ran.code, ran.out) == (2, "")
    *warnings, line = ran.err.splitlines()
    assert all(warning.startswith("nas: warning: a password on the command line") for warning in warnings)
    assert message in line
    assert "geheim" not in ran.err
    assert list(tmp_path.iterdir()) == []


def test_a_target_that_is_taken(nas, url):
    ran = nas("db", "copy", url, url)
    assert (ran.code, ran.out) == (2, "")
    assert "is not empty: it holds " in ran.err

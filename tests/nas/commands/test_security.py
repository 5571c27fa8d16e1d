"""What must not leak: passwords and private names; and what must not enter: code, and names that lead elsewhere."""

from __future__ import annotations

import ast
import logging
import pickle
import shutil
import socket
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import pytest
import sqlalchemy as sa

import nas as nas_package
from nas.commands.search import command_line
from nas.config import SearchConfig
from nas.study.files import RunFolder
from results.dashboard import Dashboard
from results.database.connection import open_engine, shown
from results.database.names import file_name
from results.store.store import Store
from search_space.errors import ConfigError, StorageError

SECRET = "geheim-7f3a"
ROOT = Path(nas_package.__file__).parents[1]


def every_byte(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """The content and the name of every file."""
    for path in folder.rglob("*"):
        yield path, path.name.encode() + (path.read_bytes() if path.is_file() else b"")


@pytest.fixture
def with_password(postgres: Callable[[], str]) -> str:
    """URL of a PostgreSQL database, with a password that the server does not ask for."""
    return sa.make_url(postgres()).set(password=SECRET).render_as_string(hide_password=False)


# Passwords.


def test_a_search_leaves_no_password_anywhere(settings, with_password, tmp_path, recording, run, caplog):
    caplog.set_level(logging.DEBUG)
    evaluator = recording()
    run(evaluator, storage=with_password, budget=2, finalists=0)
    assert SECRET.encode() not in pickle.dumps([*evaluator.jobs])  # files for workers, named after the jobs' keys
    engine = open_engine(with_password)
    names = sa.inspect(engine).get_table_names()
    with engine.connect() as connection:
        rows = [str(row) for name in names for row in connection.execute(sa.text(f'SELECT * FROM "{name}"'))]
    engine.dispose()
    assert len(rows) > 10
    assert not any(SECRET in row for row in rows)
    assert not any(SECRET.encode() in content for _, content in every_byte(tmp_path))
    assert SECRET not in caplog.text
    words = ["results", "--storage", with_password, "--out", settings["out"]]
    ran = subprocess.run([sys.executable, "-m", "nas", *words], capture_output=True, text=True, check=True)
    assert SECRET not in ran.stdout + ran.stderr
    assert "nas: warning: a password on the command line is visible to all users" in ran.stderr


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("mysql://me:{secret}@host/db", "not supported; allowed: sqlite"),
        ("postgresql+psycopg://me:{secret}@127.0.0.1:{port}/db", "cannot be used"),
        ("postgresql+psycopg://me:left@{secret}@127.0.0.1:{port}/db", "allowed: '@' in a password written as %40"),
        ("postgresql://me@127.0.0.1:{port}/db?password={secret}", "cannot be used"),
    ],
)
def test_an_error_does_not_show_the_password(nas, tmp_path, storage, message):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # taken, but nothing listens
        url = storage.format(secret=SECRET, port=closed.getsockname()[1])
        ran = nas("search", "--storage", url, "--out", tmp_path / "runs")
    assert ran.code == 2
    warning, line = ran.err.splitlines()
    assert warning.startswith("nas: warning: a password on the command line")
    assert message in line
    assert SECRET not in ran.out + ran.err
    assert list(tmp_path.iterdir()) == []


def test_a_traceback_does_not_show_the_password(with_password):
    """Not even of the errors that were the cause of ours."""
    shown_chains = []
    with pytest.raises(StorageError) as caught:
        open_engine(sa.make_url(with_password).set(database="missing").render_as_string(hide_password=False))
    shown_chains.append(caught.value)
    store = Store(with_password)
    with pytest.raises(StorageError) as caught, store.session() as session:
        session.execute(sa.text("SELECT * FROM nowhere"))
    store.close()
    shown_chains.append(caught.value)
    for error in shown_chains:
        assert SECRET not in "".join(traceback.format_exception(error))
        assert SECRET not in repr(error.__context__)


def test_settings_do_not_show_the_password(tmp_path):
    url = f"postgresql://me:{SECRET}@host/db"
    assert SECRET not in repr(SearchConfig(storage=url))
    file = tmp_path / "search.yaml"
    file.write_text(f"storage: [{url!r}]\n")
    with pytest.raises(ConfigError, match="--storage is not usable") as caught:
        SearchConfig().with_file(file)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("words", [["--storage", "{url}"], ["--storage={url}"]])
def test_the_command_to_continue_does_not_show_the_password(monkeypatch, words):
    url = f"postgresql://me:{SECRET}@host/db"
    monkeypatch.setattr(sys, "argv", ["nas", "search", *(word.format(url=url) for word in words)])
    assert command_line(SearchConfig(storage=url)).replace("'", "").endswith("postgresql://me:***@host/db")


def test_a_password_that_holds_an_at_sign_is_hidden_whole():
    assert SECRET not in shown(f"postgresql://me:left@{SECRET}@host/db")
    assert SECRET not in shown(f"postgresql://me/left:{SECRET}@host/db")
    assert shown("sqlite:///me@home.db").startswith("sqlite:///me")  # a file may have one in its name


def test_the_password_may_be_given_elsewhere(nas, postgres, monkeypatch, tmp_path):
    """In PGPASSWORD or ~/.pgpass; asked for by a server that means it. NAS_STORAGE spares the flag."""
    url = sa.make_url(postgres())
    guarded = sa.URL.create(url.drivername, "guarded", None, url.host, url.port, url.database, url.query)
    admin = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE ROLE guarded LOGIN PASSWORD '{SECRET}'"))
        connection.execute(sa.text("GRANT ALL ON SCHEMA public TO guarded"))
        rules = Path(connection.scalar(sa.text("SHOW hba_file")))
        rules.write_text("local all guarded scram-sha-256\n" + rules.read_text())
        connection.execute(sa.text("SELECT pg_reload_conf()"))
    admin.dispose()
    monkeypatch.setenv("NAS_STORAGE", guarded.render_as_string(hide_password=False))
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    refused = nas("results")
    assert refused.code == 2
    assert "password" in refused.err
    monkeypatch.setenv("PGPASSWORD", SECRET)
    assert "holds no searches" in nas("results").err
    monkeypatch.delenv("PGPASSWORD")
    (tmp_path / "pgpass").write_text(f"*:*:*:guarded:{SECRET}\n")
    (tmp_path / "pgpass").chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))
    ran = nas("results")
    assert "holds no searches" in ran.err
    assert "warning" not in ran.err


# Names from a foreign database.


@pytest.mark.parametrize(
    "name", ["../../x", "/etc/x", "..", ".", "", "a/b", "a\\b", "a\0b", "a\nb", "~root", "ä", "x" * 201]
)
def test_a_name_cannot_lead_out_of_the_folder(tmp_path, name):
    with pytest.raises(StorageError, match="cannot be the name of a file; allowed: ") as caught:
        file_name(name, "study")
    assert str(caught.value).isprintable()
    with pytest.raises(StorageError, match="the study"):
        RunFolder(tmp_path, name)
    folder = RunFolder(tmp_path, "study")
    for path in (folder.checkpoint, folder.weights, folder.discard):
        with pytest.raises(StorageError, match="the evaluation"):
            path(name)


@pytest.mark.parametrize(
    "name", ["mlp_family-digits", "trial-0012", "finalist-0012-seed-1", "..-x", ".a+b_1.2", "x" * 200]
)
def test_names_of_ours_are_names_of_files(name):
    assert file_name(name, "study") == name


@pytest.fixture(scope="module")
def exported_from(tmp_path_factory, space_files) -> Path:
    """An output folder with a tell-tale name that holds the study "mine": one trial, really trained."""
    from nas.api import search

    out = tmp_path_factory.mktemp("home-of-tell-tale-9q") / "runs"
    settings = {"space": str(space_files["tiny"]), "strategy": "random", "runner": "inline", "epochs": 1, "budget": 1}
    search(**settings, finalists=1, seeds=1, study="mine", out=str(out))
    return out


@pytest.mark.parametrize(
    ("change", "study"),
    [
        ("UPDATE nas_studies SET name = '../../outside'", "../../outside"),
        ("UPDATE nas_evaluations SET key = '../../../outside-' || id", "mine"),
    ],
)
def test_an_export_reads_nothing_outside_the_folder(nas, exported_from, tmp_path, change, study):
    out = tmp_path / "a" / "b" / "runs"
    shutil.copytree(exported_from, out)
    for weights in (out / "mine" / "weights").iterdir():  # the bait: it would be exported if it were requested by name
        for number in range(9):
            shutil.copyfile(weights, tmp_path / "a" / f"outside-{number}.safetensors")
            shutil.copyfile(weights, out / f"outside-{number}.safetensors")
        (tmp_path / "a" / "outside" / "weights").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(weights, tmp_path / "a" / "outside" / "weights" / weights.name)
    with closing(sqlite3.connect(out / "nas.db")) as connection, connection:
        connection.execute(change)
    connection.close()
    ran = nas("export", study, "--out", out, "--best", "-o", tmp_path / "bundle")
    assert ran.code == 2
    assert "cannot be the name of a file" in ran.err
    assert len(ran.err.splitlines()) == 1
    assert not (tmp_path / "bundle").exists()


def test_a_bundle_does_not_reveal_where_it_was_made(nas, exported_from, tmp_path, monkeypatch):
    for name in ("LOGNAME", "USER", "HOME"):  # of which getpass, Path.home and others make use
        monkeypatch.setenv(name, "/tell-tale-9q")
    ran = nas("export", "mine", "--out", exported_from, "--best", "-o", tmp_path / "bundle")
    assert ran.code == 0, ran.err
    secrets = [b"tell-tale-9q", str(exported_from).encode(), str(tmp_path).encode(), str(ROOT).encode()]
    secrets += [socket.gethostname().encode()] if len(socket.gethostname()) > 4 else []
    contents = dict(every_byte(tmp_path / "bundle"))
    assert len(contents) == 5
    for path, content in contents.items():
        for secret in secrets:
            assert secret not in content, (path, secret)


def test_names_from_a_database_cannot_write_to_the_terminal(nas, exported_from, tmp_path):
    shutil.copytree(exported_from, tmp_path / "runs")
    with closing(sqlite3.connect(tmp_path / "runs" / "nas.db")) as connection, connection:
        connection.execute("UPDATE nas_studies SET name = 'a' || char(27) || '[2J'")
        same = "optuna_study_id, created_at, identity, config, objectives, reference, revision, decisions"
        connection.execute(
            f"INSERT INTO nas_studies (id, name, uid, {same}) "
            f"SELECT 99, 'b', hex(randomblob(16)), {same} FROM nas_studies"
        )
    connection.close()
    ran = nas("results", "--out", tmp_path / "runs")
    assert ran.code == 2
    assert ran.err.rstrip("\n").isprintable()


# The dashboard.


def test_the_dashboard_listens_on_this_machine_unless_told_otherwise(exported_from):
    from nas.commands.dashboard import command

    (host,) = (option for option in command.params if option.name == "host")
    assert isinstance(host, click.Option)
    server = Dashboard(f"sqlite:///{exported_from / 'nas.db'}", host.default, 0)
    assert (server.is_local, server.socket.getsockname()[0]) == (True, "127.0.0.1")
    server.server_close()


@pytest.mark.parametrize(
    ("host", "warned"),
    [("0.0.0.0", True), ("::", True), ("", True), ("localhost", False), ("127.0.0.2", False), ("::1", False)],
)
def test_a_dashboard_for_others_is_warned_about(nas, exported_from, monkeypatch, host, warned):
    monkeypatch.setattr("results.dashboard.Dashboard.serve_forever", lambda server: None)
    ran = nas("dashboard", "--out", exported_from, "--host", host, "--port", 0)
    assert ran.code == 0
    assert ("warning" in ran.err) == warned
    assert ("the dashboard has no password" in ran.err) == warned


def test_the_dashboard_takes_every_url_that_a_search_takes(nas, postgres, run, monkeypatch):
    """SQLAlchemy's own driver for postgresql:// is another one, which is not installed."""
    url = postgres().replace("postgresql+psycopg:", "postgresql:")
    run(storage=url, budget=1, finalists=0)
    served: list[Any] = []

    def serve(server: Dashboard) -> None:
        served.append(server.socket.getsockname()[0])

    monkeypatch.setattr("results.dashboard.Dashboard.serve_forever", serve)
    ran = nas("dashboard", "--storage", url, "--port", 0)
    assert (ran.code, served) == (0, ["127.0.0.1"]), ran.err


# Code.


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_nothing_that_runs_foreign_code_is_called():
    """Tensors by safetensors or weights_only=True, YAML by a safe loader, arrays without pickles, no shell."""
    forbidden = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads"}
    forbidden |= {"yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "joblib.load", "marshal.loads"}
    seen = 0
    for package in ("nas", "results", "runners", "search_space"):
        for path in (ROOT / package).rglob("*.py"):
            for name, call in calls(ast.parse(path.read_text(encoding="utf-8"))):
                seen += 1
                where = f"{path}:{call.lineno}: {name}"
                given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
                assert name not in forbidden, where
                assert not name.startswith("subprocess."), where
                assert name != "torch.load" or given.get("weights_only") == "True", where
                assert name not in ("np.load", "numpy.load") or "allow_pickle" not in given, where
                assert given.get("shell") in (None, "False"), where
    assert seen > 1000

"""URLs of SQLite files: what is made of a path is read as that path, and what was typed means a file or is refused."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa

from results.database.connection import open_engine, plain_engine, shown, sqlite_url
from results.database.copying import copy_database
from results.store.store import Store
from search_space.errors import StorageError

NASTY = [
    "50%20off",
    "100%",
    "%2e%2e",
    "q?x=1",
    "a#b",
    "a b",
    "+a+",
    "a&b;c",
    'it\'s "so"',
    "{SCHEMA_VERSION}",
    "@host:1",
    ":memory:",
    "[::1]",
    "file:x",
    "back\\slash",
    "~root",
    "ü",
    "a\nb",
    "a\x1b[2Jb",
    "\u202eb",
]


@pytest.mark.parametrize("name", NASTY)
def test_a_url_is_read_as_the_path_it_was_made_of(name):
    for path in (f"/somewhere/{name}/nas.db", f"/{name}", f"sub/{name}"):
        url = sqlite_url(path)
        assert url.isprintable()
        assert sa.make_url(url).database == path
        assert url.format(x=1) == url  # Optuna has it as a template
        assert sa.make_url(shown(url)).database == path


def test_everything_is_written_to_the_file_of_the_path(tmp_path):
    """Ours, Optuna's through a URL of its own, and a copy."""
    names = ["50%20off {SCHEMA_VERSION}", "q?x=1#ü\n"]
    first, second = (tmp_path / name / "nas.db" for name in names)
    with closing(Store(sqlite_url(first))) as store:
        store.create_study("s", identity={}, config={}, objectives={"nll": "minimize"}, metric_names=["NLL"])
    second.parent.mkdir()
    copy_database(sqlite_url(first), sqlite_url(second))
    assert optuna.get_all_study_names(sqlite_url(second)) == ["s"]
    assert sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.db")) == [f"{n}/nas.db" for n in names]
    assert sorted(folder.name for folder in tmp_path.iterdir()) == names


def test_what_a_typed_url_means(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for typed, file in (
        ("sqlite:///sub/nas.db", "sub/nas.db"),
        (f"sqlite:///{tmp_path}/nas.db", f"{tmp_path}/nas.db"),
        ("sqlite:///~/nas.db", f"{tmp_path}/home/nas.db"),
        ("sqlite:///50%20off%3F.db", "50 off?.db"),
        ("sqlite:///50%2520off.db", "50%20off.db"),
        ("sqlite+pysqlite:///nas.db", "nas.db"),
    ):
        open_engine(typed).dispose()
        assert Path(file).is_file()
        engine = plain_engine(typed)
        assert engine.url.database == file
        assert sa.make_url(engine.url.render_as_string()).database == file  # as Optuna reads it


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nas.db", r"; did you mean sqlite:///nas\.db\?$"),
        ("runs/50%.db", r"; did you mean sqlite:///runs/50%25\.db\?$"),
        ("sqlite://nas.db", r"names a host, .*; did you mean sqlite:///nas\.db\?$"),
        ("sqlite://runs/nas.db", r"names a host, .*; did you mean sqlite:///runs/nas\.db\?$"),
        ("sqlite:///", "is not supported; allowed: sqlite:///FILE or"),
        ("sqlite:///:memory:", "is not supported; allowed: sqlite:///FILE or"),
        ("sqlite:///sub", r"sqlite:///sub is a folder; allowed: a file, such as sqlite:///sub/nas\.db$"),
        ("sqlite:////", "sqlite://// is a folder"),
        ("sqlite:///nas.db?mode=ro", "has parameters, which mean nothing for a SQLite file; .* being written %3F$"),
        ("sqlite:///file:nas.db?uri=true", "has parameters"),
        ("sqlite:///%FF.db", "a file whose name is not UTF-8"),
        (f"sqlite:///{os.fsdecode(b'n')}\udcff.db", "sqlite:///n%FF.db is a file whose name is not UTF-8"),
        ("hunter2@host", "the storage <not a database URL> is not supported; allowed: [^;]*$"),
        ("sqlite:///nas.db\n", "sqlite:///nas.db%0A holds a control character, such as a line break; allowed:"),
        ("sqlite:///%00.db", "sqlite:///%00.db holds a control character"),
        ("postgresql+psycopg://me:secret@host/d%00b", "holds a control character"),
        ("postgresql+psycopg://me:secret@host\x1b/db", "control character"),
        ("\x1b[2J", "control character"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(url, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    with pytest.raises(StorageError, match=message) as caught:
        open_engine(url)
    assert str(caught.value).isprintable()
    assert "secret" not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["sub"]


def test_an_unknown_home_folder():
    with pytest.raises(StorageError, match=r"the file of --storage is '~nobodyx/nas.db'; there is no user 'nobodyx'"):
        open_engine("sqlite:///~nobodyx/nas.db")


def test_a_path_that_is_too_long(tmp_path):
    with pytest.raises(StorageError, match="too long for a file"):
        open_engine(f"sqlite:///{tmp_path}/{'n' * 300}/nas.db")
    with pytest.raises(StorageError, match="there is no database at"):
        open_engine(f"sqlite:///{tmp_path}/none/nas.db", create=False)

"""Foreign text in a database, a file name or a flag is shown, and never interpreted by a terminal."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from nas.api import search
from nas.commands.output import escape_warnings
from nas.commands.progress import Progress
from nas.commands.tables import table
from runners.synthetic import synthetic

HOSTILE = "..x\x1b[2J\n\u202e\u200b\x9b\x7f" + 100 * "y"
SHOWN = r"..x\x1b[2J\n\u202e\u200b\x9b\x7f" + 100 * "y"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, space_files) -> Path:
    """An output folder with a database that contains hostile text wherever it can contain text."""
    out = tmp_path_factory.mktemp("hostile") / "runs"
    settings = {
        "space": str(space_files["small"]),
        "strategy": "random",
        "runner": "inline",
        "epochs": 2,
        "finalists": 0,
    }
    search(evaluator=synthetic, **settings, budget=3, study="study", out=str(out))
    database = out / "nas.db"
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(database)))
    with engine.begin() as connection:
        texts = sa.text("SELECT identity, config FROM nas_studies")
        identity, config = map(json.loads, connection.execute(texts).one())
        identity["space"]["name"] = identity["data"]["name"] = HOSTILE
        config["data"] = config["space"] = HOSTILE
        changes = {"name": HOSTILE, "identity": json.dumps(identity), "config": json.dumps(config)}
        connection.execute(sa.text("UPDATE nas_studies SET name=:name, identity=:identity, config=:config"), changes)
        connection.execute(sa.text("UPDATE studies SET study_name=:name"), {"name": HOSTILE})
        said = "origin='family:' || :it, cause=:it, message=:it, device=:it"
        connection.execute(sa.text(f"UPDATE nas_evaluations SET {said}"), {"it": HOSTILE})
        connection.execute(sa.text("UPDATE nas_evaluations SET state='FAILED', nll=NULL WHERE number=1"))
    engine.dispose()
    return out


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("studies",), 0),
        (("studies", "--json"), 0),
        (("studies", "rename", HOSTILE, "x"), 2),
        (("studies", "delete", HOSTILE, "--yes"), 2),
        (("results",), 0),
        (("results", "--csv"), 0),
        (("results", "--json"), 0),
        (("results", HOSTILE), 0),
        (("results", "none"), 2),
        (("export", "--best", "-o", "bundle"), 2),
        (("export", HOSTILE, "--trial", "77", "-o", "bundle"), 2),
        (("gc",), 0),
        (("db", "check"), None),
        (("db", "check", "--json"), None),
        (("dashboard", "--host", "host.invalid"), 2),
        (("profile", f"{HOSTILE}#77"), 2),
        (("profile", f"none{HOSTILE}"), 2),
        (("spaces", HOSTILE), 2),
        (("spaces", "check", HOSTILE), 2),
        (("search", "--data", HOSTILE), 2),
        (("search", "--study", HOSTILE), 2),
        ((HOSTILE,), 2),
        (("results", f"--{HOSTILE}"), 2),
    ],
    ids=lambda value: " ".join(value)[:20].replace("\x1b", "") if isinstance(value, tuple) else "",
)
def test_no_command_writes_control_sequences(nas, hostile, command, code, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    out = ["--out", str(hostile)] if command[0] not in ("spaces", "search", HOSTILE) else []
    ran = nas(*command, *out)
    assert code in (None, ran.code)
    for line in [*ran.out.split("\n"), *ran.err.split("\n")]:
        assert line.isprintable()
    assert ran.code != 2 or command[0] == "dashboard" or ran.err.count("\n") == 1
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before] == []


def test_programs_get_the_text_itself(nas, hostile):
    (study,) = json.loads(nas("studies", "--out", hostile, "--json").out)
    assert study["name"] == HOSTILE
    trials = json.loads(nas("results", "--out", hostile, "--json").out)
    assert {trial["message"] for trial in trials} == {HOSTILE}
    rows = list(csv.DictReader(io.StringIO(nas("results", "--out", hostile, "--csv").out)))
    assert {row["message"] for row in rows} == {SHOWN}


def test_what_is_shown_is_whole(nas, hostile):
    listed = nas("studies", "--out", hostile).out.splitlines()
    assert listed[1].startswith(SHOWN)
    assert listed[0].index("state") + len("state") == listed[1].index("finished") + len("finished")
    assert f"Study {SHOWN}: {SHOWN} on {SHOWN}" in nas("results", "--out", hostile).out


def test_columns_are_as_wide_as_what_is_shown():
    first, second = table([("a\x1b", "1"), ("bb", "22")])
    assert (first, second) == (r"a\x1b   1", "bb     22")


def test_the_progress_of_a_search_is_escaped():
    stream = io.StringIO()
    Progress(stream).note(HOSTILE)
    assert stream.getvalue() == f"Note: {SHOWN}.\n"


def test_what_is_logged_is_escaped(monkeypatch, capsys):
    monkeypatch.setattr(logging.lastResort, "formatter", None)
    escape_warnings()
    record = logging.LogRecord("nas", logging.WARNING, "", 0, "%s is gone", (HOSTILE,), None)
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    logging.lastResort.handle(record)
    assert stream.getvalue() == f"{SHOWN} is gone\n"


def test_there_is_one_way_out():
    """Commands write through `nas.commands.output`, which escapes; nothing else calls click or print."""
    for file in (Path(__file__).parents[3] / "nas").rglob("*.py"):
        if file.name != "output.py":
            assert re.findall(r"click\.s?echo\(|^ *print\(", file.read_text(encoding="utf-8"), re.MULTILINE) == [], file

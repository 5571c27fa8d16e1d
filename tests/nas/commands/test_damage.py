"""Databases with an invalid cell: every command says so in one sentence, and `nas db check` finds it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from nas.api import search
from runners.protocol import EpochResult, Job, Measured
from runners.synthetic import synthetic
from runners.training.weights import save_weights
from search_space import build

DEEP = "[" * 100_000
CUT = "substr({0}, 1, length({0}) / 2)"
BLOB = "CAST(x'ff00c3' AS TEXT)"


def untrained(job: Job) -> Generator[EpochResult, None, Measured]:
    """Synthetic figures, and weights that can be exported."""
    measured = yield from synthetic(job)
    if job.weights is not None and job.task == "train":
        save_weights(build(job.architecture), job.weights, (0.5,), (0.5,))
    return measured


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, space_files: dict[str, Path]) -> dict[str, Any]:
    """Settings of a finished study, and its folder."""
    settings = {
        "space": str(space_files["small"]),
        "strategy": "tpe+halving",
        "families": True,
        "runner": "inline",
        "epochs": 4,
        "budget": 5,
        "finalists": 1,
        "study": "study",
    }
    out = tmp_path_factory.mktemp("finished") / "runs"
    search(evaluator=untrained, out=str(out), **settings)
    with closing(sqlite3.connect(out / "nas.db")) as connection, connection:
        connection.execute("UPDATE nas_studies SET config = json_set(config, '$.budget', 5)")
        connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()
    return {**settings, "out": out}


S, E, A, N, F, D = "nas_studies", "nas_evaluations", "nas_architectures", "nas_epochs", "nas_finalists", "nas_drivers"
WHERE = {S: "id = 1", E: "key = 'trial-0000'", A: "id = 1", N: "evaluation_id = 1 AND epoch = 1", F: "id = 1"}
DAMAGES: list[tuple[str, str, str]] = [  # table, column, new value
    (S, "identity", CUT),
    (S, "config", "'[1]'"),
    (S, "objectives", BLOB),
    *((S, column, "'{{}}'") for column in ("identity", "config", "objectives")),
    (S, "identity", "json_remove({0}, '$.space')"),
    (S, "identity", "json_set({0}, '$.data', 5)"),
    (S, "identity", "json_set({0}, '$.max_params', 'many')"),
    (S, "config", "json_set({0}, '$.budget', 'large')"),
    (S, "config", "json_set({0}, '$.checkpoint_dir', 5)"),
    (S, "objectives", "'[\"beauty\"]'"),
    (S, "objectives", f"'{DEEP}'"),
    (S, "reference", '\'{{"nll": "x"}}\''),
    (S, "created_at", "'yesterday'"),
    (S, "created_at", "5"),
    (S, "uid", "'unknown'"),
    (S, "optuna_study_id", "'x'"),
    (S, "optuna_study_id", "99"),
    (S, "revision", "'x'"),
    (S, "name", BLOB),
    *((E, column, "'x'") for column in ("seed", "nll", "accuracy", "seconds", "attempts", "latency_ms", "micro_batch")),
    *((E, column, "'x'") for column in ("epochs_planned", "epochs_trained", "epochs_run", "number", "revision")),
    *((E, column, BLOB) for column in ("key", "origin", "stage", "message", "choices", "cause")),
    (E, "choices", "'{{}}'"),
    (E, "choices", "json_set({0}, '$.stages', 1e300)"),
    (E, "choices", "json_remove({0}, '$.\"stage1.mixer\"')"),
    (E, "versions", "'5'"),
    (E, "latency", "'{{\"device\": 5}}'"),
    (E, "state", "'DONE'"),
    (E, "state", "x'00'"),
    (E, "role", "'spectator'"),
    (E, "key", "'../../elsewhere'"),
    (E, "key", "'trial-0009'"),
    (E, "number", "-1"),
    (E, "number", "77"),
    (E, "nll", "NULL"),
    (E, "accuracy", "NULL"),
    (E, "epochs_planned", "0"),
    (E, "epochs_trained", "1000"),
    (E, "seconds", "-9e999"),
    (E, "started_at", "'2026-13-45 00:00:00'"),
    (E, "finished_at", "'soon'"),
    (E, "weights_sha256", "'abc'"),
    (E, "macro_f1", "1.5"),
    (E, "architecture_id", "777"),
    (E, "optuna_trial_id", "777"),
    (A, "yaml", CUT),
    (A, "yaml", BLOB),
    (A, "yaml", "(SELECT yaml FROM nas_architectures WHERE id = 2)"),
    (A, "hash", BLOB),
    (A, "params", "'many'"),
    (A, "macs", "-1"),
    (N, "nll", "'x'"),
    (N, "seconds", "x'00'"),
    (N, "train_loss", "'x'"),
    (F, "number", "77"),
    (F, "rank", "'first'"),
    (F, "mean_nll", "NULL"),
    (F, "test_nll", "NULL"),
    (F, "seeds", BLOB),
    (F, "architecture_id", "777"),
    ("trials", "state", "'DONE'"),
    ("trials", "datetime_start", "'soon'"),
    ("trial_params", "distribution_json", "'cut'"),
    ("trial_values", "value", "'x'"),
    ("studies", "study_name", BLOB),
    ("study_directions", "direction", "'SIDEWAYS'"),
]
HARMLESS: list[tuple[str, str, str]] = [
    (E, "cause", "'boredom'"),
    (E, "attempts", "4611686018427387904"),
    (E, "epochs_run", "4611686018427387904"),
    (E, "seconds", "1e300"),
    (E, "nll", "1e308"),
    (E, "message", "'a' || char(7, 10) || 'b'"),
    (E, "started_at", "'0001-01-01 00:00:00'"),
    (E, "origin", "''"),
    (A, "params", "9223372036854775807"),
    (N, "nll", "9e999"),
    (F, "test_nll", "9e999"),
]
LOST = [
    f"DELETE FROM {E} WHERE key = 'trial-0001'",
    f"DELETE FROM {E} WHERE role = 'finalist'",
    f"DELETE FROM {A} WHERE id = 1",
    f"DELETE FROM {N} WHERE evaluation_id = 1",
    f"DELETE FROM {N} WHERE evaluation_id = 1 AND epoch = 2",
    "DELETE FROM studies",
    "DELETE FROM trials WHERE number = 1",
    f"UPDATE {E} SET number = 10, key = 'trial-0010' WHERE key = 'trial-0001'",
]


def change(table: str, column: str, value: str) -> str:
    return f"UPDATE {table} SET {column} = {value.format(column)} WHERE {WHERE.get(table, 'true')}"


REFUSED = ["has settings that differ from this command", "belongs to another study", "Optuna's tables have no study"]
"""What a search may say instead: its study is not the one that it asks for, or cannot be found by its name."""
EVERYWHERE = ["SELECT 1", *LOST, *(change(*damage) for damage in (*DAMAGES[::5], *HARMLESS))]
"""After these all commands are tried, after the others those that read most."""


@pytest.fixture
def commands(finished, tmp_path, nas, monkeypatch):
    """Every command that reads a database, by name, after a statement has been executed on a copy of the study."""
    monkeypatch.setattr("results.dashboard.server.Dashboard.serve_forever", lambda server: None)
    monkeypatch.setattr("runners.training.train.train", untrained)
    monkeypatch.setattr("results.export.writing._verify", lambda *_: 0.0)
    out = tmp_path / "runs"

    def run(statement: str, budget: int = 5) -> dict[str, Any]:
        shutil.copytree(finished["out"], out)
        with closing(sqlite3.connect(out / "nas.db")) as connection, connection:
            connection.execute(statement)
        connection.close()
        settings = {"space": finished["space"], "epochs": 4, "budget": budget, "finalists": 1, "study": "study"}
        flags = [word for name, value in settings.items() for word in (f"--{name}", value)]
        lines = {
            "check": ["db", "check"],
            "results": ["results", "study"],
            "studies": ["studies"],
            "export": ["export", "study", "--best", "-o", tmp_path / "bundle"],
            "search": ["search", *flags, "--strategy", "tpe+halving", "--runner", "inline"],
            "gc": ["gc"],
            "profile": ["profile", "study#best", "--closed-form"],
            "compare": ["compare", "study#1", "study#0", "--closed-form"],
            "dashboard": ["dashboard", "--port", 0],
            "delete": ["studies", "delete", "study", "--yes"],
        }
        most = 10 if statement in EVERYWHERE else 5
        return {name: nas(*words, "--out", out) for name, words in list(lines.items())[:most]}

    return run


def refusals(ran: dict[str, Any]) -> dict[str, str]:
    """What the commands refused, each in one sentence."""
    refused = {name: one.err for name, one in ran.items() if one.code and name != "check"}
    for name, text in refused.items():
        last = text.strip().splitlines()[-1]
        assert last.startswith("nas: "), (name, text)
        assert "Traceback" not in text
        assert last[5:].isprintable()
    return refused


@pytest.mark.parametrize(("table", "column", "value"), DAMAGES, ids=lambda part: part[:40])
def test_a_damaged_cell_is_named(commands, table, column, value):
    ran = commands(change(table, column, value))
    refused = refusals(ran)
    assert ran["check"].code in (1, 2)
    assert table in ran["check"].out + ran["check"].err
    for name, text in refused.items():
        told = f"the database is damaged: {table}" in text and column in text
        assert told or (name == "search" and any(sentence in text for sentence in REFUSED)), (name, text)


@pytest.mark.parametrize(("table", "column", "value"), HARMLESS, ids=lambda part: part[:40])
def test_what_is_odd_and_possible_harms_nothing(commands, table, column, value):
    ran = commands(change(table, column, value))
    assert {name: one.err for name, one in ran.items() if one.code} == {}


@pytest.mark.parametrize("statement", LOST)
def test_a_lost_row_is_reported(commands, statement):
    ran = commands(statement, budget=6)
    for name, text in refusals(ran).items():
        assert "the database is damaged: " in text or "has no trial 1" in text, (name, text)
    assert ran["check"].code == 1


def test_a_whole_database_passes(commands):
    ran = commands("SELECT 1")
    assert {name: (one.out, one.err) for name, one in ran.items() if one.code} == {}


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        (S, "created_at", "'yesterday'"),
        (E, "architecture_id", "777"),
        ("studies", "study_name", BLOB),
        ("trials", "state", "'DONE'"),
    ],
)
def test_what_cannot_be_copied_is_named(finished, tmp_path, nas, table, column, value):
    shutil.copy(finished["out"] / "nas.db", tmp_path)
    with closing(sqlite3.connect(tmp_path / "nas.db")) as connection, connection:
        connection.execute(change(table, column, value))
    connection.close()
    ran = nas("db", "copy", f"sqlite:///{tmp_path / 'nas.db'}", f"sqlite:///{tmp_path / 'copy.db'}")
    if ran.code:  # a copy need not understand what it copies
        assert f"the database is damaged: {table}" in ran.err
    assert (tmp_path / "copy.db").exists() == (ran.code == 0)

"""A search that is killed or stopped at any moment continues with the same command: nothing lost, nothing run twice."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nas import search
from runners.synthetic import synthetic
from search_space.signals import stop_as_by_ctrl_c

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["torch", "nas.api", "nas.study.opening", "runners.inline", "runners.synthetic"])


@dataclass(frozen=True)
class Ended:
    """How a search in a process of its own ended."""

    returncode: int | None
    stderr: str


@pytest.fixture
def run(tmp_path: Path, space_files: dict[str, Path]) -> Callable[..., Ended]:
    """Search in a process of its own, which sends itself a signal at a moment (an expression); always in one folder."""

    def run(runner: str, budget: int, *, moment: str = "False", by: str = "SIGKILL") -> Ended:
        stderr = tmp_path / "stderr.txt"
        arguments = (tmp_path, space_files["small"], runner, budget, moment, signal.Signals[by], stderr)
        process = FORKED.Process(target=search_here, args=arguments)
        process.start()
        process.join(180)
        return Ended(process.exitcode, stderr.read_text())

    return run


def search_here(
    out: Path, space: Path, runner: str, budget: int, moment: str, by: signal.Signals, stderr: Path
) -> None:
    os.dup2(os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    stop_as_by_ctrl_c()
    changes = 0

    def kill_self(search: Any) -> None:
        nonlocal changes
        changes += 1
        if eval(moment, {"changes": changes, "search": search}):  # noqa: S307 (written in this file)
            os.kill(os.getpid(), by)

    search(
        space=str(space),
        evaluator=synthetic,
        runner=runner,
        budget=budget,
        epochs=4,
        proxies=("params",),
        out=str(out),
        on_change=kill_self,
    )


def rows(out: Path) -> list[tuple[str, str, int, int]]:
    """Key, state, number of epochs and architecture of every evaluation."""
    with closing(sqlite3.connect(out / "nas.db")) as connection, connection:
        return connection.execute(
            "SELECT key, state, (SELECT COUNT(*) FROM nas_epochs WHERE evaluation_id = e.id), architecture_id "
            "FROM nas_evaluations e ORDER BY id"
        ).fetchall()


@pytest.mark.parametrize("kill_at", [1, 2, 3, 17, 40, 61])
def test_killed_at_any_change_and_run_again(run: Callable[..., Ended], tmp_path: Path, kill_at: int) -> None:
    killed = run("inline", 20, moment=f"changes == {kill_at}")
    assert killed.returncode == -signal.SIGKILL
    before = {key: state for key, state, _, _ in rows(tmp_path) if state in ("COMPLETE", "PRUNED")}
    again = run("inline", 20)
    assert again.returncode == 0, again.stderr
    after = rows(tmp_path)
    trials = [row for row in after if row[0].startswith("trial-")]
    assert len(trials) == 20
    assert len({architecture for *_, architecture in trials}) == 20
    assert {state for _, state, _, _ in after} <= {"COMPLETE", "PRUNED"}
    assert before.items() <= {key: state for key, state, _, _ in after}.items()
    assert all(epochs == (4 if state == "COMPLETE" else 1) for _, state, epochs, _ in trials)
    assert sum(state == "COMPLETE" for _, state, *_ in trials) == 20 * 2 // 3
    with closing(sqlite3.connect(tmp_path / "nas.db")) as connection, connection:
        assert connection.execute("SELECT COUNT(*) FROM trials WHERE state IN ('RUNNING', 'WAITING')").fetchone() == (
            0,
        )
        assert connection.execute("SELECT MAX(attempts) FROM nas_evaluations").fetchone()[0] <= 2


def test_ctrl_c_queues_what_was_running(run: Callable[..., Ended], tmp_path: Path) -> None:
    stopped = run("inline", 20, moment="changes == 25", by="SIGINT")
    assert "KeyboardInterrupt" in stopped.stderr
    assert {state for _, state, _, _ in rows(tmp_path)} <= {"COMPLETE", "PAUSED", "QUEUED"}
    assert run("inline", 20).returncode == 0
    assert {state for _, state, _, _ in rows(tmp_path)} <= {"COMPLETE", "PRUNED"}


COMMAND = """
import atexit, os, signal, sys
moment, sys.argv = sys.argv[1], ["nas", *sys.argv[2:]]
def interrupt():
    os.kill(os.getpid(), signal.SIGNAL)
class Interrupting:
    def find_spec(self, name, path, target=None):
        if name == moment:
            interrupt()
def twice(job):
    interrupt()
    interrupt()
    yield
if moment == "twice":
    import runners.training.train
    runners.training.train.train = twice
elif moment == "exit":
    atexit.register(interrupt)
sys.meta_path.insert(0, Interrupting())
from nas.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("moment", "by"),
    [
        ("click", "SIGINT"),
        ("nas.api", "SIGTERM"),
        ("results.report.render", "SIGINT"),
        ("twice", "SIGINT"),
        ("twice", "SIGTERM"),
        ("exit", "SIGINT"),
    ],
)
def test_ctrl_c_at_any_moment_prints_no_traceback(tmp_path: Path, moment: str, by: str) -> None:
    """While a module is loaded, twice while it trains, and while Python tidies up."""
    arguments = ["--version"] if moment == "exit" else ["search", "--runner", "inline", "--out", str(tmp_path)]
    command = [sys.executable, "-c", COMMAND.replace("SIGNAL", by), moment, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert "Traceback" not in ran.stderr
    if moment == "exit":
        assert (ran.returncode, ran.stderr) == (-signal.Signals[by], "")
        return
    assert ran.returncode == 130
    if moment == "twice":
        assert "Stopped after 0 of 200 trials. Nothing is lost; to continue: nas search" in ran.stderr
        assert [(key, state) for key, state, *_ in rows(tmp_path)] == [("trial-0000", "QUEUED")]


@pytest.mark.xdist_group("ray")
@pytest.mark.parametrize("by", ["SIGINT", "SIGTERM"])
def test_ctrl_c_on_ray_leaves_waiting_trials_waiting(run: Callable[..., Ended], tmp_path: Path, by: str) -> None:
    """Also with the SIGTERM of a scheduler that reclaims the machine; Ray itself would print a stack and die."""
    stopped = run("ray", 12, moment="search.finished_here == 7", by=by)
    assert "KeyboardInterrupt" in stopped.stderr
    waiting = [row for row in rows(tmp_path) if row[1] == "PAUSED"]
    assert waiting
    assert {state for _, state, _, _ in rows(tmp_path)} <= {"COMPLETE", "PAUSED", "QUEUED"}
    again = run("ray", 12)
    assert again.returncode == 0, again.stderr
    trials = [row for row in rows(tmp_path) if row[0].startswith("trial-")]
    assert [state for _, state, *_ in trials].count("COMPLETE") == 12 * 2 // 3
    assert {state for _, state, _, _ in rows(tmp_path)} <= {"COMPLETE", "PRUNED"}
    with closing(sqlite3.connect(tmp_path / "nas.db")) as connection, connection:
        repeated = connection.execute("SELECT SUM(epochs_run - epochs_trained) FROM nas_evaluations").fetchone()
    assert repeated == (0,)


@pytest.mark.xdist_group("ray")
def test_a_driver_on_ray_is_killed_and_run_again(run: Callable[..., Ended], tmp_path: Path) -> None:
    killed = run("ray", 14, moment="search.finished_here == 8")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    finished = sum(state in ("COMPLETE", "PAUSED") for _, state, _, _ in rows(tmp_path))
    assert finished > 0
    assert run("ray", 14).returncode == 0
    after = rows(tmp_path)
    assert sum(key.startswith("trial-") for key, *_ in after) == 14
    assert {state for _, state, _, _ in after} <= {"COMPLETE", "PRUNED"}


@pytest.mark.xdist_group("ray")
def test_the_command_trains_on_ray_and_prints_json(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "nas",
        "search",
        "--budget",
        "4",
        "--epochs",
        "2",
        "--out",
        str(tmp_path),
        "--json",
    ]
    done = subprocess.run(
        [*command, "--finalists", "1", "--seeds", "1", "--max-params", "20k"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "RAY_ADDRESS": ""},
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["evaluated"] == 4
    assert report["winner"]["params"] <= 20_000
    assert report["winner"]["test_accuracy"] > 0.2  # twice what guessing reaches
    assert report["test_evaluations"] == 1
    assert "finalists 1/1" in done.stderr

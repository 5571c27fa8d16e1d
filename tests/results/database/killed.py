"""Opening databases and making a study in them, killed at the n-th sync for every n, and then done again.

Run by test_kills.py in a process of its own without threads, so that it can fork: importing takes longer than all else.
Prints for each database how often it was killed.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import results.database.optuna_tables  # noqa: F401 (otherwise imported again in every process)
from results.database.checks import check_database
from results.store.store import Store

ANY_PROCESS = ctypes.c_ulong(-1)
PR_SET_PTRACER = 0x59616D61


def contents(path: Path) -> list[tuple[object, ...]]:
    """The content of the first study, in columns that every version has."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(
            "SELECT s.name, s.identity, v.key, v.state, v.nll, a.hash, a.yaml, e.epoch, e.nll, t.number, t.state "
            "FROM nas_studies s JOIN nas_evaluations v ON v.study_id = s.id "
            "JOIN nas_architectures a ON a.id = v.architecture_id JOIN nas_epochs e ON e.evaluation_id = v.id "
            "LEFT JOIN trials t ON t.trial_id = v.optuna_trial_id WHERE s.name != 'new' ORDER BY v.id, e.epoch"
        ).fetchall()


def make_study(path: Path) -> None:
    """What is killed: the first thing that a search does with its database."""
    store = Store(f"sqlite:///{path}")
    limits = dict.fromkeys(("max_params", "max_macs", "max_latency_ms"))
    named = {"name": "any"}
    study = store.create_study(
        "new",
        identity={"space": named, "data": named, "objective": ["nll"], **limits, "recipe": {}, "seed": 0},
        config={"budget": 1},
        objectives={"nll": "minimize"},
        metric_names=["validation NLL"],
    )
    assert study.row.optuna_study_id
    store.close()


def examine(path: Path, expected: list[tuple[object, ...]]) -> None:
    """The next command: everything is there, and nothing else."""
    make_study(path)
    assert contents(path) == expected
    health = check_database(f"sqlite:///{path}")
    assert not health.problems, health.problems
    store = Store(f"sqlite:///{path}", create=False)
    uids = [study.uid for study in store.studies()]
    assert all(len(uid) == 32 for uid in uids)
    assert len(set(uids)) == len(uids) == 1 + bool(expected)
    store.close()


def child(act: Callable[[], None], ready: int | None = None) -> int:
    """Do something in a process of its own, once a byte can be read."""
    pid = os.fork()
    if pid:
        return pid
    try:
        if ready is not None:
            ctypes.CDLL(None).prctl(PR_SET_PTRACER, ANY_PROCESS, 0, 0, 0)
            os.read(ready, 1)
        act()
    except BaseException:  # noqa: BLE001 (it must not continue as its parent)
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def killed_at(number: int, calls: str, act: Callable[[], None]) -> bool:
    """Run an action in a process that is killed at its n-th system call of a kind; returns whether it was killed."""
    reading, writing = os.pipe()
    pid = child(act, reading)
    inject = f"inject={calls}:signal=KILL:when={number}"
    command = ["strace", "-p", str(pid), "-o", os.devnull, "-e", f"trace={calls}", "-e", inject]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    said = tracer.stderr.readline()
    assert "attached" in said, said
    os.write(writing, b"!")
    _, status = os.waitpid(pid, 0)
    tracer.communicate()
    os.close(reading)
    os.close(writing)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def kills(template: Path | None, folder: Path, calls: str = "fsync,fdatasync") -> int:
    """Kill at every call of a kind until the action completes; returns the number of kills."""
    expected = [] if template is None else contents(template)
    assert template is None or expected
    number = 0
    while True:
        number += 1
        path = folder / str(number) / "nas.db"
        path.parent.mkdir()
        if template is not None:
            shutil.copyfile(template, path)
        survived = not killed_at(number, calls, lambda path=path: make_study(path))
        _, status = os.waitpid(child(lambda path=path: examine(path, expected)), 0)
        if status:
            raise SystemExit(f"of {template}: killed at call {number}, the database cannot be used")
        shutil.rmtree(path.parent)
        if survived:
            return number - 1


if __name__ == "__main__":
    warm = Path(sys.argv[1], "warm.db")
    make_study(warm)  # otherwise every process would load and compile the same again
    check_database(f"sqlite:///{warm}")
    for template in (None, *map(Path, sys.argv[2:])):
        print(kills(template, Path(sys.argv[1])))

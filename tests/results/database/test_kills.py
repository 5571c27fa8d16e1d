"""A database is of one version or of the next, whatever kills the process that makes it or brings it up to date."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import event

import results
from results.store.store import Store

EARLIER = ("0001_initial", "0002_ledger", "0003_drivers", "0004_ownership")
KILLED = Path(__file__).with_name("killed.py")
ROOT = Path(results.__file__).parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed: it kills at a system call")
def test_killed_at_every_sync_and_done_again(earlier_version, tmp_path):
    """From nothing and from every earlier version, with trials in it."""
    templates = [str(earlier_version(revision)) for revision in EARLIER]
    folder = tmp_path / "killed"
    folder.mkdir()
    command = [sys.executable, str(KILLED), str(folder), *templates]
    ran = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)
    if "Operation not permitted" in ran.stderr:
        pytest.skip("strace may not trace here")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    kills = list(map(int, ran.stdout.split()))
    assert len(kills) == 1 + len(EARLIER)
    assert min(kills) > 0


class Killed(Exception):
    pass


@contextmanager
def dying_after(engine: sa.Engine, steps: int) -> Iterator[None]:
    """Let a connection make so many changes, each of which stays: so SQLite was used once."""
    left = steps

    def count(connection, cursor, statement, *_):
        nonlocal left
        if statement.split()[0] in ("CREATE", "ALTER", "INSERT", "UPDATE", "DROP"):
            left -= 1
            if left < 0:
                raise Killed

    event.listen(engine, "before_cursor_execute", count)
    yield


@pytest.mark.parametrize("revision", ["", *EARLIER])
def test_what_an_earlier_version_left_halfway_is_completed(revision, earlier_version, upgrade, tmp_path):
    template = earlier_version(revision) if revision else None
    for steps in range(100):
        path = tmp_path / f"{steps}.db"
        if template is not None:
            shutil.copyfile(template, path)
        engine = sa.create_engine(f"sqlite:///{path}")
        try:
            with dying_after(engine, steps), engine.begin() as connection:
                upgrade(connection, "head")
        except Killed:
            died = True
        else:
            died = False
        engine.dispose()
        store = Store(f"sqlite:///{path}")
        assert [(study.name, len(study.uid)) for study in store.studies()] == ([("old", 32)] if revision else [])
        if revision:
            assert [row.nll for row in store.study("old").evaluations()] == [1.0, 2.0, 3.0]
        store.close()
        if not died:
            break
    assert steps > 2


AT_ONCE = """
import os, sys
import results.database.optuna_tables
from results.store.store import Store

def create(path):
    store = Store(f"sqlite:///{path}")
    for name in ("study", f"own-{os.getpid()}"):
        made = store.create_study(name, identity={}, config={}, objectives={"nll": "minimize"}, metric_names=["nll"])
        assert made.row.uid == store.study(name).row.uid
    store.close()

create(sys.argv[1])  # otherwise every process would load and compile the same again
for path in sys.argv[2:]:
    reading, writing = os.pipe()
    pids = []
    for _ in range(4):
        pids.append(os.fork())
        if not pids[-1]:
            os.close(writing)
            os.read(reading, 1)  # until all are there
            create(path)
            os._exit(0)
    os.close(reading)
    os.close(writing)
    if any([os.waitpid(pid, 0)[1] for pid in pids]):
        sys.exit(1)
"""


def test_four_processes_that_create_one_database_at_once(tmp_path):
    paths = [tmp_path / f"{number}.db" for number in range(4)]
    command = [sys.executable, "-c", AT_ONCE, str(tmp_path / "warm.db"), *map(str, paths)]
    ran = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    for path in paths:
        store = Store(f"sqlite:///{path}", create=False)
        assert len(store.studies()) == 5
        store.close()

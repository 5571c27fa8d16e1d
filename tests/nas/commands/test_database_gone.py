"""A SQLite file that is deleted or replaced while a search uses it: the search stops, and says so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nas
from nas.study.files import RunFolder
from results.database.checks import check_database
from runners.synthetic import synthetic
from search_space.errors import StorageError

ROOT = Path(nas.__file__).parent.parent

SEARCH = """
import shutil, sys
import nas.api
from nas.__main__ import main
from runners.synthetic import synthetic
trials = 0
def losing(job):
    global trials
    trials += 1
    if trials == 3:
        shutil.rmtree(sys.argv[-1])
    return (yield from synthetic(job))
search = nas.api.search
nas.api.search = lambda *args, **more: search(*args, evaluator=losing, **more)
main()
"""


@pytest.fixture
def while_running(run):
    """Search, with something done to the output folder when the third evaluation begins."""

    def make(act, **changes):
        jobs = []

        def evaluate(job):
            jobs.append(job)
            if len(jobs) == 3:
                act()
            return (yield from synthetic(job))

        return run(evaluate, **changes)

    return make


def test_the_folder_is_deleted(while_running, settings):
    out = Path(settings["out"])
    with pytest.raises(StorageError, match=r"nas\.db was deleted or moved while it was in use; .*--out"):
        while_running(lambda: shutil.rmtree(out))
    assert not (out / "nas.db").exists()
    assert not (out / "study" / "report.txt").exists()


def test_a_moved_study_continues_from_its_new_place(while_running, run, settings, tmp_path):
    out, new = Path(settings["out"]), tmp_path / "new"
    with pytest.raises(StorageError, match="was deleted or moved"):
        while_running(lambda: out.rename(new))
    assert run(out=str(new)).evaluated == settings["budget"]


def test_replaced_by_another_file(while_running, run, settings, tmp_path):
    """What the other file holds is not touched."""
    file, other = Path(settings["out"], "nas.db"), tmp_path / "other"
    run(out=str(other), study="theirs")
    before = (other / "nas.db").read_bytes()
    with pytest.raises(StorageError, match=r"nas\.db was replaced by another file while it was in use"):
        while_running(lambda: (other / "nas.db").replace(file))
    assert file.read_bytes() == before


def test_its_log_is_deleted(while_running, run, settings):
    """No other process could find its content, and after a kill it would be lost."""
    file = Path(settings["out"], "nas.db")
    with pytest.raises(StorageError, match=r"the log of the database, .*nas\.db-wal, was deleted while it was in use"):
        while_running(Path(f"{file}-wal").unlink)
    assert run().evaluated == settings["budget"]
    assert check_database(f"sqlite:///{file}").problems == []


def test_a_link_to_it_may_go(while_running, run, settings, tmp_path):
    """The database itself has not moved."""
    there, out = tmp_path / "there", Path(settings["out"])
    run(out=str(there), study="other")
    out.mkdir()
    (out / "nas.db").symlink_to(there / "nas.db")
    assert while_running((out / "nas.db").unlink).evaluated == settings["budget"]
    (out / "nas.db").symlink_to(there / "nas.db")
    assert run().evaluated == settings["budget"]


def test_deleted_at_the_very_end(run, settings, monkeypatch):
    """When nothing is left to do but to write the report."""
    out, write = Path(settings["out"]), RunFolder.write_report

    def late(folder, *args):
        shutil.rmtree(out)
        write(folder, *args)

    monkeypatch.setattr(RunFolder, "write_report", late)
    with pytest.raises(StorageError, match="was deleted or moved"):
        run()


def test_on_the_command_line(space_files, tmp_path):
    out = tmp_path / "runs"
    arguments = ["search", "--space", str(space_files["small"]), "--runner", "inline", "--budget", "6", "--epochs", "4"]
    ran = subprocess.run(
        [sys.executable, "-c", SEARCH, *arguments, "--out", str(out)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.splitlines()[-1].startswith(f"nas: the database {out}/nas.db was deleted or moved")
    assert "Traceback" not in ran.stderr
    assert not (out / "nas.db").exists()

"""Output that cannot be written, a deleted current folder, a full disk: one sentence, and never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import nas as package
from nas.commands import COMMANDS
from results.store.store import Store
from search_space.errors import StorageError

ROOT = Path(package.__file__).parent.parent
FULL = Path("/dev/full")
MAIN = "import sys; sys.argv = ['nas', *sys.argv[1:]]; from nas.__main__ import main; main()"
HARMLESS = {
    "studies": [],
    "results": [],
    "export": ["--best", "-o", "bundle"],
    "search": ["--budget", "1", "--runner", "inline"],
    "profile": ["mixer_s16", "--closed-form"],
    "compare": ["vit_s16", "mixer_s16", "--closed-form"],
}
"""Arguments with which a command ends at once."""


def start(*arguments: object, **streams):
    """A command in a process of its own, as a shell starts it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("NAS_STORAGE", None)
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, *map(str, arguments)],
        text=True,
        env=environment,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
    )


def ended(process) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out or "", err or ""


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    """An output folder with an empty study."""
    folder = tmp_path_factory.mktemp("runs")
    store = Store(f"sqlite:///{folder / 'nas.db'}")
    store.create_study("study", identity={}, config={}, objectives={"nll": "minimize"}, metric_names=["nll"])
    store.close()
    return folder


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
def test_a_full_disk_behind_standard_output(out):
    """Whatever is said, and also where it goes out at the very end only."""
    commands = (["--help"], ["--version"], ["zoo", "--json"], ["results", "--csv", "--out", out], ["spaces"])
    with FULL.open("w") as full:
        for process in [start(*command, stdout=full) for command in commands]:
            assert ended(process) == (2, "", "nas: standard output cannot be written to: No space left on device\n")


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
def test_a_full_disk_behind_standard_error(tmp_path):
    with FULL.open("w") as full:
        for process in [
            start("results", "--out", tmp_path, stderr=full),
            start("results", "--out", tmp_path, stdout=full, stderr=full),
            start("serach", stderr=full),
            start("--help", stdout=full, stderr=full),
        ]:
            assert ended(process) == (2, "", "")


def test_a_reader_that_goes_away():
    """As with head: nothing is printed, and the exit code is that of a program ended by a closed pipe."""
    for command in (["--help"], ["zoo", "--json"]):
        reading, writing = os.pipe()
        process = start(*command, stdout=writing)
        os.close(writing)
        os.close(reading)
        assert ended(process) == (141, "", "")


def test_closed_streams(tmp_path):
    """Where `>&-` closed them, no file that is opened takes their place."""
    script = 'exec "$0" -c "$1" results --out "$2" >&- 2>&- <&-'
    command = ["sh", "-c", script, sys.executable, MAIN, str(tmp_path)]
    ran = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, b"", b"")
    store = Store(f"sqlite:///{tmp_path / 'nas.db'}")
    store.close()
    ran = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, b"", b"")
    Store(f"sqlite:///{tmp_path / 'nas.db'}").close()


def test_the_current_folder_is_gone(nas, tmp_path, monkeypatch):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    for name in COMMANDS:
        for arguments in ([name, *HARMLESS.get(name, [])], [name, "--help"]):
            ran = nas(*arguments)
            assert (ran.code, ran.out) == (2, ""), arguments
            assert ran.err == "nas: the current folder is gone (No such file or directory); change to one that exists\n"


def test_the_current_folder_is_gone_before_python_starts(tmp_path):
    """Also from its own entry point, which imports everything."""
    script = 'mkdir gone && cd gone && rmdir ../gone && exec "$0" -m nas studies'
    process = subprocess.Popen(
        ["sh", "-c", script, sys.executable],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    code, said, err = ended(process)
    assert (code, said) == (2, "")
    assert err.splitlines()[-1].startswith("nas: the current folder is gone")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "storage",
    ["sqlite:///{}/nas.db\n", "sqlite:///{}/n\x1b[2Jas.db", "postgresql+psycopg://me:geheim@127.0.0.1:1/db\r\n", "\n"],
)
def test_a_storage_with_control_characters(nas, storage, tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_STORAGE", storage.format(tmp_path))
    for command in (
        ["studies"],
        ["results"],
        ["search", "--budget", "1", "--runner", "inline", "--out", tmp_path / "x"],
    ):
        ran = nas(*command)
        assert (ran.code, ran.out) == (2, "")
        (line,) = ran.err.splitlines()
        assert "holds a control character, such as a line break" in line
        assert line.isprintable()
        assert "geheim" not in line
    assert not list(tmp_path.glob("n*"))


# A disk that is full.


def test_a_disk_that_is_full_while_a_study_is_made(mounted, remount, make_named):
    """However much room there is, a study is there as a whole or not at all, and the same call makes it later."""
    folder, failed, room = mounted(size=24 * 4096), 0, 24 * 4096
    url = f"sqlite:///{folder / 'nas.db'}"
    while True:
        room += 4096
        remount(folder, f"size={room}")
        try:
            make_named(url)
            break
        except StorageError as error:
            assert "\n" not in str(error)  # noqa: PT017
            failed += 1
    assert failed > 10
    make_named(url)


@pytest.fixture
def make_named():
    def make(url: str) -> None:
        store = Store(url)
        try:
            with store.driving("study"):
                study = store.create_study(
                    "study", identity={}, config={}, objectives={"nll": "minimize"}, metric_names=["nll"]
                )
            assert [row.uid for row in store.studies()] == [study.row.uid]
        finally:
            store.close()

    return make


def test_a_search_on_a_full_disk(nas, space_files, mounted, remount):
    room, failed = 2**19, 0  # enough for a database without trials
    folder = mounted(size=room)
    arguments = ["search", "--space", space_files["tiny"], "--runner", "inline", "--epochs", "1", "--budget", "1"]
    arguments += ["--finalists", "1", "--seeds", "1", "--strategy", "random", "--out", folder / "runs"]
    while True:
        ran = nas(*arguments)
        if ran.code == 0:
            break
        failed += 1
        assert ran.code == 2, ran.err
        assert "Traceback" not in ran.err
        assert ran.err.splitlines()[-1].startswith("nas: ")
        room += 2**19
        remount(folder, f"size={room}")
    assert failed

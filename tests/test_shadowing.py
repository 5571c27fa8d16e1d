"""The program works in a folder that holds the user's own modules of the same names as the program's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAMES = ("nas", "results", "runners", "search_space", "torch", "ray", "optuna", "numpy")
SCRIPT = "from nas.__main__ import main\nmain()\n"
"""As pip writes the command `nas`: its own folder is first on the path, and the current one is not on it."""
SEARCH = ["search", "--space", "tiny.yaml", "--budget", "2", "--epochs", "1", "--finalists", "0", "--proxies", "none"]


@pytest.fixture
def folder(tmp_path: Path, space_files: dict[str, Path]) -> Path:
    """A folder with modules that no import passes over in silence, and a search space."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the module of the user was imported')\n")
    shutil.copy(space_files["tiny"], tmp_path / "tiny.yaml")
    return tmp_path


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Python in that folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.xdist_group("ray")
def test_the_command_and_its_ray_workers_import_nothing_from_there(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    script = tmp_path_factory.mktemp("bin") / "nas"
    script.write_text(SCRIPT)
    ran = run(folder, script, *SEARCH, "--json")
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert (report["counts"]["complete"], report["counts"]["failed"]) == (2, 0)


def test_python_m_nas_works_there(folder: Path) -> None:
    (folder / "nas.py").unlink()  # it would be what is run
    ran = run(folder, "-m", "nas", *SEARCH, "--runner", "inline", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["counts"]["complete"] == 2


@pytest.mark.parametrize("name", ["results", "runners", "search_space"])
def test_import_nas_says_what_hides_a_package(name: str, folder: Path) -> None:
    for other in {*NAMES} - {name}:
        (folder / f"{other}.py").unlink()
    ran = run(folder, "-c", "from nas import search")
    assert ran.returncode == 1
    last = ran.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: {folder / name}.py hides the package {name!r} of mlp-nas; rename it")


def test_a_folder_of_results_hides_nothing(folder: Path) -> None:
    for name in NAMES:
        (folder / f"{name}.py").unlink()
    (folder / "results").mkdir()
    ran = run(folder, "-c", "from nas import SearchConfig; print(SearchConfig().budget)")
    assert (ran.stdout, ran.stderr) == ("200\n", "")

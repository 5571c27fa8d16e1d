"""What `pyproject.toml` promises: the extras, the interpreters, and the versions that private interfaces need."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from search_space.extras import EXTRAS, check_installed

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OPTIONAL = {extra: [Requirement(each) for each in needs] for extra, needs in PROJECT["optional-dependencies"].items()}


def test_every_extra_holds_the_packages_that_messages_say_it_holds() -> None:
    held = {need.name: extra for extra, needs in OPTIONAL.items() if extra != "dev" for need in needs}
    assert held == EXTRAS


def test_the_dev_extra_contains_all_others() -> None:
    (own,) = (need for need in OPTIONAL["dev"] if need.name == PROJECT["name"])
    assert own.extras == OPTIONAL.keys() - {"dev"}


def test_the_core_and_the_extras_are_apart() -> None:
    core = {Requirement(need).name for need in PROJECT["dependencies"]}
    assert not core & EXTRAS.keys()


def test_an_extra_that_is_there_is_no_error() -> None:
    for package in EXTRAS:
        check_installed(package, "a test")


def test_what_is_no_posix_system_is_told_in_a_sentence() -> None:
    code = "import os; os.name = 'nt'; from nas.__main__ import main; main()"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    sentence = "nas: this program needs Linux or macOS; on Windows, run it in WSL\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", sentence)

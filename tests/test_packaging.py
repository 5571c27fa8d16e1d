"""What `pyproject.toml` promises: the extras, the interpreters, and the versions that private interfaces need."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from search_space.extras import EXTRAS, check_installed

ROOT = Path(__file__).parent.parent
PACKAGES = ("search_space", "nas", "runners", "results")
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


PRIVATE = {
    "runners.on_ray.ray_private": "ray",
    "results.optuna_private": "optuna",
    "runners.training.memory_prediction": "torch",
}
"""Modules that use what is not public, and of which library."""


def test_private_parts_of_a_library_are_used_in_one_module_and_its_versions_are_bounded() -> None:
    found: dict[str, set[str]] = {}
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            for name in foreign_imports(file):
                library, *parts = name.split(".")
                if library in sys.stdlib_module_names or library == "_typeshed":
                    continue
                if any(part.startswith("_") and not part.startswith("__") for part in parts):
                    found.setdefault(".".join(file.relative_to(ROOT).with_suffix("").parts), set()).add(library)
    assert found == {module: {library} for module, library in PRIVATE.items()}
    bounded = {need.name for need in map(Requirement, PROJECT["dependencies"]) if "<" in str(need.specifier)}
    assert bounded >= set(PRIVATE.values()) | {"optuna-dashboard"}


def foreign_imports(file: Path) -> Iterator[str]:
    """Full names of what a module imports from elsewhere than this project, at any depth."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        yield from (name for name in names if name.partition(".")[0] not in PACKAGES)

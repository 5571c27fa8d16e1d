"""What counts as the code that decides a simulation."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nas.bench import source_code
from nas.bench.cache import ROOT
from nas.bench.source_code import PACKAGES, code_digest, imported

SIMULATION = "nas.bench.simulation"


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    """Writes modules; a name that ends with a slash is a package."""

    def make(sources: dict[str, str]) -> Path:
        for name, source in sources.items():
            path = tmp_path / (f"{name}__init__.py" if name.endswith("/") else f"{name}.py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        return tmp_path

    return make


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the packages, to be edited."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_imports_are_followed_to_their_end(tree: Callable[[dict[str, str]], Path]) -> None:
    root = tree(
        {
            "nas/": "",
            "nas/start": "import nas.plain\nfrom nas import late\nimport numpy, os.path\n",
            "nas/plain": "from results import Row\n",
            "nas/late": "def f():\n    with open('x'):\n        from runners.deep.inner import thing\n",
            "nas/shown": "import nas.start\n",
            "results/": "from .rows import Row\n",
            "results/rows": "try:\n    import search_space as space\nexcept ImportError:\n    pass\n",
            "runners/": "",
            "runners/deep/": "",
            "runners/deep/inner": "from .. import sibling\n",
            "runners/sibling": "",
            "search_space/": "",
        }
    )
    names = ["nas", "nas.late", "nas.plain", "nas.start", "results", "results.rows"]
    names += ["runners", "runners.deep", "runners.deep.inner", "runners.sibling", "search_space"]
    assert sorted(imported("nas.start", root)) == names


@pytest.mark.parametrize("condition", ["TYPE_CHECKING", "typing.TYPE_CHECKING"])
def test_what_only_type_checkers_import_decides_nothing(tree: Callable[[dict[str, str]], Path], condition: str) -> None:
    source = f"if {condition}:\n    import nas.types\nelse:\n    import nas.used\n"
    root = tree({"nas/": "", "nas/start": source, "nas/types": "", "nas/used": ""})
    assert sorted(imported("nas.start", root)) == ["nas", "nas.start", "nas.used"]


def test_circles_end(tree: Callable[[dict[str, str]], Path]) -> None:
    root = tree({"nas/": "", "nas/one": "import nas.two\n", "nas/two": "import nas.one\n"})
    assert sorted(imported("nas.one", root)) == ["nas", "nas.one", "nas.two"]


def test_a_simulation_depends_on_what_decides_and_not_on_what_displays(copy: Path) -> None:
    before = code_digest(SIMULATION, copy)
    for name in ("nas/commands/progress.py", "nas/bench/picture.py", "nas/bench/comparison.py"):
        with (copy / name).open("a") as file:
            file.write("# changed\n")
    assert code_digest(SIMULATION, copy) == before
    with (copy / "search_space/ops/dense.py").open("a") as file:
        file.write("# changed\n")
    assert code_digest(SIMULATION, copy) != before


def test_a_simulation_is_decided_by_strategy_search_space_and_protocol() -> None:
    expected = {
        "nas.strategy.planner",
        "nas.strategy.ranking",
        "nas.strategy.pruners",
        "nas.study.search",
        "nas.study.finalists",
        "results.report.compute",
        "runners.execution.loop",
        "search_space.space.moves",
        "search_space.ops.repmlp",
        "search_space.zoo.scaled",
    }
    assert expected <= set(imported(SIMULATION, ROOT))


def test_versions_of_libraries_count(tree: Callable[[dict[str, str]], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree({"nas/": ""})
    before = code_digest("nas", root)
    monkeypatch.setattr(source_code, "version", lambda library: "0.0")
    assert code_digest("nas", root) != before

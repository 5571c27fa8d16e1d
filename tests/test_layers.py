"""The plan of the packages: no circles, and files of one idea each. `lint-imports` holds the layers."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("search_space", "nas", "runners", "results")
FILES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for package in PACKAGES
    for file in (ROOT / package).rglob("*.py")
}
MOST_LINES = 350


def imports(module: str, file: Path, modules: set[str]) -> set[str]:
    """The modules that a module imports, at any depth and for type checking alone too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in modules else node.module for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return (found & modules) - {module}


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Sets of nodes that all reach one another."""
    reach = {node: set(ends) for node, ends in graph.items()}
    changed = True
    while changed:
        changed = False
        for node, ends in reach.items():
            more = ends.union(*(reach[end] for end in ends))
            if more != ends:
                reach[node], changed = more, True
    found = {frozenset(other for other in reach[node] if node in reach[other]) for node in graph if node in reach[node]}
    return [set(each) for each in found]


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a", "e"}}
    assert sorted(map(sorted, circles(graph))) == [["b", "c"], ["d", "e"]]


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {module: imports(module, file, set(FILES)) for module, file in FILES.items()}
    assert circles(graph) == []


def test_files_are_short() -> None:
    lines = {module: len(file.read_text(encoding="utf-8").splitlines()) for module, file in FILES.items()}
    assert {module: count for module, count in lines.items() if count > MOST_LINES} == {}
    assert lines["nas.study.search"] <= 300

"""The docstring of the exception tree is the tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from search_space import errors

ROOT = Path(__file__).parents[2]
PACKAGES = ("search_space", "runners", "results", "nas")


def classes() -> Iterator[tuple[str, list[str]]]:
    """Every class of the packages, with the names of its bases."""
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    yield node.name, [ast.unparse(base).rpartition(".")[2] for base in node.bases]


def tree() -> dict[str, str]:
    """Every subclass of NasError, with its base."""
    found, known = {}, list(classes())
    while new := {name: base for name, bases in known for base in bases if base in {"NasError", *found}} | found:
        if new == found:
            return found
        found = new
    raise AssertionError("there is no subclass of NasError")


def test_every_error_of_a_user_is_in_the_docstring_below_its_base() -> None:
    lines = (errors.__doc__ or "").splitlines()
    written: dict[str, str] = {}
    bases = ["NasError"]
    for line in lines[lines.index(next(line for line in lines if line.startswith("NasError"))) + 1 :]:
        if line.strip():
            depth = (len(line) - len(line.lstrip())) // 2
            name = line.split()[0]
            written[name] = bases[depth - 1]
            bases[depth:] = [name]
    assert written == tree()

"""Every module, file and name of this project that prose mentions in backticks exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("nas", "runners", "results", "search_space", "benchmarks")
TOP = "|".join((*PACKAGES, "tests", "docs"))
MENTION = re.compile(
    rf"`((?:{TOP})(?:/[\w./-]*|(?!\.(?:py|db)`)(?:\.\w+)+))`|(?<![\w/.`])((?:{TOP})(?:/[\w-]+)+\.(?:py|md))\b"
)
"""Paths and dotted names in backticks, and paths of files without them; not ``results.py``, which is a user's file."""
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")] + sorted((ROOT / "docs").glob("*.md"))


def docstrings(source: str) -> Iterator[str]:
    """All docstrings of a module, including those of constants."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield text


def exists(mention: str) -> bool:
    """Whether a path exists, or a dotted name leads to a module and, beyond it, to a name in its source."""
    if "/" in mention:
        return "NAME" in mention or (ROOT / mention).exists()
    parts = mention.split(".")
    for count in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:count])
        source = place.with_suffix(".py") if place.with_suffix(".py").exists() else place / "__init__.py"
        if source.exists():
            text = source.read_text()
            return all(re.search(rf"\b{name}\b", text) for name in parts[count:])
    return False


@pytest.mark.parametrize("mention", ["nas.nothing", "results.sharing", "runners/base.py", "runners.recipe.Recipes"])
def test_a_stale_mention_is_found(mention: str) -> None:
    assert not exists(mention)


@pytest.mark.parametrize("mention", ["runners.recipe.Recipe", "runners/recipe.py", "nas/study/", "search_space.build"])
def test_a_current_mention_passes(mention: str) -> None:
    assert exists(mention)


def test_all_names_in_docs_and_docstrings_exist() -> None:
    texts = [(page, page.read_text()) for page in PAGES]
    for package in (*PACKAGES, "tests"):
        for file in sorted((ROOT / package).rglob("*.py")):
            texts += [(file, text) for text in docstrings(file.read_text())]
    found = [(path, one or two) for path, text in texts for one, two in MENTION.findall(text)]
    assert len(found) > 100  # the pattern still matches
    assert [f"{path.relative_to(ROOT)}: {mention}" for path, mention in found if not exists(mention)] == []

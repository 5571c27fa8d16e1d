"""The source code that decides what a simulation delivers: everything that its module imports, directly and indirectly.

Results of simulations are cached under a digest of that code. A simulation does not import code that only scores or
shows results, so cached results survive changes to it.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("nas", "results", "runners", "search_space")
"""The packages whose imports are followed."""
LIBRARIES = ("numpy", "optuna", "scipy")
"""The libraries whose versions may change a decision."""


def code_digest(module: str, root: Path) -> str:
    """A hash of the sources of a module and of all modules that it imports, and of the versions of `LIBRARIES`.

    Args:
        module: Dotted name.
        root: The folder that holds `PACKAGES`.
    """
    digest = hashlib.sha256()
    for library in LIBRARIES:
        digest.update(f"{library} {version(library)}\n".encode())
    for name, path in sorted(imported(module, root).items()):
        source = path.read_bytes()
        digest.update(f"{name} {len(source)}\n".encode())
        digest.update(source)
    return digest.hexdigest()


def imported(module: str, root: Path) -> dict[str, Path]:
    """The files of a module and of all modules of `PACKAGES` that it imports, directly and indirectly, by name.

    Imports inside functions count, those for type checkers alone do not. A package counts with each of its modules.
    """
    found: dict[str, Path] = {}
    open_ends = [module]
    while open_ends:
        name = open_ends.pop()
        path = _file(name, root)
        if name in found or path is None:
            continue
        found[name] = path
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        open_ends += [name.rpartition(".")[0], *_imports(ast.parse(path.read_bytes()), package)]
    return found


def _file(name: str, root: Path) -> Path | None:
    """The file of a module; None if it is not one of `PACKAGES`' modules."""
    if name.partition(".")[0] not in PACKAGES:
        return None
    path = root.joinpath(*name.split("."))
    candidates = (path / "__init__.py", path.with_name(f"{path.name}.py"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _imports(node: ast.AST, package: str) -> Iterator[str]:
    """Names that may be modules: both ``a`` and ``a.b`` for ``from a import b``."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in {getattr(node.test, name, None) for name in ("id", "attr")}:
        for statement in node.orelse:
            yield from _imports(statement, package)
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:  # relative: one level is the package itself
            parents = package.split(".")
            base = ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [node.module])])
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.stmt, ast.excepthandler, ast.match_case)):  # an expression contains no import
            yield from _imports(child, package)

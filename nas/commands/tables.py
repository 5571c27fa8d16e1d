"""Figures and aligned columns for a terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence

from search_space.errors import escaped

GAP = 2
"""Spaces between columns."""


def table(rows: Sequence[Sequence[str]], left: int = 1) -> Iterator[str]:
    """Lines of aligned columns: the first `left` ones to the left, the others to the right.

    A row with a single cell is a separate line, and does not widen a column.
    """
    rows = [[escaped(cell) for cell in row] for row in rows]
    cells = [row for row in rows if len(row) > 1]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in rows:
        if len(row) == 1:
            yield row[0]
            continue
        padded = [
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield (" " * GAP).join(padded).rstrip()


def blocks(names: Sequence[str], figures: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of tables with `names` on the left, each with as many columns as fit the terminal.

    Args:
        names: The first column of every table.
        figures: The other columns. A blank line comes before each table.
    """
    room, block = columns() - max(map(len, names)), list[Sequence[str]]()
    for index, column in enumerate(figures):
        block.append(column)
        following = figures[index + 1 : index + 2]
        if not following or sum(max(map(len, one)) + GAP for one in [*block, *following]) > room:
            yield ""
            yield from table(list(zip(names, *block, strict=True)))
            block = []


def facts(pairs: Sequence[tuple[str, str]], indent: str = "  ") -> Iterator[str]:
    """Lines of names and aligned values; long ones are wrapped."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        yield from wrapped(value, f"{indent}{name:<{width}}  ")


def wrapped(text: str, start: str) -> list[str]:
    """`start` and `text` in lines that fit the terminal, the later ones indented to the beginning of `text`."""
    text, start = escaped(text), escaped(start)
    return textwrap.wrap(
        text, max(columns(), len(start) + 20), initial_indent=start, subsequent_indent=" " * len(start)
    )


def columns() -> int:
    """Width of the terminal in characters."""
    return shutil.get_terminal_size((100, 24)).columns


def format_number(value: float) -> str:
    """A number with three significant digits, or all digits before the point: ``0.123``, ``12.3``, ``1,234``."""
    for limit, digits in ((0.9995, 3), (9.995, 2), (99.95, 1)):
        if abs(value) < limit:
            return f"{value:.{digits}f}"
    return f"{value:,.0f}"


class Notes:
    """Shows the current step in one line on stderr, if that is a terminal."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()

    def __call__(self, text: str) -> None:
        if self._live:
            sys.stderr.write(f"\r\x1b[K{escaped(text)[: columns() - 1]}")
            sys.stderr.flush()

    def __enter__(self) -> Notes:
        return self

    def __exit__(self, *error: object) -> None:
        self("")

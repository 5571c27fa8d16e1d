"""Wraps the paragraphs and lists of the documentation at 100 columns; tables, code and drawings stay as they are.

python docs/wrap.py           wrap all pages
python docs/wrap.py --check   fail if a page is not wrapped
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (*sorted((ROOT / "docs").glob("*.md")), *(ROOT / f"{n}.md" for n in ("README", "CONTRIBUTING", "SECURITY")))
WIDTH = 100
_ITEM = re.compile(r"(?P<indent> *)(?P<mark>[-*]|\d+\.) +")
_KEPT = re.compile(r"\||#|<!--|!\[|    |> ")
"""Beginnings of lines that stay: tables, headings, comments, pictures, code, quotations."""
_CODE_SPAN = re.compile(r"`[^`]*`")


def wrap(text: str) -> str:
    """A page with its paragraphs wrapped."""
    return "\n".join(_lines(text.split("\n")))


def _lines(lines: list[str]) -> Iterator[str]:
    paragraph: list[str] = []
    fenced = in_list = False
    for line in lines:
        fence = line.lstrip().startswith("```")
        item = _ITEM.match(line)
        continues = in_list and line.startswith(" ") and line.strip() != ""
        kept = fenced or fence or not line.strip() or (_KEPT.match(line) and not item and not (continues and paragraph))
        if kept or item:
            yield from _wrapped(paragraph)
            paragraph = []
        if kept:
            yield line
        else:
            paragraph.append(line)
        fenced ^= fence
        if line.strip():
            in_list = bool(item) or (in_list and line.startswith(" "))
    yield from _wrapped(paragraph)


def _wrapped(paragraph: list[str]) -> Iterator[str]:
    """One paragraph or item of a list; a span of code is never broken."""
    if not paragraph:
        return
    item = _ITEM.match(paragraph[0])
    first = item.group() if item else re.match(" *", paragraph[0]).group()  # type: ignore[union-attr]
    rest = " " * len(first)
    text = " ".join(line.strip() for line in [paragraph[0][len(first) :], *paragraph[1:]])
    text = _CODE_SPAN.sub(lambda span: span.group().replace(" ", "\0"), text)
    for line in textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    ):
        yield line.replace("\0", " ")


if __name__ == "__main__":
    for page in PAGES:
        old = page.read_text(encoding="utf-8")
        if "--check" in sys.argv and wrap(old) != old:
            sys.exit(f"{page.name} has paragraphs that are not wrapped; wrap them with: python docs/wrap.py")
        page.write_text(wrap(old), encoding="utf-8")

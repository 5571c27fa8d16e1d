"""Scanning files once per command: a folder of images on a network drive may hold a million of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple


class Content(NamedTuple):
    """What a file contains.

    Attributes:
        digest: Digest of its bytes.
        state: Its size and time of change (ns), from before it was read.
    """

    digest: bytes
    state: tuple[int, int]


@dataclass
class Scanned:
    """What has been scanned, and is assumed not to change.

    Attributes:
        trees: Roots of the trees that were found to be current.
        contents: Contents of files by path.
    """

    trees: set[str] = field(default_factory=set)
    contents: dict[str, Content] = field(default_factory=dict)


_scanned: list[Scanned] = []


@contextmanager
def scanning_once() -> Iterator[None]:
    """While the body runs, this process scans every folder and file of images once.

    Files that change meanwhile are noticed by the next command. Worker processes do their own scans.
    """
    _scanned.append(Scanned())
    try:
        yield
    finally:
        _scanned.pop()


def scanned() -> Scanned:
    """What this command has scanned; outside `scanning_once`, always nothing."""
    return _scanned[-1] if _scanned else Scanned()

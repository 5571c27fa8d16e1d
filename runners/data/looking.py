"""Looking at files once a command: a folder of images on a network drive may hold a million of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Looked:
    """What has been looked at, and is taken to stay as it is.

    Attributes:
        trees: Roots of the trees that were found to be current.
        digests: Digests of files by path.
    """

    trees: set[str] = field(default_factory=set)
    digests: dict[str, bytes] = field(default_factory=dict)


_looked: list[Looked] = []


@contextmanager
def looking_once() -> Iterator[None]:
    """While the body runs, this process looks at every folder and file of images once.

    Files that change meanwhile are noticed by the next command. Worker processes look for themselves.
    """
    _looked.append(Looked())
    try:
        yield
    finally:
        _looked.pop()


def looked() -> Looked:
    """What this command has looked at; outside of `looking_once` nothing, every time."""
    return _looked[-1] if _looked else Looked()

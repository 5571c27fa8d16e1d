"""Folders of images on disk: what is an image, what is litter, and where links lead.

Folders are read on first use and once per process: the result is kept until one of the folders changes.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from runners.data.base import legible
from runners.data.scanning import scanned
from search_space.errors import DataError

_LITTER = frozenset(
    {
        "#recycle",
        "$recycle.bin",
        "@eadir",  # thumbnails on a Synology NAS
        "__macosx",  # resource forks in a ZIP file from macOS
        "desktop.ini",
        "ehthumbs.db",
        "lost+found",
        "system volume information",
        "thumbs.db",
    }
)
"""Names of files and folders that operating systems create, in lower case."""
_SETTLED_NS = 50_000_000
"""A folder that changed this shortly before it was read may change again with the same modification time."""
_DEEPEST = 64


@dataclass(frozen=True)
class Folder:
    """The direct content of a folder, without hidden files and litter.

    Attributes:
        images: Names of the files with an image suffix.
        folders: Names of its folders, and of links to folders.
        links: Which of these names are links.
        others: Number of other entries of each kind, such as ".txt file{s}".
        example: Path of one of these entries.
    """

    images: tuple[str, ...]
    folders: tuple[str, ...]
    links: frozenset[str]
    others: Counter[str]
    example: str | None


@dataclass
class Found:
    """The content below some folders.

    Attributes:
        images: Paths of the images below each folder, in order.
        others: Number of skipped entries of each kind.
        examples: Paths of some of them.
    """

    images: list[list[str]]
    others: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)


class Tree:
    """The folders below a root, including the targets of links.

    Args:
        root: Path of the root.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._real = os.path.realpath(root)
        self._folders: dict[str, Folder] = {}
        self._changed: dict[str, int] = {}
        self._began = time.time_ns()

    def folder(self, path: str) -> Folder:
        """The content of a folder.

        Raises:
            DataError: If it cannot be read.
        """
        real = os.path.realpath(path)
        if real not in self._folders:
            try:
                self._changed[real] = os.stat(real).st_mtime_ns
                self._folders[real] = _read(path)
            except OSError as error:
                raise DataError(f"the folder {legible(path)} cannot be read: {error.strerror}") from error
        return self._folders[real]

    def collect(self, folders: Sequence[str]) -> Found:
        """All images below some folders.

        A folder counts once, however many links lead to it, and at its own place rather than at a link's.
        """
        found = Found([[] for _ in folders])
        seen: set[str] = set()
        waiting = [(number, path) for number, path in enumerate(folders) if not self._is_linked(path)]
        linked = [(number, path) for number, path in enumerate(folders) if self._is_linked(path)]
        while waiting or linked:
            for number, path in waiting:
                linked += self._walk(number, path, found, seen)
            waiting, linked = sorted(linked), []
        for images in found.images:
            images.sort(key=lambda path: path.split(os.sep))
        return found

    def _walk(self, number: int, path: str, found: Found, seen: set[str]) -> list[tuple[int, str]]:
        """Collect a folder and those below it; returns the links to folders that were found."""
        real = os.path.realpath(path)
        holds_root = os.path.commonpath((real, self._real)) == real
        if real in seen or holds_root:
            found.others["link{s} to a folder that is already counted"] += 1
            found.examples.append(path)
            return []
        if path.count(os.sep) - self.root.count(os.sep) > _DEEPEST:
            raise DataError(f"{legible(path)} is nested more than {_DEEPEST} folders deep")
        seen.add(real)
        folder = self.folder(path)
        found.images[number] += [os.path.join(path, name) for name in folder.images]
        found.others += folder.others
        if folder.example is not None:
            found.examples.append(folder.example)
        links = []
        for name in folder.folders:
            below = os.path.join(path, name)
            links += [(number, below)] if name in folder.links else self._walk(number, below, found, seen)
        return links

    def _is_linked(self, path: str) -> bool:
        return os.path.realpath(path) != os.path.normpath(os.path.join(self._real, os.path.relpath(path, self.root)))

    def is_current(self) -> bool:
        """Whether no folder has changed since it was read."""
        try:
            return all(
                changed < self._began - _SETTLED_NS and os.stat(path).st_mtime_ns == changed
                for path, changed in self._changed.items()
            )
        except OSError:
            return False


_trees: dict[str, Tree] = {}


def read_tree(root: str) -> Tree:
    """The tree at a root: the one read before if nothing has changed since."""
    tree, seen = _trees.get(root), scanned().trees
    if tree is None or (root not in seen and not tree.is_current()):
        _trees.clear()  # keep one data set at a time; a large one has a million names
        tree = _trees[root] = Tree(root)
    seen.add(root)
    return tree


def _read(path: str) -> Folder:
    from runners.data.image_decoding import image_suffixes

    images, folders, links = [], [], []
    others: Counter[str] = Counter()
    example = None
    for entry in _visible(path):
        suffix = os.path.splitext(entry.name)[1].lower()
        kind = _kind(entry)
        if kind == "folder":
            folders.append(entry.name)
            if entry.is_symlink():
                links.append(entry.name)
        elif kind == "file" and suffix in image_suffixes():
            images.append(entry.name)
        else:
            named = f"{legible(suffix)} file{{s}}" if suffix else "file{s} without a suffix"
            others[named if kind == "file" else kind] += 1
            example = entry.path
    return Folder(tuple(images), tuple(folders), frozenset(links), others, example)


def _visible(path: str) -> list[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        kept = [entry for entry in entries if not (entry.name.startswith(".") or entry.name.lower() in _LITTER)]
    return sorted(kept, key=lambda entry: entry.name)


def _kind(entry: os.DirEntry[str]) -> str:
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
        nowhere = entry.is_symlink() and not os.path.exists(entry.path)
    except OSError:  # a link to itself
        nowhere = True
    return "broken link{s}" if nowhere else "special file{s} (pipe, socket, device)"

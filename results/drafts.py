"""Writes a file or folder beside its destination, and moves it there by one rename when it is complete.

A draft is a folder ``.NAME.KIND-xxxxxxxx`` beside the destination, locked by the process that writes it. A killed
process leaves it unlocked, and the next draft for the same destination deletes it. From a folder with such a name only
files that a draft may hold are deleted; if it holds anything else, it stays.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_TRIES = 10


@contextmanager
def draft(place: Path, kind: str, names: Collection[str]) -> Iterator[Path]:
    """A temporary folder beside a destination; leftovers of killed processes are deleted first.

    Args:
        place: The destination of the result.
        kind: The kind of result, for the name of the folder.
        names: The files that it may contain; ``*`` in a name stands for any text.

    Raises:
        OSError: If it cannot be created.
    """
    sweep(place, kind, names)
    folder, lock = _locked_folder(place, kind)
    try:
        yield folder
    finally:
        _remove(folder, names)
        os.close(lock)


def sweep(place: Path, kind: str, names: Collection[str]) -> None:
    """Delete the drafts that killed processes have left beside a destination; see `draft`."""
    pattern = re.compile(re.escape(f".{place.name}.{kind}-") + r"[0-9a-z_]{8}")
    with suppress(OSError):
        for folder in [path for path in place.parent.iterdir() if pattern.fullmatch(path.name)]:
            with suppress(OSError):  # another user's, or one in progress
                lock = _lock(folder)
                try:
                    _remove(folder, names)
                finally:
                    os.close(lock)


def put(made: Path, place: Path) -> None:
    """Move a result to its destination by one rename, after syncing it to disk.

    Args:
        made: A file, or a folder of files.
        place: The destination: nothing, an existing file for a file, or an empty folder for a folder.

    Raises:
        OSError: If that fails; nothing has changed in that case.
    """
    for path in (*made.iterdir(), made) if made.is_dir() else (made,):
        _sync(path)
    made.replace(place)
    with suppress(OSError):  # it is in place; not every file system can sync a folder
        _sync(place.parent)


def _locked_folder(place: Path, kind: str) -> tuple[Path, int]:
    for _ in range(_TRIES):
        folder = place.with_name(f".{place.name}.{kind}-{secrets.token_hex(4)}")
        folder.mkdir()
        try:
            lock = _lock(folder)
        except (
            BlockingIOError,
            FileNotFoundError,
        ):  # another process deleted it as abandoned before it was locked
            continue
        if folder.exists():
            return folder, lock
        os.close(lock)
    raise BlockingIOError(f"other processes delete the drafts beside {place}")


def _lock(folder: Path) -> int:
    """Lock an unlocked folder until the descriptor is closed or the process dies.

    Raises:
        OSError: If another process has locked it, or it cannot be locked.
    """
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock


def _remove(folder: Path, names: Collection[str]) -> None:
    """Delete a draft, unless it contains anything else."""
    with suppress(OSError):
        for name in names:
            for path in _matching(folder, name) if "*" in name else [folder / name]:
                path.unlink(missing_ok=True)
        folder.rmdir()


def _matching(folder: Path, name: str) -> list[Path]:
    """The files of a folder whose names are this one, ``*`` being any text."""
    pattern = ".*".join(map(re.escape, name.split("*")))
    return [path for path in folder.iterdir() if re.fullmatch(pattern, path.name)]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Making a file or folder beside its place, where one rename puts it when it is complete.

A draft is a folder ``.NAME.KIND-xxxxxxxx`` beside the place, locked by the process that makes it. A process that is
killed leaves it unlocked, and the next draft for the same place deletes it. Only files that a draft may hold are
deleted from a folder with such a name; if it holds anything else, it stays.
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
    """A temporary folder beside a place; what killed processes have left there is deleted first.

    Args:
        place: Where the result will be.
        kind: What is made, for the name of the folder.
        names: The files that may be in it; ``*`` in a name stands for any text.

    Raises:
        OSError: If it cannot be made.
    """
    sweep(place, kind, names)
    folder, lock = _locked_folder(place, kind)
    try:
        yield folder
    finally:
        _remove(folder, names)
        os.close(lock)


def sweep(place: Path, kind: str, names: Collection[str]) -> None:
    """Delete the drafts that killed processes have left beside a place; see `draft`."""
    pattern = re.compile(re.escape(f".{place.name}.{kind}-") + r"[0-9a-z_]{8}")
    with suppress(OSError):
        for folder in [path for path in place.parent.iterdir() if pattern.fullmatch(path.name)]:
            with suppress(OSError):  # another user's, or one that is being made
                lock = _lock(folder)
                try:
                    _remove(folder, names)
                finally:
                    os.close(lock)


def put(made: Path, place: Path) -> None:
    """Put a result in its place by one rename, once it is on the disk.

    Args:
        made: A file, or a folder of files.
        place: Where nothing is, or for a file another file, for a folder an empty one.

    Raises:
        OSError: If that fails; nothing has changed then.
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
        ):  # another process took it for an abandoned one before it was locked
            continue
        if folder.exists():
            return folder, lock
        os.close(lock)
    raise BlockingIOError(f"other processes delete what is made beside {place}")


def _lock(folder: Path) -> int:
    """Lock a folder that is not locked; it is free again once the descriptor is closed or the process is dead.

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
    """Delete a draft, unless something else is in it."""
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

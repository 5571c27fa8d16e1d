"""Digests of files: computed once, and kept until a file changes.

They are kept in one SQLite file in the data directory, by path and file metadata. It is only a cache: if it cannot be
read or written, the files are read again.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path

from runners.data.base import legible
from runners.data.scanning import Content, scanned
from search_space.errors import DataError
from search_space.units import format_bytes

NAME = "digests.sqlite"
ROUND = 8192
"""Number of files to read between two writes of their digests."""
WORTH_SAYING = 2**30
"""Number of bytes that take long enough to read for the user to be notified."""
GROUP = 16
"""Number of files that a thread reads at a time."""
WHOLE = 2**20
"""Files up to this size are read in one piece. In groups, 100,000 files of 41 KB take 6.3 s of CPU time; one by one,
with `hashlib.file_digest`, 9.6 s.
"""
_SETTLED_NS = 50_000_000
"""A file that changed this shortly before it was read may change again with the same modification time."""
_LENGTH = 16

_OUT_OF_REACH = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY}
)

State = tuple[int, int, int, int]
"""Size, mtime, ctime and inode number: these also differ between files that were swapped."""
_UNKNOWN = ((-1, -1, -1, -1), b"")


def file_contents(
    paths: Sequence[str], directory: Path, notify: Callable[[str], None] = lambda _: None
) -> list[Content]:
    """What each file contains.

    Args:
        paths: The files, as absolute paths.
        directory: Where digests are kept.
        notify: Called first with a sentence if there is much to read.

    Raises:
        DataError: If a file cannot be read, naming it.
    """
    known = scanned().contents
    new = [path for path in paths if path not in known]
    known.update(zip(new, _contents(new, directory, notify), strict=True))
    return [known[path] for path in paths]


def content_digests(
    paths: Sequence[str], directory: Path, notify: Callable[[str], None] = lambda _: None
) -> list[bytes]:
    """The first 16 bytes of each file's SHA-256; see `file_contents`."""
    return [content.digest for content in file_contents(paths, directory, notify)]


def _contents(paths: Sequence[str], directory: Path, notify: Callable[[str], None]) -> list[Content]:
    began = time.time_ns()
    keys = [os.fsencode(path) for path in paths]
    states = [_state(path) for path in paths]
    known = _load(directory / NAME, keys)
    found = [known.get(key, _UNKNOWN) for key in keys]
    digests = [digest for _, digest in found]
    stale = [index for index, (state, _) in enumerate(found) if state != states[index]]
    size = sum(states[index][0] for index in stale)
    if size >= WORTH_SAYING:
        notify(f"reading {len(stale):,} image files ({format_bytes(size)}) once, to recognise them later")
    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        for at in range(0, len(stale), ROUND):  # keep what was read even if the user stops it
            part = stale[at : at + ROUND]
            groups = [[paths[index] for index in part[start : start + GROUP]] for start in range(0, len(part), GROUP)]
            found_now = chain.from_iterable(pool.map(_digest_each, groups))
            for index, digest in zip(part, found_now, strict=True):
                digests[index] = digest
            settled = [index for index in part if max(states[index][1:3]) < began - _SETTLED_NS]
            _save(directory / NAME, [(keys[index], *states[index], digests[index]) for index in settled])
    return [Content(digest, state[:2]) for digest, state in zip(digests, states, strict=True)]


def _state(path: str) -> State:
    try:
        status = os.stat(path)
    except OSError as error:
        raise DataError(f"{legible(path)} cannot be read: {error.strerror}") from error
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino % 2**63


def _digest_each(paths: Sequence[str]) -> list[bytes]:
    return [_digest(path) for path in paths]


def _digest(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size <= WHOLE:
                return hashlib.sha256(file.read()).digest()[:_LENGTH]
            return hashlib.file_digest(file, "sha256").digest()[:_LENGTH]
    except OSError as error:
        raise DataError(f"{legible(path)} cannot be read: {error.strerror}") from error


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=60)
    try:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS digests (path BLOB PRIMARY KEY, size INTEGER, changed INTEGER, "
            "entry_changed INTEGER, number INTEGER, digest BLOB NOT NULL) WITHOUT ROWID"
        )
    except BaseException:
        connection.close()
        raise
    return connection


def _load(path: Path, keys: Sequence[bytes]) -> dict[bytes, tuple[State, bytes]]:
    """Known digests of files from the first to the last of these paths."""
    if not keys or not path.is_file():
        return {}
    try:
        with closing(_open(path)) as connection:
            if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise sqlite3.DatabaseError("it is damaged")
            rows = connection.execute("SELECT * FROM digests WHERE path BETWEEN ? AND ?", (min(keys), max(keys)))
            return {key: (tuple(state), digest) for key, *state, digest in rows if len(digest) == _LENGTH}
    except (sqlite3.Error, TypeError) as error:
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) not in _OUT_OF_REACH:  # it is damaged
            with suppress(OSError):
                path.unlink()
        return {}


def _save(path: Path, rows: Sequence[tuple[bytes | int, ...]]) -> None:
    if rows:
        with suppress(OSError, sqlite3.Error):
            path.parent.mkdir(parents=True, exist_ok=True)
            with closing(_open(path)) as connection, connection:
                connection.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?)", rows)

"""A SQLite file: opened for writing, or for reading if it is read-only, and checked for deletion or replacement."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from search_space.errors import StorageError

BUSY_TIMEOUT_S = 30
_LOGS = ("-wal", "-journal")
"""Files that SQLite keeps beside a database: transactions that are not in it yet, or a journal to undo the last one."""


class SqliteFile:
    """Opens connections to one file.

    Args:
        path: The file.
        create: Whether a missing file is created, and the file must be writable.

    Attributes:
        is_read_only: Whether the file or its folder cannot be written to.

    Raises:
        StorageError: If it does not exist and may not be created, or must be writable and is not.
    """

    def __init__(self, path: Path, *, create: bool) -> None:
        self._name, self._create = str(path), create
        self._path = Path(os.path.realpath(path))  # SQLite keeps its log beside the real file
        self._open_file: tuple[int, int] | None = None
        self._log: Path | None = None
        if not create:
            self._must_exist()
        places = [place for place in (self._path, self._path.parent) if _exists(place)]
        read_only = [place for place in places if not os.access(place, os.W_OK)]
        self.is_read_only = bool(read_only)
        if read_only and create:
            raise StorageError(
                f"the database {path} cannot be written: {read_only[0]} is read-only; choose another --out or --storage"
            )

    def connect(self, **options: Any) -> sqlite3.Connection:
        """Open the file.

        Args:
            **options: Options of `sqlite3.connect`.

        Raises:
            StorageError: If it was deleted since it was first opened, or replaced while this process was writing to it.
            sqlite3.Error: If SQLite cannot open it.
        """
        if not self._create:  # a reader sees the current file
            self._must_exist()
            self._open_file = None
        if self.is_read_only:
            return self._connect_to_read(options)
        self.check()
        first = self._open_file is None
        connection = _open(self._path, "rwc" if self._create and first else "rw", options)
        try:
            if first:
                self._open_file = _identity(self._path)
            self.check()
            if self._create and _keep_log(connection):
                self._log = self._path.with_name(f"{self._path.name}-wal")
            connection.execute("PRAGMA foreign_keys=ON")
        except BaseException:
            connection.close()
            raise
        return connection

    def check(self) -> None:
        """Check that the file at the path is the one that is open: SQLite keeps writing to a file that was moved.

        Raises:
            StorageError: If it is not.
        """
        if self._open_file is None:
            return
        found = _identity(self._path)
        if found is None:
            raise StorageError(
                f"the database {self._name} was deleted or moved while it was in use; "
                "to continue the moved study, name its new place with --out or --storage"
            )
        if found != self._open_file:
            raise StorageError(
                f"the database {self._name} was replaced by another file while it was in use; "
                "the same command continues with the new file"
            )

    def check_written(self) -> None:
        """Check that other processes can see what a transaction wrote: in the file, or in the log beside it.

        Raises:
            StorageError: If they cannot.
        """
        self.check()
        if self._log is not None and not _exists(self._log):
            raise StorageError(
                f"the log of the database, {self._log}, was deleted while it was in use; "
                "the same command continues with what was stored before"
            )

    def _must_exist(self) -> None:
        if not _exists(self._path):
            raise StorageError(
                f"there is no database at {self._name}; name another with --storage, or run a search first"
            )

    def _connect_to_read(self, options: dict[str, Any]) -> sqlite3.Connection:
        """Open a file that cannot be written to, including all transactions in a log beside it."""
        connection = _open(self._path, "ro", options)
        try:
            return _tried(connection)
        except sqlite3.OperationalError as error:  # SQLite cannot create an index of the log, or undo a transaction
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
                raise
        logs = [log for log in (self._path.with_name(self._path.name + end) for end in _LOGS) if _size(log)]
        if not logs:
            return _tried(_open(self._path, "ro&immutable=1", options))
        try:
            with tempfile.TemporaryDirectory(prefix="nas-database-") as folder:
                for file in (self._path, *logs):
                    shutil.copyfile(file, Path(folder, file.name))
                connection = _tried(_open(Path(folder, self._path.name), "rw", options))
        except OSError as error:  # the copy stays open whether or not it is deleted
            raise StorageError(
                f"the database {self._name} cannot be read: it is read-only and must be copied to a temporary "
                f"folder (TMPDIR): {error.strerror or error}"
            ) from None
        connection.execute("PRAGMA query_only=ON")
        return connection


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110 (never raises, whatever the path)


def _open(path: Path, mode: str, options: dict[str, Any]) -> sqlite3.Connection:
    connection: sqlite3.Connection = sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?mode={mode}", **{**options, "uri": True}
    )
    return connection


def _tried(connection: sqlite3.Connection) -> sqlite3.Connection:
    """The connection, after a successful read."""
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _keep_log(connection: sqlite3.Connection) -> bool:
    """Use write-ahead logging, so that readers (the dashboard) and the driver do not block each other.

    Returns:
        Whether the file system supports it.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
            return str(mode) == "wal"
        except sqlite3.OperationalError as error:  # SQLite does not wait for this by itself
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode number of the file at a path, which identify it; None if there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0

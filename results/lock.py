"""One driver a study: a lock that lives in the database, or beside it, and dies with its process."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from search_space.errors import StorageError, StudyError


@contextmanager
def driver_lock(engine: sa.Engine, study: str) -> Iterator[None]:
    """Hold the lock of a study: on PostgreSQL an advisory lock, else a locked file beside the SQLite database.

    Raises:
        StudyError: If another process holds it.
        StorageError: If the lock file cannot be written.
    """
    if engine.url.get_backend_name() == "postgresql":
        with _advisory_lock(engine, study):
            yield
    else:
        with _file_lock(Path(f"{engine.url.database}.{study}.lock"), study):
            yield


@contextmanager
def _advisory_lock(engine: sa.Engine, study: str) -> Iterator[None]:
    number = int.from_bytes(hashlib.sha256(f"nas study {study}".encode()).digest()[:8], "big", signed=True)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.scalar(sa.select(sa.func.pg_try_advisory_lock(number))):
            raise _taken(study, "another process")
        try:
            yield
        finally:
            connection.execute(sa.select(sa.func.pg_advisory_unlock(number)))


@contextmanager
def _file_lock(path: Path, study: str) -> Iterator[None]:
    try:
        file = path.open("a+")
    except OSError as error:
        raise StorageError(f"the lock {path} cannot be written: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise _taken(study, f"process {file.read().strip() or 'of another user'}") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield  # the file stays: deleting it would let two processes lock two files of one name


def _taken(study: str, by: str) -> StudyError:
    return StudyError(f"the study {study!r} is being searched by {by} already; wait, stop it, or name another --study")

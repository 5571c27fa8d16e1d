"""One driver per study on SQLite: a locked file beside the database, which is released when its process dies.

On PostgreSQL several processes may drive a study, each with a lease (`results.store.lease`).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from results.database.names import file_name
from search_space.errors import StorageError, StudyError


@contextmanager
def driver_lock(database: Path, study: str) -> Iterator[None]:
    """Hold the lock of a study in a SQLite database.

    Args:
        database: Its file with links resolved, so that every path leads to the same lock.
        study: Name of the study.

    Raises:
        StudyError: If another process holds it.
        StorageError: If the lock file cannot be written, or the name cannot be the name of a file.
    """
    path = database.with_name(f"{database.name}.{file_name(study, 'study')}.lock")
    try:
        file = path.open("a+b", buffering=0)  # unbuffered, so that closing does not repeat a failed write
    except OSError as error:
        raise StorageError(f"the lock {path} cannot be written: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            by = file.read().decode("ascii", "replace").strip() or "of another user"
            raise StudyError(
                f"the study {study!r} is already being searched by process {by}; wait, stop it, or name another "
                "--study (several processes may share one on PostgreSQL)"
            ) from None
        try:
            file.truncate(0)
            file.write(str(os.getpid()).encode())
        except OSError as error:
            raise StorageError(f"the lock {path} cannot be written: {error.strerror}") from None
        yield  # the file stays: if it were deleted, two processes could lock two files of the same name

"""Files that are written completely or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runners.remote import Location, RemoteFile
from search_space.units import format_bytes


class FileFailure(OSError):
    """A file that could not be written or read; the text says which, why, and how much space is free."""


def write_atomically(path: Location, content: bytes) -> None:
    """Write a file so that no reader ever sees half of it; creates its folder if necessary.

    It is synced to disk before it is renamed: after a crash of the machine either the old or the new file is there.

    Raises:
        FileFailure: If it cannot be written; an existing file is unchanged.
    """
    try:
        if isinstance(path, RemoteFile):
            path.write_bytes(content)
        else:
            _write(path, content)
    except OSError as error:
        raise FileFailure(_why_not_written(path, len(content), error)) from error


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with unfinished.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        with suppress(OSError):  # report the first error
            unfinished.unlink(missing_ok=True)
        raise


@contextmanager
def local_copy(path: Location) -> Iterator[Path]:
    """A local path of the file, for code that reads only local files; a remote file is downloaded temporarily.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    if isinstance(path, Path):
        yield path
        return
    content = path.read_bytes()
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        yield Path(file.name)


def _why_not_written(path: Location, size: int, error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    sentence = f"{path} cannot be written: {reason}; it takes {format_bytes(size)}"
    if isinstance(path, RemoteFile):
        return sentence
    folder = next((parent for parent in path.absolute().parents if parent.is_dir()), Path("/"))
    try:
        return f"{sentence}, and {format_bytes(shutil.disk_usage(folder).free)} are free there"
    except OSError:
        return sentence

"""Standard output and error of the command line: a failure to write is an `OutputError`, raised once."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

from search_space.errors import OutputError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Guarded(io.RawIOBase):
    """An open file that ignores all output after its first failure, so that nothing fails again at exit."""

    def __init__(self, number: int, name: str) -> None:
        self._number, self.name = number, name

    def write(self, data: ReadableBuffer, /) -> int | None:
        try:
            return os.write(self._number, data)
        except BlockingIOError:
            return None
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._number)
            os.close(nowhere)
            reason = error.strerror or str(error)
            message = f"standard {self.name} cannot be written to: {reason}"
            raise OutputError(message, reader_gone=isinstance(error, BrokenPipeError)) from None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)


def guard_streams() -> None:
    """Make standard output and error raise OutputError if they cannot be written to; closed ones ignore all output.

    A character that the terminal cannot show becomes a question mark.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # otherwise the next file to be opened, perhaps a database, would get this number
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = _guarded(sys.stdout, sys.__stdout__, 1, "output")
    sys.stderr = _guarded(sys.stderr, sys.__stderr__, 2, "error")


def _guarded(stream: TextIO | None, original: TextIO | None, number: int, name: str) -> TextIO:
    if stream is not None and stream is not original:  # captured within this process
        return stream
    if stream is not None:
        stream.flush()
    raw = _Guarded(number, name)
    encoding = "utf-8" if stream is None else stream.encoding
    by_lines = raw.isatty() or name == "error"
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors="replace", line_buffering=by_lines)

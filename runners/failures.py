"""What an unexpected exception of an evaluation means."""

from __future__ import annotations

import traceback

import torch

from runners.base import Cause
from search_space.errors import DataError

LAST_LINES = 6
"""Lines of a traceback that go into the message: the innermost frames and the error itself."""
_CPU_ALLOCATOR = "can't allocate memory"
"""What torch says, as a plain RuntimeError, when the CPU allocator fails."""


def classify(error: Exception) -> tuple[Cause, str]:
    """The cause of a failure, and what a person should know about it.

    Only what certainly lies in the architecture or the data is called so; everything else is a bug.
    """
    if isinstance(error, DataError):
        return Cause.DATA, str(error)
    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)) or _CPU_ALLOCATOR in str(error):
        first_line = (str(error).splitlines() or [""])[0]
        return Cause.OUT_OF_MEMORY, f"out of memory: {first_line}".rstrip(": ")
    lines = "".join(traceback.format_exception(error)).rstrip().splitlines()
    return Cause.BUG, f"{type(error).__name__}: {error}\n" + "\n".join(lines[-LAST_LINES:])

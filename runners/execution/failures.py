"""Classifies unexpected exceptions of an evaluation."""

from __future__ import annotations

import traceback

from runners.execution.deadline import OutOfTime
from runners.files import FileFailure
from runners.protocol import Cause
from search_space.errors import DataError, WeightsError

LAST_LINES = 6
"""Traceback lines in the message: the innermost frames and the error itself. Arbitrary."""
_ALLOCATORS = (
    "can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "MPS backend out of memory",
)
"""Texts of torch's plain RuntimeErrors when an allocator other than its own for CUDA fails; the first is the CPU's."""


def classify(error: Exception) -> tuple[Cause, str]:
    """The cause of a failure, and the message to show for it.

    Only a failure that is certainly due to the architecture, the data or the files gets a specific cause; everything
    else is a bug.
    """
    if isinstance(error, DataError):
        return Cause.DATA, str(error)
    if isinstance(error, WeightsError):
        return Cause.WEIGHTS, str(error)
    if isinstance(error, FileFailure):
        return Cause.STORAGE, str(error)
    if isinstance(error, OutOfTime):
        return Cause.TIMEOUT, str(error)
    if is_out_of_memory(error):
        return Cause.OUT_OF_MEMORY, f"out of memory: {first_line(error)}".rstrip(": ")
    lines = "".join(traceback.format_exception(error)).rstrip().splitlines()
    return Cause.BUG, f"{type(error).__name__}: {error}\n" + "\n".join(lines[-LAST_LINES:])


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, on a device or in this process."""
    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    # Check for torch.OutOfMemoryError by name, so that classifying errors does not load torch.
    by_torch = any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)
    return by_torch or any(words in str(error) for words in _ALLOCATORS)


def first_line(error: Exception) -> str:
    """The first line of an error's text; torch's have many."""
    return (str(error).splitlines() or [""])[0]

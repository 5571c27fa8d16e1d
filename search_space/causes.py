"""Why an evaluation failed, and what that means: the words that runners, the search and the database share.

They stand here because `runners` and `results` do not import each other.
"""

from __future__ import annotations

import enum


class Cause(enum.StrEnum):
    """Why an evaluation failed."""

    DIVERGED = "diverged"  # the loss became NaN or infinite
    OUT_OF_MEMORY = "out_of_memory"
    TOO_SLOW = "too_slow"  # slower than the limit on latency; nothing was trained
    TIMEOUT = "timeout"  # one attempt at its training took longer than the limit
    DATA = "data"  # the data set could not be read
    STORAGE = "storage"  # a checkpoint or weights could not be written or read: the disk is full, for example
    WEIGHTS = "weights"  # the weights that were to be tested are missing or damaged
    BUG = "bug"  # an unexpected exception, of this program or of a plug-in
    WORKER_LOST = "worker_lost"  # its process died, and so did its retries
    NODE_LOST = "node_lost"  # the machine went away with all that it ran; this is retried without limit


INFEASIBLE_CAUSES = frozenset({Cause.DIVERGED, Cause.OUT_OF_MEMORY, Cause.TOO_SLOW, Cause.TIMEOUT})
"""Causes that lie in the architecture: a retry would end the same way."""


def counts_towards_budget(cause: str | None) -> bool:
    """Whether a trial counts as one of the `--budget`: every one does, unless it was rejected for its latency.

    Args:
        cause: Why it failed; None if it did not.
    """
    return cause != Cause.TOO_SLOW

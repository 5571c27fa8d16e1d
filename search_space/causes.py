"""Why an evaluation failed, and what follows from it: the causes that runners, the search and the database share.

They are defined here because `runners` and `results` do not import each other.
"""

from __future__ import annotations

import enum


class Cause(enum.StrEnum):
    """Why an evaluation failed."""

    DIVERGED = "diverged"  # the loss became NaN or infinite
    OUT_OF_MEMORY = "out_of_memory"
    TOO_SLOW = "too_slow"  # slower than the latency limit; not trained
    TIMEOUT = "timeout"  # one attempt to train it exceeded the time limit
    DATA = "data"  # the data set could not be read
    STORAGE = "storage"  # a checkpoint or weights could not be written or read, for example because the disk is full
    WEIGHTS = "weights"  # the weights to be tested are missing or damaged
    BUG = "bug"  # an unexpected exception, of this program or of a plug-in
    WORKER_LOST = "worker_lost"  # its process died, and so did every retry
    NODE_LOST = "node_lost"  # its machine was lost with everything running there; this is retried without limit


INFEASIBLE_CAUSES = frozenset({Cause.DIVERGED, Cause.OUT_OF_MEMORY, Cause.TOO_SLOW, Cause.TIMEOUT})
"""Causes in the architecture itself: a retry would end the same way."""


def counts_towards_budget(cause: str | None) -> bool:
    """Whether a trial counts towards `--budget`: every one does, unless it was rejected for its latency.

    Args:
        cause: Why it failed; None if it did not.
    """
    return cause != Cause.TOO_SLOW

"""When a training ends before its last epoch."""

from __future__ import annotations

from collections.abc import Sequence

from runners.protocol import EpochResult


def has_stalled(curve: Sequence[EpochResult], patience: int) -> bool:
    """Whether the last `patience` epochs brought no better validation NLL; 0 to never end early.

    Only the curve decides, so a training that is resumed ends at the same epoch. The model and its figures are those of
    the last epoch: choosing the best epoch would make its validation figures look better than they are.
    """
    if not 0 < patience < len(curve):
        return False
    nlls = [epoch.nll for epoch in curve]
    return min(nlls[-patience:]) >= min(nlls[:-patience])

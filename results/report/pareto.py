"""Dominance between points for which less is better in every coordinate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def dominates(left: Sequence[float], right: Sequence[float]) -> bool:
    """Whether `left` is at least as good as `right` everywhere, and better somewhere."""
    return all(a <= b for a, b in zip(left, right, strict=True)) and tuple(left) != tuple(right)


def domination_counts(points: Sequence[Sequence[float]]) -> list[int]:
    """The number of points that dominate each point."""
    table = np.array(points, dtype=float)
    return [int(((table <= point).all(axis=1) & (table < point).any(axis=1)).sum()) for point in table]


def pareto_front(points: Sequence[Sequence[float]]) -> list[int]:
    """Indices of the points that no other point dominates, in order."""
    return [index for index, count in enumerate(domination_counts(points)) if not count]

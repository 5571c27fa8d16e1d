"""The share of the space of trade-offs that a Pareto front dominates, up to a reference point fixed in advance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from results.database.objectives import OBJECTIVES
from search_space.space import Limits, SearchSpace


@dataclass(frozen=True)
class Hypervolume:
    """The dominated share of the box between the reference point and the ideal one.

    Attributes:
        value: 0 to 1; comparable between studies with the same reference.
        reference: The worst corner of the box, by objective.
        ideal: The best corner, by objective.
    """

    value: float
    reference: Mapping[str, float]
    ideal: Mapping[str, float]


def reference_point(
    objectives: Sequence[str], space: SearchSpace, limits: Limits, max_latency_ms: float | None
) -> dict[str, float] | None:
    """The reference point of a study, known before its first trial.

    Every objective defines its coordinate: for quality that of guessing, for cost its limit or else the maximum in the
    space. A latency without a limit has no reference.

    Returns:
        The reference by objective; None if one of them has none, or with a single objective.
    """
    if len(objectives) < 2:
        return None
    by_setting = {**limits._asdict(), "max_latency_ms": max_latency_ms}
    found: dict[str, float] = {}
    for name in objectives:
        worst = OBJECTIVES.find(name).reference(space, by_setting)
        if worst is None:
            return None
        found[name] = worst
    return found


def hypervolume(points: Sequence[Mapping[str, float]], reference: Mapping[str, float]) -> Hypervolume:
    """The hypervolume of points, each with a value for every objective of the reference.

    Points that are worse than the reference in any objective add nothing.
    """
    import numpy as np

    from results.optuna_private import compute_hypervolume  # loads Optuna

    ideal = {name: OBJECTIVES.find(name).ideal for name in reference}
    scaled = [
        [(point[name] - ideal[name]) / (worst - ideal[name]) for name, worst in reference.items()] for point in points
    ]
    inside = [losses for losses in scaled if max(losses) <= 1]
    corner = np.ones(len(reference))
    value = compute_hypervolume(np.array(inside).reshape(len(inside), len(reference)), corner)
    return Hypervolume(float(value), dict(reference), ideal)

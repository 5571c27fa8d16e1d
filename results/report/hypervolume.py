"""How much of what could be traded off a set of points dominates, up to a reference point that no result moves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search_space.space import Limits, SearchSpace

IDEAL = {"nll": 0.0, "accuracy": 1.0, "params": 0.0, "macs": 0.0, "latency": 0.0}
"""What no architecture is better than."""


@dataclass(frozen=True)
class Hypervolume:
    """The dominated share of the box between the reference point and the ideal one.

    Attributes:
        value: 0 to 1; studies with the same reference can be compared by it.
        reference: The worst corner of the box, by objective.
        ideal: The best one.
    """

    value: float
    reference: Mapping[str, float]
    ideal: Mapping[str, float]


def reference_point(
    objectives: Sequence[str], space: SearchSpace, limits: Limits, max_latency_ms: float | None
) -> dict[str, float] | None:
    """The reference point of a study, known before its first trial.

    Quality is referred to guessing (an NLL of ln(classes), an accuracy of 1/classes), cost to its limit, else to the
    most that the space has. A latency without a limit has no such reference: any that came from measurements would move
    with the results and the machine.

    Returns:
        The reference by objective; None where a latency has none, or with a single objective.
    """
    if len(objectives) < 2 or ("latency" in objectives and max_latency_ms is None):
        return None
    known = {
        "nll": math.log(space.classes),
        "accuracy": 1 / space.classes,
        "params": limits.max_params,
        "macs": limits.max_macs,
        "latency": max_latency_ms,
    }
    if any(known[name] is None for name in objectives):
        known |= {name: most for name, most in space.cost_range()[1]._asdict().items() if known[name] is None}
    return {name: float(value) for name in objectives if (value := known[name]) is not None}


def hypervolume(points: Sequence[Mapping[str, float]], reference: Mapping[str, float]) -> Hypervolume:
    """The hypervolume of points, each with a value for every objective of the reference.

    Points that are worse than the reference in some objective add nothing.
    """
    import numpy as np
    from optuna._hypervolume import compute_hypervolume

    ideal = {name: IDEAL[name] for name in reference}
    scaled = [
        [(point[name] - ideal[name]) / (worst - ideal[name]) for name, worst in reference.items()] for point in points
    ]
    inside = [losses for losses in scaled if max(losses) <= 1]
    corner = np.ones(len(reference))
    value = compute_hypervolume(np.array(inside).reshape(len(inside), len(reference)), corner)
    return Hypervolume(float(value), dict(reference), ideal)

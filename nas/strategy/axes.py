"""The axes of a search space as parameters of an Optuna study."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from optuna import Trial
from optuna.distributions import BaseDistribution

from results.database.optuna_tables import distribution
from search_space.architecture import Architecture
from search_space.space import Limits, SearchSpace


def distributions_of(space: SearchSpace) -> dict[str, BaseDistribution]:
    """How Optuna sees the axes of a space, those of stages that an architecture may lack included."""
    return {axis.name: distribution(axis) for axis in space.axes}


def suggest(trial: Trial, space: SearchSpace, limits: Limits | None = None) -> Architecture:
    """Return the architecture that a trial of an Optuna study evaluates, for use in an objective function.

    Args:
        trial: A trial of a study with any sampler.
        space: The search space, each axis of which becomes a parameter.
        limits: Limits on cost. A choice that breaks a rule of the space or exceeds a limit is replaced by the nearest
            one that does not.
    """
    wish: dict[str, Any] = {}
    for axis in space.axes:
        if axis.step is None:
            wish[axis.name] = trial.suggest_categorical(axis.name, axis.values)
        else:
            numbers = [value for value in axis.values if isinstance(value, int)]
            wish[axis.name] = trial.suggest_int(axis.name, min(numbers), max(numbers), step=axis.step)
    return architecture_of(wish, trial.number, space, limits)


def architecture_of(
    params: Mapping[str, Any], number: int, space: SearchSpace, limits: Limits | None = None
) -> Architecture:
    """The architecture nearest to the parameters of trial `number`; axes without a parameter are ignored."""
    wish = {axis.name: params.get(axis.name, axis.values[0]) for axis in space.axes}
    return space.complete(wish, random.Random(number), limits)

"""Optuna samplers over the axes of a search space."""

from nas.strategy.samplers import builtin as builtin  # so that its samplers are registered

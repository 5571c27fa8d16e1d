"""Optuna's samplers, with every setting that matters made explicit."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

from search_space.errors import ConfigError, allowed

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

    from search_space.space import Limits, SearchSpace

SAMPLERS = ("tpe", "random", "nsgaii", "cmaes", "gp", "evolution", "local")
STARTUP_TRIALS = 20
"""Random trials before a model is trusted."""


def make_sampler(
    name: str,
    space: SearchSpace,
    distributions: Mapping[str, BaseDistribution],
    limits: Limits,
    *,
    seed: int,
) -> BaseSampler:
    """The sampler of this name.

    Samplers propose a value on every axis of the space, those of absent stages included: with a fixed set of axes the
    models behind TPE, CMA-ES and GP cover all of them jointly.

    Raises:
        ConfigError: If there is no such sampler.
    """
    from optuna import samplers
    from optuna.exceptions import ExperimentalWarning

    from nas.strategy.samplers.evolution import RegularizedEvolutionSampler
    from nas.strategy.samplers.local_search import LocalSearchSampler

    seed %= 2**32  # NumPy takes no larger ones
    if name == "random":
        return samplers.RandomSampler(seed=seed)
    if name == "tpe":
        # Multivariate has to be explicit: with several objectives Optuna 5 would fall back to independent TPE.
        return samplers.TPESampler(
            n_startup_trials=STARTUP_TRIALS, n_ei_candidates=24, multivariate=True, constant_liar=True, seed=seed
        )
    if name == "nsgaii":
        return samplers.NSGAIISampler(population_size=24, seed=seed)
    if name == "gp":
        return samplers.GPSampler(
            n_startup_trials=STARTUP_TRIALS, deterministic_objective=False, warn_independent_sampling=False, seed=seed
        )
    if name == "evolution":
        return RegularizedEvolutionSampler(space, distributions, limits, seed=seed)
    if name == "local":
        return LocalSearchSampler(space, distributions, limits, seed=seed)
    if name == "cmaes":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            # It models the ordered axes (width, depths) and leaves the others random; pruned trials count by the
            # value they were stopped at, else it would learn from the few complete ones alone.
            return samplers.CmaEsSampler(
                n_startup_trials=STARTUP_TRIALS, consider_pruned_trials=True, warn_independent_sampling=False, seed=seed
            )
    raise ConfigError(f"the sampler is {name!r}; {allowed(name, SAMPLERS)}")

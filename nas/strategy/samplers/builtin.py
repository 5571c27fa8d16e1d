"""The built-in samplers: our own, and Optuna's with every setting that matters made explicit.

Names are registered without loading Optuna: each function imports what it makes when it is called.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from nas.strategy.samplers.registry import SamplerSettings, register_sampler

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

STARTUP_TRIALS = 20
"""Random trials before TPE, CMA-ES and GP sampling begin. Arbitrary: twice Optuna's default for TPE, as the spaces have
about twenty axes."""


@register_sampler("surrogate")
def _surrogate(settings: SamplerSettings) -> BaseSampler:
    from nas.strategy.samplers.surrogate import SurrogateSampler  # imports Optuna

    return SurrogateSampler(settings.space, settings.limits, seed=settings.seed)


@register_sampler("tpe")
def _tpe(settings: SamplerSettings) -> BaseSampler:
    from optuna.samplers import TPESampler

    # Multivariate has to be explicit: with several objectives Optuna 5 would fall back to independent TPE.
    return TPESampler(
        n_startup_trials=STARTUP_TRIALS, n_ei_candidates=24, multivariate=True, constant_liar=True, seed=settings.seed
    )


@register_sampler("random")
def _random(settings: SamplerSettings) -> BaseSampler:
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=settings.seed)


@register_sampler("nsgaii")
def _nsgaii(settings: SamplerSettings) -> BaseSampler:
    from optuna.samplers import NSGAIISampler

    # Arbitrary: half of Optuna's default, which would leave most searches in the first generation.
    return NSGAIISampler(population_size=24, seed=settings.seed)


@register_sampler("cmaes", several_objectives=False)
def _cmaes(settings: SamplerSettings) -> BaseSampler:
    from optuna.exceptions import ExperimentalWarning
    from optuna.samplers import CmaEsSampler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        # It models the ordered axes (width, depths) and leaves the others random; pruned trials count with the value
        # they were stopped at; otherwise it would learn from the few complete ones alone.
        return CmaEsSampler(
            n_startup_trials=STARTUP_TRIALS,
            consider_pruned_trials=True,
            warn_independent_sampling=False,
            seed=settings.seed,
        )


@register_sampler("gp")
def _gp(settings: SamplerSettings) -> BaseSampler:
    from optuna.samplers import GPSampler

    return GPSampler(
        n_startup_trials=STARTUP_TRIALS,
        deterministic_objective=False,
        warn_independent_sampling=False,
        seed=settings.seed,
    )


@register_sampler("evolution")
def _evolution(settings: SamplerSettings) -> BaseSampler:
    from nas.strategy.samplers.evolution import RegularizedEvolutionSampler  # imports Optuna

    return RegularizedEvolutionSampler(settings.space, settings.distributions, settings.limits, seed=settings.seed)


@register_sampler("local")
def _local(settings: SamplerSettings) -> BaseSampler:
    from nas.strategy.samplers.local_search import LocalSearchSampler  # imports Optuna

    return LocalSearchSampler(settings.space, settings.distributions, settings.limits, seed=settings.seed)

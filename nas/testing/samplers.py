"""The promises of a sampler, on any Optuna study over the axes of a search space."""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from unittest import SkipTest

from nas.strategy.samplers.registry import SamplerEntry, find_sampler, make_sampler
from search_space.contract import Contract, holds
from search_space.space.space import SearchSpace, load_space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

PROPOSALS = 24
"""Number of proposals: more than the random trials with which model-based samplers begin."""
FEW = 12
"""Number of proposals with several objectives, where a step of a Gaussian process may take a minute."""
LARGEST_SEED = 2**63 - 1
Point = Mapping[str, Any]


class SamplerContract(Contract):
    """A sampler proposes points of a search space, from its seed and the results alone."""

    def test_it_is_an_optuna_sampler(self, name: str) -> None:
        """It is an `optuna.samplers.BaseSampler`."""
        from optuna.samplers import BaseSampler

        made = _make(name)
        holds(isinstance(made, BaseSampler), f"it makes a {type(made).__name__}")

    def test_proposals_are_points_of_the_space(self, name: str) -> None:
        """Every proposal has a value for each axis, however trials end."""
        axes = {axis.name: axis.values for axis in _space().axes}
        for point in _once(name, find_sampler(name)):
            holds(set(point) == set(axes), f"it proposes values for {sorted(point)}")
            for axis, value in point.items():
                holds(value in axes[axis], f"it proposes {value!r} for {axis}; allowed: {axes[axis]}")

    def test_equal_seeds_give_equal_proposals(self, name: str) -> None:
        """Equal seeds and results give equal proposals."""
        holds(
            _proposals(name) == _once(name, find_sampler(name)),
            "with the same seed and results, it proposes something else",
        )

    def test_every_seed_of_a_search_is_taken(self, name: str) -> None:
        """It accepts every seed that a search may have."""
        holds(_proposals(name, count=1, seed=LARGEST_SEED), "it proposes nothing")

    def test_several_objectives(self, name: str) -> None:
        """It handles several objectives, unless it is registered for one objective."""
        if not find_sampler(name).several_objectives:
            raise SkipTest("it is registered for one objective")
        holds(len(_proposals(name, objectives=2, count=FEW)) == FEW, "it stops proposing")


@lru_cache(maxsize=1)
def _space() -> SearchSpace:
    return load_space("mlp_family", image_size=8, in_channels=1, classes=10)


def _make(name: str, seed: int = 0) -> BaseSampler:
    from results.database.optuna_tables import distribution  # imports Optuna

    space = _space()
    return make_sampler(name, space, {axis.name: distribution(axis) for axis in space.axes}, space.limits, seed=seed)


@lru_cache
def _once(name: str, entry: SamplerEntry) -> list[Point]:
    """What a sampler proposes, asked for once for all promises; another one may be registered by its name later."""
    return _proposals(name)


def _proposals(name: str, objectives: int = 1, count: int = PROPOSALS, seed: int = 0) -> list[Point]:
    """Its proposals while some trials are pruned, fail or are still running.

    As in a search, a proposal that breaks a rule of the space is reported as failed, and the nearest architecture that
    does not break one is trained.
    """
    import optuna
    from optuna.trial import TrialState, create_trial

    from results.database.optuna_tables import distribution

    space, rng, found = _space(), random.Random(0), list[Point]()
    distributions = {axis.name: distribution(axis) for axis in space.axes}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of samplers that Optuna calls experimental
        study = optuna.create_study(directions=["minimize"] * objectives, sampler=_make(name, seed))
        for number in range(count):
            trial = study.ask(distributions)
            found.append(dict(trial.params))
            if number % 7 == 6:  # still running
                continue
            study.tell(trial, state=TrialState.FAIL)
            architecture = space.complete(trial.params, rng, space.limits)
            params, loss = {**trial.params, **space.encode(architecture)}, architecture.params / 10_000
            pruned = number % 3 == 2 and objectives == 1
            study.add_trial(
                create_trial(
                    state=TrialState.PRUNED if pruned else TrialState.COMPLETE,
                    params=params,
                    distributions=distributions,
                    values=None if pruned else [loss, -loss][:objectives],
                    intermediate_values={1: loss} if pruned else None,
                )
            )
    return found

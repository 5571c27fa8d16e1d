"""Regularised evolution: what is alive, what becomes the parent, and that children are neighbours."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from nas.strategy.samplers.evolution import RegularizedEvolutionSampler
from results.database.optuna_tables import distribution
from search_space import Architecture
from search_space.space import Limits


@pytest.fixture
def distributions(space) -> dict[str, Any]:
    return {axis.name: distribution(axis) for axis in space.axes}


@pytest.fixture
def architectures(space) -> list[Architecture]:
    """Ten architectures no two of which have a neighbour in common, so that a child tells its parent."""
    rng, found, taken = random.Random(0), list[Architecture](), set[Architecture]()
    while len(found) < 10:
        architecture = space.sample(rng)
        around = {architecture, *space.neighbours(architecture)}
        if taken.isdisjoint(around):
            found.append(architecture)
            taken |= around
    return found


@pytest.fixture
def children(space, distributions, architectures) -> Callable[..., list[Architecture]]:
    """Children that the sampler proposes after trials with these losses; a pair is a state and a loss."""

    def make(
        losses: Sequence[Any], directions: Sequence[str] = ("minimize",), count: int = 6, **options: Any
    ) -> list[Architecture]:
        sampler = RegularizedEvolutionSampler(
            space, distributions, options.pop("limits", Limits()), seed=options.pop("seed", 0), **options
        )
        study = optuna.create_study(sampler=sampler, directions=list(directions))
        inactive = {axis.name: axis.values[0] for axis in space.axes}
        for architecture, loss in zip(architectures, losses, strict=False):
            params = {**inactive, **space.encode(architecture)}
            values = list(loss) if isinstance(loss, list) else [loss]
            if isinstance(loss, tuple):
                trial = create_trial(
                    state=loss[0],
                    params=params,
                    distributions=distributions,
                    intermediate_values={} if loss[1] is None else {2: loss[1]},
                )
            else:
                trial = create_trial(values=values, params=params, distributions=distributions)
            study.add_trial(trial)
        return [space.decode(study.ask(distributions).params) for _ in range(count)]

    return make


def parents(space, architectures: list[Architecture], found: list[Architecture]) -> set[int | None]:
    """The parents of these children."""
    around = [set(space.neighbours(architecture)) for architecture in architectures]
    return {next((n for n, neighbours in enumerate(around) if child in neighbours), None) for child in found}


def test_children_are_neighbours_of_the_best(space, architectures, children):
    # With a tournament of the whole population the parent is certain.
    found = children([3.0, 1.0, 2.0, 4.0], population=4, tournament=4)
    assert parents(space, architectures, found) == {1}
    assert len(set(found)) > 1


def test_the_old_die_however_good_they_are(space, architectures, children):
    found = children([0.0, 0.0, 3.0, 1.0, 2.0, 4.0], population=4, tournament=4)
    assert parents(space, architectures, found) == {3}


def test_a_tournament_of_one_takes_any_of_the_living(space, architectures, children):
    found = children([0.0, 0.0, 1.0, 2.0, 3.0], population=3, tournament=1, count=40)
    assert parents(space, architectures, found) == {2, 3, 4}


def test_the_worst_of_the_living_wins_no_tournament_of_two(space, architectures, children):
    found = children([1.0, 2.0, 9.0], population=3, tournament=2, count=40)
    assert parents(space, architectures, found) == {0, 1}


def test_where_more_is_better_the_largest_wins(space, architectures, children):
    found = children([0.5, 0.25, 0.75, 0.6], directions=["maximize"], population=4, tournament=4)
    assert parents(space, architectures, found) == {2}


def test_with_several_objectives_the_parent_is_dominated_by_none(space, architectures, children):
    losses = [[2.0, 2.0], [1.0, 1.0], [3.0, 1.0], [2.0, 3.0]]
    found = children(losses, directions=["minimize", "minimize"], population=4, tournament=4)
    assert parents(space, architectures, found) == {1}


def test_a_stopped_trial_yields_to_one_trained_in_full(space, architectures, children):
    losses = [(TrialState.PRUNED, 0.5), 2.0, 3.0, (TrialState.PRUNED, None)]
    assert parents(space, architectures, children(losses, population=4, tournament=4)) == {1}


def test_among_stopped_trials_the_best_last_value_wins(space, architectures, children):
    losses = [(TrialState.PRUNED, 0.5), (TrialState.PRUNED, 0.25), (TrialState.PRUNED, None)]
    assert parents(space, architectures, children(losses, population=3, tournament=3)) == {1}


def test_failed_trials_are_not_in_the_population(space, architectures, children):
    losses = [1.0, 2.0, (TrialState.FAIL, 0.1), (TrialState.FAIL, 0.1)]
    assert parents(space, architectures, children(losses, population=2, tournament=2)) == {0}


def test_before_the_population_is_full_everything_is_drawn_at_random(space, architectures, distributions):
    sampler = RegularizedEvolutionSampler(space, distributions, Limits(), population=4, seed=0)
    study = optuna.create_study(sampler=sampler)
    inactive = {axis.name: axis.values[0] for axis in space.axes}
    for architecture in architectures[:3]:
        params = {**inactive, **space.encode(architecture)}
        study.add_trial(create_trial(value=1.0, params=params, distributions=distributions))
    assert sampler.sample_relative(study, study.trials[-1], distributions) == {}


def test_children_keep_the_limits(space, architectures, children):
    losses = [1.0, 1.0, 0.0]
    limits = Limits(max_params=architectures[2].params)
    assert any(not limits.allow(neighbour.cost) for neighbour in space.neighbours(architectures[2]))
    found = children(losses, population=3, tournament=3, count=20, limits=limits)
    assert all(limits.allow(child.cost) for child in found)
    assert parents(space, architectures, found) == {2}


def test_equal_seeds_give_equal_children(children):
    losses = [3.0, 1.0, 2.0, 4.0]
    assert children(losses, population=4, seed=1) == children(losses, population=4, seed=1)
    assert children(losses, population=4, seed=1) != children(losses, population=4, seed=2)

"""Local search: step by step to the optimum of a known landscape, and a restart if no step helps."""

from __future__ import annotations

import random

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from nas.strategy.candidates import CandidateGenerator, Known
from nas.strategy.samplers.local_search import LocalSearchSampler
from nas.strategy.samplers.registry import sampler_of
from results.database.optuna_tables import distribution
from search_space.space import Limits


def test_it_walks_to_the_optimum(space):
    """The smallest of 768 architectures: every proposal but the first is a neighbour of the best so far."""
    candidates = CandidateGenerator(space, Limits(), sampler_of("local", space, Limits(), seed=0), ["minimize"], seed=0)
    best, seen = None, 0
    smallest = min(architecture.params for architecture in walked(space))
    while best is None or best.params > smallest:
        proposed = candidates.propose()
        assert best is None or proposed in set(space.neighbours(best))
        candidates.learn(proposed, Known(values=[float(proposed.params)]))
        best = min(best or proposed, proposed, key=lambda architecture: architecture.params)
        seen += 1
    assert seen < 100  # at random it would take half of the space on average


def walked(space):
    """The whole space, from neighbour to neighbour."""
    start = space.sample(random.Random(0))
    reached, frontier = {start}, [start]
    while frontier:
        frontier = list({near for one in frontier for near in space.neighbours(one)} - reached)
        reached.update(frontier)
    assert len(reached) == 768
    return reached


def test_neighbours_keep_the_limits(space):
    limits = Limits(max_params=8_000)
    candidates = CandidateGenerator(space, limits, sampler_of("local", space, limits, seed=0), ["minimize"], seed=0)
    for _ in range(30):
        proposed = candidates.propose()
        assert proposed.params <= 8_000
        candidates.learn(proposed, Known(values=[-float(proposed.params)]))


@pytest.fixture
def started(tiny_space):
    """A study of the space "tiny" (four depths, two channel ratios), its sampler, and how to add a trial to it."""
    distributions = {axis.name: distribution(axis) for axis in tiny_space.axes}
    study = optuna.create_study(sampler=LocalSearchSampler(tiny_space, distributions, Limits(), seed=0))
    rest = {axis.name: axis.values[0] for axis in tiny_space.axes}

    def add(depth: int, ratio: int, value: float) -> None:
        params = {**rest, "stage1.depth": depth, "stage1.channel_ratio": ratio}
        study.add_trial(create_trial(value=value, params=params, distributions=distributions))

    def ask() -> optuna.Trial:
        return study.ask(distributions)

    return study, add, ask, distributions


def place(trial: optuna.Trial) -> tuple[int, int]:
    return trial.params["stage1.depth"], trial.params["stage1.channel_ratio"]


def test_a_better_neighbour_becomes_the_centre_at_once(started):
    study, add, ask, _ = started
    add(2, 2, 5.0)
    first = ask()
    assert place(first) in {(1, 2), (3, 2), (2, 4)}
    study.tell(first, 9.0)
    add(3, 2, 1.0)
    assert place(ask()) in {(4, 2), (3, 4)}  # (2, 2) has been tried


def test_it_restarts_where_no_neighbour_is_better(started):
    study, add, ask, distributions = started
    for depth, ratio, value in [(2, 2, 1.0), (1, 2, 2.0), (3, 2, 2.0), (2, 4, 2.0)]:
        add(depth, ratio, value)
    restart = ask()  # drawn at random
    assert study.sampler.sample_relative(study, study.trials[restart.number], distributions) == {}
    study.tell(restart, state=TrialState.FAIL)
    add(4, 4, 9.0)  # a new start, worse than the first one's optimum
    assert {place(ask()), place(ask())} == {(3, 4), (4, 2)}

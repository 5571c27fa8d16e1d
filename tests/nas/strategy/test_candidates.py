"""The candidate generator: duplicates are answered, infeasible ones reported, and an exhausted space ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from optuna.trial import TrialState

from nas.strategy.candidates import CandidateGenerator, Known
from nas.strategy.samplers.registry import sampler_of
from search_space.space import Limits


@pytest.fixture
def make(tiny_space) -> Callable[..., CandidateGenerator]:
    """A candidate generator for the eight architectures of the space "tiny"."""

    def make(sampler: str = "random", seed: int = 0, **limits: int) -> CandidateGenerator:
        within = Limits(**limits)
        drawn_by = sampler_of(sampler, tiny_space, within, seed=seed)
        return CandidateGenerator(tiny_space, within, drawn_by, ["minimize"], seed)

    return make


@pytest.mark.parametrize("sampler", ["random", "tpe", "evolution", "nsgaii", "local"])
def test_every_architecture_comes_once_and_then_none(make, sampler):
    candidates, found = make(sampler), []
    while (architecture := candidates.propose()) is not None:
        found.append(architecture)
        candidates.learn(architecture, Known(values=[float(len(found))]))
    assert len(found) == len(set(found)) == 8
    assert candidates.propose() is None


def test_while_all_are_still_running_none_comes_twice(make):
    candidates = make()
    found = [candidates.propose() for _ in range(9)]
    assert found[8] is None
    assert len(set(found[:8])) == 8


def test_what_was_entered_is_not_proposed(make, tiny_space):
    known = [tiny_space.decode(PARAMS | {"stage1.depth": depth, "stage1.channel_ratio": 2}) for depth in (1, 2, 3, 4)]
    candidates = make()
    for architecture in known:
        candidates.enter(architecture)
    found = [candidates.propose() for _ in range(5)]
    assert found[4] is None
    assert {architecture.stages[0].block[1].op.hidden for architecture in found[:4]} == {4 * 16}


PARAMS = {
    "patch": 2,
    "dim": 16,
    "pooling": "gap",
    "position": "none",
    "norm": "layernorm",
    "layer_scale": None,
    "drop_path": 0.0,
    "stages": 1,
    "stage1.mixer": "linear",
    "stage1.order": "token_first",
}


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_candidates_are_new_but_not_entered(make, sampler):
    """A list of candidates holds each once; what is drawn for it may still be proposed."""
    candidates = make(sampler)
    taken = candidates.propose()
    listed = set[str]()
    while (candidate := candidates.draw(listed)) is not None:
        assert candidate != taken
        assert candidate.hash not in listed
        listed.add(candidate.hash)
    assert len(listed) == 7
    assert candidates.propose().hash in listed


def test_limits_leave_out_what_is_too_large(make, tiny_space):
    sizes = sorted(
        tiny_space.decode(PARAMS | {"stage1.depth": depth, "stage1.channel_ratio": ratio}).params
        for depth in (1, 2, 3, 4)
        for ratio in (2, 4)
    )
    candidates = make(max_params=sizes[2])
    found = [candidates.propose() for _ in range(4)]
    assert found[3] is None
    assert sorted(architecture.params for architecture in found[:3]) == sizes[:3]


# What the sampler sees: its study lives in memory.


def trials(candidates: CandidateGenerator, *states: TrialState):
    return candidates._study.get_trials(states=states or None)


def test_a_duplicate_is_answered_with_what_is_known(make):
    candidates = make("nsgaii", seed=1)
    proposed = [candidates.propose() for _ in range(4)]
    for number, architecture in enumerate(proposed):
        candidates.learn(architecture, Known(values=[float(number)]))
    while candidates.propose() is not None:
        pass
    complete = trials(candidates, TrialState.COMPLETE)
    assert len(complete) > 4  # duplicates were proposed and answered
    values: dict[str, set[float]] = {}
    for trial in complete:
        values.setdefault(candidates._space.decode(trial.params).hash, set()).update(trial.values)
    assert values == {architecture.hash: {float(number)} for number, architecture in enumerate(proposed)}
    assert len(trials(candidates, TrialState.RUNNING)) == 4  # the other four architectures, and no duplicate


def test_infeasible_proposals_are_reported_through_a_constraint(space):
    tpe = sampler_of("tpe", space, Limits(), seed=0)
    candidates = CandidateGenerator(space, Limits(), tpe, ["minimize"], seed=0)
    endings = [Known(infeasible=True), Known(values=[1.0]), Known(curve={1: 2.0})]
    for ending in endings:
        candidates.learn(candidates.propose(), ending)
    infeasible, complete, stopped = trials(candidates)
    assert infeasible.state == TrialState.PRUNED
    assert all(violation > 0 for violation in infeasible.constraints.values())
    assert complete.values == [1.0]
    assert stopped.intermediate_values == {1: 2.0}
    for trial in (complete, stopped):
        assert all(violation <= 0 for violation in trial.constraints.values())
    assert infeasible.constraints


def test_the_sampler_learns_what_was_evaluated_rather_than_what_it_proposed(space):
    limits = Limits(max_params=5_000)  # most proposals are too large
    candidates = CandidateGenerator(space, limits, sampler_of("tpe", space, limits, seed=0), ["minimize"], seed=0)
    architectures = [candidates.propose() for _ in range(10)]
    for architecture, trial in zip(architectures, trials(candidates, TrialState.RUNNING), strict=True):
        assert trial.params.items() >= space.encode(architecture).items()
        assert set(trial.params) == {axis.name for axis in space.axes}

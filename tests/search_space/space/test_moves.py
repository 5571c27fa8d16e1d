"""Neighbours, mutation and repair, against the list made by hand."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

from search_space.architecture import Architecture, Branch, Stage
from search_space.errors import SpaceError
from search_space.ops import Attention, Dense
from search_space.space import Limits, SearchSpace, list_spaces, parse_space

SIZES = [8, 28, 32, 224]


def random_proposal(space: SearchSpace, rng: random.Random) -> dict[str, Any]:
    """A choice on every axis, whether possible or not."""
    return {axis.name: rng.choice(axis.values) for axis in space.axes}


def test_neighbours_worked_by_hand(tiny_space: SearchSpace) -> None:
    """One step on every axis from one attention block on 4 x 4 tokens of 4 channels."""
    block = (Branch(Attention(1)),)

    def make(*stages: Stage, **changes: Any) -> Architecture:
        return Architecture(
            **{"image_size": 8, "patch": 2, "in_channels": 1, "classes": 3, "stages": stages, **changes}
        )

    start = make(Stage(1, 4, block))
    mlp = Branch(Dense("channel", 4))
    unnormed = (Branch(Attention(1), "none"),)
    expected = {
        make(Stage(1, 4, block), patch=4),
        make(Stage(1, 6, block)),
        make(Stage(1, 4, block), class_token=True, pooling="class_token"),
        make(Stage(1, 4, unnormed), final_norm="none"),
        make(Stage(2, 4, block)),
        make(Stage(1, 4, (Branch(Attention(4)),))),
        make(Stage(1, 4, (*block, mlp))),
        make(Stage(1, 4, (mlp, *block))),
    }
    found = set(tiny_space.neighbours(start))
    assert expected <= found
    rest = found - expected
    others = [architecture.stages for architecture in rest]
    assert all(stages[0] == Stage(1, 4, block) for stages in others if len(stages) == 2)
    assert {stages[0].block[0].op.kind for stages in others if len(stages) == 1} == {"dense", "permute"}
    grown = [stages[1] for stages in others if len(stages) == 2]
    kinds = {how: {stage.block[0].op.kind for stage in grown if stage.downsample == how} for how in ("none", "conv2")}
    assert kinds == {"none": {"dense", "permute"}, "conv2": {"attention", "dense", "permute"}}
    assert {stage.dim for stage in grown if stage.downsample == "conv2"} == {8}


def test_neighbours_are_in_the_space_differ_and_do_not_repeat(
    tiny_space: SearchSpace, tiny_list: list[Architecture]
) -> None:
    listed = set(tiny_list)
    for architecture in random.Random(0).sample(tiny_list, 40):
        found = list(tiny_space.neighbours(architecture))
        assert found
        assert architecture not in found
        assert len(set(found)) == len(found)
        assert set(found) <= listed


def test_neighbours_are_all_that_differ_on_one_axis(tiny_space: SearchSpace, tiny_list: list[Architecture]) -> None:
    """What has parameters that differ in one value, by one step, is a neighbour; this goes both ways."""
    compared = 0
    for architecture in random.Random(1).sample(tiny_list, 15):
        params = tiny_space.encode(architecture)
        found = set(tiny_space.neighbours(architecture))
        for name, current in params.items():
            for value in tiny_space.axis(name).values:  # every ordered axis of this space has two values
                try:
                    other = tiny_space.decode({**params, name: value})
                except SpaceError:
                    continue
                if value != current and tiny_space.encode(other) == {**params, name: value}:
                    assert other in found
                    assert architecture in set(tiny_space.neighbours(other))
                    compared += 1
    assert compared > 50


def test_every_architecture_can_be_walked_to(tiny_text: str) -> None:
    """From any, neighbours of neighbours are the whole space, here one of some hundreds."""
    text = tiny_text.replace("norm: [layernorm, none]", "norm: [layernorm]").replace("dim: [4, 6]", "dim: [4]")
    text = text.replace("depth: [1, 2]", "depth: [1]").replace("channel_ratio: [0, 1]", "channel_ratio: [0]")
    space = parse_space(text, image_size=8, in_channels=1, classes=3)
    start = space.sample(random.Random(0))
    reached, frontier = {start}, [start]
    while frontier:
        found = {neighbour for architecture in frontier for neighbour in space.neighbours(architecture)}
        frontier = [neighbour for neighbour in found if neighbour not in reached]
        reached |= found
    assert len(reached) == space.size > 100


@pytest.mark.parametrize("name", list_spaces())
@pytest.mark.parametrize("image_size", SIZES)
def test_ordered_axes_are_walked_step_by_step(space_at, name: str, image_size: int) -> None:
    space, rng = space_at(image_size, name), random.Random(1)
    for _ in range(3):
        architecture = space.sample(rng)
        params = space.encode(architecture)
        found = list(space.neighbours(architecture))
        assert len(set(found)) == len(found) > 0
        for neighbour in found:
            assert neighbour != architecture
            assert neighbour in space
            there = space.encode(neighbour)
            axis = space.axis("dim")
            if axis.step is not None:
                assert abs(there["dim"] - params["dim"]) <= axis.step
            assert abs(there["stages"] - params["stages"]) <= 1


@pytest.mark.parametrize("action", [lambda space, a: list(space.neighbours(a)), lambda space, a: space.mutate(a, None)])
def test_what_is_not_in_the_space_has_no_neighbours(
    tiny_space: SearchSpace, action: Callable[[SearchSpace, Architecture], object]
) -> None:
    foreign = Architecture(8, 2, (Stage(1, 4, (Branch(Attention(2)),)),), in_channels=1, classes=3)
    with pytest.raises(SpaceError, match="block of stage 1 is not one of the space 'tiny'"):
        action(tiny_space, foreign)


# Mutation.


@pytest.mark.parametrize("name", list_spaces())
@pytest.mark.parametrize("image_size", [8, 224])
def test_a_mutant_is_a_neighbour_within_limits(space_at, name: str, image_size: int) -> None:
    space, rng = space_at(image_size, name), random.Random(2)
    for _ in range(3):
        architecture = space.sample(rng, space.limits)
        neighbours = set(space.neighbours(architecture))
        for limits in (None, space.limits, Limits(*architecture.cost)):
            mutant = space.mutate(architecture, rng, limits)
            assert mutant in neighbours or mutant == architecture
            assert (limits or Limits()).allow(mutant.cost)


def test_a_long_walk_stays_within_limits(space_at) -> None:
    space, rng = space_at(8), random.Random(3)
    limits = Limits(20_000, 300_000)
    architecture = space.sample(rng, limits)
    visited = {architecture}
    for _ in range(30):
        architecture = space.mutate(architecture, rng, limits)
        assert architecture in space
        assert limits.allow(architecture.cost)
        visited.add(architecture)
    assert len(visited) > 20


def test_mutation_reaches_every_neighbour_that_fits(tiny_space: SearchSpace, tiny_list: list[Architecture]) -> None:
    rng = random.Random(4)
    for architecture in random.Random(5).sample(tiny_list, 1):
        limits = Limits(max_params=architecture.params)
        fitting = {n for n in tiny_space.neighbours(architecture) if limits.allow(n.cost)}
        assert 4 < len(fitting) < 20
        assert {tiny_space.mutate(architecture, rng, limits) for _ in range(600)} == fitting


def test_without_a_fitting_neighbour_it_stays(tiny_space: SearchSpace, tiny_list: list[Architecture]) -> None:
    architecture = tiny_list[0]
    assert tiny_space.mutate(architecture, random.Random(0), Limits(max_params=1)) == architecture


def test_the_seed_decides_the_mutant(space_at) -> None:
    space = space_at(8)
    start = space.sample(random.Random(0))
    walks = []
    for seed in (1, 1, 2):
        rng, walk = random.Random(seed), [start]
        for _ in range(5):
            walk.append(space.mutate(walk[-1], rng))
        walks.append(walk)
    assert walks[0] == walks[1]
    assert walks[0] != walks[2]


# Repair.


@pytest.mark.parametrize("name", list_spaces())
@pytest.mark.parametrize("image_size", SIZES)
@pytest.mark.parametrize("tight", [False, True])
def test_any_proposal_is_completed_within_limits(space_at, name: str, image_size: int, tight: bool) -> None:
    """With limits down to the least cost there is."""
    space, rng = space_at(image_size, name), random.Random(image_size)
    low, _ = space.cost_range()
    choices = [Limits(max_params=low.params), Limits(max_macs=low.macs), Limits(max_params=low.params * 11 // 10)]
    choices = choices if tight else [Limits(), space.limits, Limits(4 * low.params, 40 * low.macs)]
    for limits in choices:
        for _ in range(3):
            found = space.complete(random_proposal(space, rng), rng, limits)
            assert found in space
            assert limits.allow(found.cost)


def test_both_limits_at_once_are_met_wherever_they_can_be(
    tiny_space: SearchSpace, tiny_list: list[Architecture]
) -> None:
    """With the cost of any architecture as the limit there is one within it, so it is found from any proposal."""
    rng = random.Random(6)
    costs = sorted({architecture.cost for architecture in tiny_list})
    least_macs = itertools.accumulate((cost.macs for cost in costs), min)
    front = [cost for cost, least in zip(costs, least_macs, strict=True) if cost.macs == least]
    assert len(front) > 2
    for cost in [*front, *rng.sample(costs, 60)]:
        found = tiny_space.complete(random_proposal(tiny_space, rng), rng, Limits(*cost))
        assert found in tiny_space
        assert Limits(*cost).allow(found.cost)


def test_limits_below_everything_name_the_smallest(tiny_space: SearchSpace, tiny_list: list[Architecture]) -> None:
    least = min(architecture.params for architecture in tiny_list)
    rng = random.Random(7)
    with pytest.raises(SpaceError, match=f"at most {least - 1:,} parameters .*; the smallest has {least:,}"):
        tiny_space.complete(random_proposal(tiny_space, rng), rng, Limits(max_params=least - 1))


def test_a_feasible_proposal_is_kept(tiny_space: SearchSpace, tiny_list: list[Architecture]) -> None:
    rng = random.Random(8)
    for architecture in rng.sample(tiny_list, 100):
        proposal = {**random_proposal(tiny_space, rng), **tiny_space.encode(architecture)}
        assert tiny_space.complete(proposal, rng) == architecture
        assert tiny_space.complete(proposal, rng, Limits(*architecture.cost)) == architecture


def test_the_mixer_and_the_net_are_kept_where_they_can_be(space_at) -> None:
    """Without limits only incompatible settings are changed; heads before the mixer."""
    space, rng = space_at(8), random.Random(9)
    for _ in range(40):
        proposal = random_proposal(space, rng)
        proposal |= {"stages": 1, "stage1.mixer": rng.choice(["attention", "mlp", "linear", "gating"])}
        params = space.encode(space.complete(proposal, rng))
        net = ("patch", "dim", "pooling", "position", "norm", "layer_scale", "stages", "stage1.depth", "stage1.mixer")
        assert {name: params[name] for name in net} == {name: proposal[name] for name in net}


def test_a_proposal_is_not_modified(tiny_space: SearchSpace) -> None:
    rng = random.Random(10)
    proposal = random_proposal(tiny_space, rng)
    copy = dict(proposal)
    tiny_space.complete(proposal, rng, tiny_space.limits)
    assert proposal == copy

"""Counting, sampling and the range of costs, against architectures listed by hand."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import Any

import pytest

from search_space.architecture import Architecture
from search_space.errors import SpaceError
from search_space.ops import Cost
from search_space.space import Limits, SearchSpace, list_spaces, parse_space

SPACE = """
name: made
net:
  {{patch: {patch}, pooling: [gap], position: [none], norm: [layernorm], layer_scale: [none], drop_path: {drop_path},
   stages: {stages}, conv_bn: {conv_bn}}}
stage:
  downsample: {downsample}
  mixer: {mixer}
  channel_ratio: {ratio}
  order: [token_first]
scales:
  - {{image_size: 8, tokens: [1, 64], dim: {dim}, depth: [1], max_params: 50k}}
"""


def make(**changes: str) -> SearchSpace:
    """A space for 8 x 8 images with 1 channel and 10 classes, with one mixer and one width but for changes."""
    settings = {"patch": "[2]", "drop_path": "[0.0]", "stages": "[1]", "downsample": "[none]", "ratio": "[0]"}
    settings |= {"mixer": "{attention: {heads: [1]}}", "dim": "[8]", "conv_bn": "[false]"}
    return parse_space(SPACE.format(**{**settings, **changes}), image_size=8, in_channels=1, classes=10)


def chi_square(counts: list[int], expected: float) -> float:
    """The statistic in units of its standard deviation above its mean."""
    statistic = sum((count - expected) ** 2 / expected for count in counts)
    freedom = len(counts) - 1
    return (statistic - freedom) / math.sqrt(2 * freedom)


def test_the_size_is_the_number_of_listed_architectures(tiny_space: SearchSpace, tiny_list: list[Architecture]) -> None:
    assert tiny_space.size == len(tiny_list) > 5000
    assert all(architecture in tiny_space for architecture in random.Random(0).sample(tiny_list, 300))


def test_the_range_of_costs_is_that_of_the_list(tiny_space: SearchSpace, tiny_list: list[Architecture]) -> None:
    low, high = tiny_space.cost_range()
    assert low == Cost(min(a.params for a in tiny_list), min(a.macs for a in tiny_list))
    assert high == Cost(max(a.params for a in tiny_list), max(a.macs for a in tiny_list))


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({}, 1),
        ({"dim": "[8, 16, 24]"}, 3),
        ({"mixer": "{attention: {heads: [1, 2, 3]}}"}, 2),  # 3 does not divide 8
        ({"mixer": "{attention: {heads: [1]}, linear: {}, none: {}}"}, 2),  # a block needs a branch
        ({"ratio": "[0, 2, 4]"}, 3),
        ({"ratio": "[0, 2]", "conv_bn": "[false, true]"}, 4),  # they differ only in the stem
        ({"mixer": "{repmlp: {sharesets: [1, 2, 3, 8]}}"}, 3),  # 3 does not divide 8
        ({"mixer": "{gating: {expansion: [2, 4], attention_dim: [0, 8]}}"}, 4),
        ({"mixer": "{none: {}}", "ratio": "[0, 2, 4]"}, 2),
        ({"mixer": "{mlp: {token_hidden: [C, 2C, 2N], token_norm: [channel]}}"}, 3),
        ({"mixer": "{mlp: {token_hidden: [2C, N], token_norm: [channel]}}"}, 1),  # both 16
        ({"stages": "[1, 2]"}, 1),  # the second stage would repeat the first
        ({"stages": "[1, 2]", "mixer": "{attention: {heads: [1, 2]}}"}, 2 + 2),
        ({"stages": "[3]", "mixer": "{attention: {heads: [1, 2, 4]}}"}, 3 * 2 * 2),
        ({"stages": "[1, 2]", "downsample": "[conv2]"}, 2),
        ({"stages": "[1, 2, 3]", "downsample": "[conv2]", "patch": "[1, 2]"}, 3 + 2),  # a grid of 2 x 2 is not halved
        ({"stages": "[2]", "downsample": "[none, conv2]", "mixer": "{attention: {heads: [1, 2]}}"}, 2 * (1 + 2)),
        ({"mixer": "{permute: {weighted: [true, false]}}", "dim": "[6, 8, 12]"}, 4),  # 4 segments do not divide 6
    ],
)
def test_sizes_worked_by_hand(changes: dict[str, str], size: int) -> None:
    space = make(**changes)
    assert space.size == size
    rng = random.Random(0)
    assert len({space.sample(rng) for _ in range(25 * size)}) == size


def test_stochastic_depth_counts_only_where_it_does_something() -> None:
    """Its rate grows linearly from 0, so it does nothing in a network of one block: 2 of one stage, 2 x 2 of two."""
    space = make(drop_path="[0.0, 0.1]", stages="[1, 2]", mixer="{attention: {heads: [1, 2]}}")
    assert space.size == 2 + 2 * 2


@pytest.mark.parametrize(
    ("changes", "dims"),
    [
        # Four segments divide 8 and not 6.
        ({"mixer": "{permute: {weighted: [true]}}", "dim": "[6, 8]"}, (8, 8)),
        ({"mixer": "{permute: {weighted: [true]}}", "dim": "[8, 10]"}, (8, 8)),
        # The permute-MLP costs less than the gate, but exists at 8 and not at 6.
        ({"mixer": "{permute: {weighted: [false]}, gating: {expansion: [6]}}", "dim": "[6, 8]"}, (8, 8)),
        # Of three stages there is none: all would be equal, or a grid of 2 x 2 would be halved.
        ({"stages": "[1, 2]"}, (8, 8)),
        ({"stages": "[1, 3]", "downsample": "[conv2]"}, (8, 8)),
        ({"stages": "[1, 2]", "downsample": "[conv2]"}, (8, 8)),
        ({"stages": "[2]", "downsample": "[none, conv2]"}, (8, 8)),
        # Only the smaller patch leaves a grid that can be halved.
        ({"patch": "[2, 8]", "stages": "[1, 2]", "downsample": "[conv2]"}, (8, 8)),
        # The deployed form of RepMLP counts, and the norms after convolutions.
        ({"mixer": "{repmlp: {sharesets: [1, 4]}, linear: {}}", "conv_bn": "[false, true]", "ratio": "[0, 2]"}, (8, 8)),
        ({"mixer": "{repmlp: {sharesets: [2]}}", "stages": "[1, 2]", "downsample": "[conv2]"}, (8, 8)),
        ({"patch": "[2, 4]", "stages": "[2, 3]", "mixer": "{linear: {}, permute: {weighted: [true]}}"}, (8, 8)),
    ],
)
def test_the_range_of_costs_of_odd_spaces_is_that_of_their_members(
    changes: dict[str, str], dims: tuple[int, int]
) -> None:
    """All members are found by drawing: there are less than 20, so 60 draws each miss one with probability 1e-25."""
    space = make(**changes)
    rng = random.Random(0)
    members = {space.sample(rng) for _ in range(60 * space.size)}
    assert len(members) == space.size < 20
    low, high = space.cost_range()
    costs = [member.deployed.cost for member in members]
    assert low == Cost(min(cost.params for cost in costs), min(cost.macs for cost in costs))
    assert high == Cost(max(cost.params for cost in costs), max(cost.macs for cost in costs))
    assert min(members, key=lambda a: a.deployed.params).stages[0].dim == dims[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"mixer": "{attention: {heads: [3]}}"},
        {"mixer": "{none: {}}"},
        {"stages": "[2]"},
        {"stages": "[3]", "downsample": "[conv2]"},
        {"mixer": "{permute: {weighted: [true]}}", "dim": "[6, 10]"},
    ],
)
def test_a_space_without_architectures_says_so(changes: dict[str, str]) -> None:
    space = make(**changes)
    for action in (lambda: space.size, space.cost_range, lambda: space.sample(random.Random(0))):
        with pytest.raises(SpaceError, match="the space 'made' is empty"):
            action()


# Drawing.


def test_every_listed_architecture_is_drawn_equally_often(
    tiny_space: SearchSpace, tiny_list: list[Architecture]
) -> None:
    """Pearson's statistic is within 5 standard deviations of its mean, over groups of listed architectures."""
    rng = random.Random(1)
    draws = 12_000
    groups = 300
    shuffled = list(tiny_list)
    random.Random(2).shuffle(shuffled)
    usable = len(shuffled) // groups * groups
    group = {architecture: index % groups for index, architecture in enumerate(shuffled[:usable])}
    drawn = [tiny_space.sample(rng) for _ in range(draws)]
    counts = Counter(group[architecture] for architecture in drawn if architecture in group)
    assert abs(chi_square([counts[index] for index in range(groups)], counts.total() / groups)) < 5
    assert set(drawn) <= set(tiny_list)


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(lambda a: (len(a.stages), a.patch, a.stages[0].dim, a.pooling, a.final_norm), id="net"),
        pytest.param(lambda a: tuple((s.depth, s.downsample) for s in a.stages), id="stages"),
        pytest.param(lambda a: a.stages[-1].block, id="last block"),
    ],
)
def test_features_are_drawn_as_often_as_they_are_listed(
    tiny_space: SearchSpace, tiny_list: list[Architecture], key: Any
) -> None:
    rng = random.Random(3)
    draws = 3_000
    listed = Counter(map(key, tiny_list))
    counts = Counter(key(tiny_space.sample(rng)) for _ in range(draws))
    expected = {feature: draws * count / len(tiny_list) for feature, count in listed.items()}
    common = [feature for feature in listed if expected[feature] >= 5]
    statistic = sum((counts[feature] - expected[feature]) ** 2 / expected[feature] for feature in common)
    assert len(common) > 5
    assert statistic < len(common) + 5 * math.sqrt(2 * len(common))


def test_a_small_space_is_drawn_uniformly_one_by_one() -> None:
    space = make(stages="[1, 2]", downsample="[none, conv2]", mixer="{attention: {heads: [1, 2]}, linear: {}}")
    assert space.size == 3 + 3 * (2 + 3)
    rng = random.Random(5)
    counts = Counter(space.sample(rng) for _ in range(4_000))
    assert len(counts) == 18
    assert abs(chi_square(list(counts.values()), 4_000 / 18)) < 5


def test_within_limits_it_is_drawn_uniformly_too(tiny_space: SearchSpace, tiny_list: list[Architecture]) -> None:
    sizes = sorted(architecture.params for architecture in tiny_list)
    limits = Limits(max_params=sizes[len(sizes) // 5])
    members = [architecture for architecture in tiny_list if limits.allow(architecture.cost)]
    rng = random.Random(6)
    group = {architecture: index % 50 for index, architecture in enumerate(members)}
    sizes_of_groups = Counter(group.values())
    counts = Counter(group[tiny_space.sample(rng, limits)] for _ in range(1_000))
    expected = {index: 1_000 * size / len(members) for index, size in sizes_of_groups.items()}
    statistic = sum((counts[index] - expected[index]) ** 2 / expected[index] for index in expected)
    assert abs(statistic - 49) < 5 * math.sqrt(2 * 49)


@pytest.mark.parametrize("name", list_spaces())
def test_the_seed_decides_the_draw(space_at, name: str) -> None:
    space = space_at(8, name)
    before = random.getstate()
    drawn = [[space.sample(rng) for _ in range(5)] for rng in map(random.Random, (1, 1, 2))]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert random.getstate() == before


@pytest.mark.parametrize("name", list_spaces())
@pytest.mark.parametrize("image_size", [8, 28, 32, 224])
def test_draws_keep_to_the_limits_and_to_the_range(space_at, name: str, image_size: int) -> None:
    space, rng = space_at(image_size, name), random.Random(0)
    low, high = space.cost_range()
    for _ in range(6):
        architecture = space.sample(rng)
        assert low.params <= architecture.params <= high.params
        assert low.macs <= architecture.macs <= high.macs
        assert space.sample(rng, space.limits).params <= space.limits.max_params


@pytest.mark.parametrize("name", list_spaces())
def test_the_least_cost_can_be_reached(space_at, name: str) -> None:
    """At the least cost there is an architecture, and below it none."""
    space, rng = space_at(8, name), random.Random(0)
    low, high = space.cost_range()
    space.check_limits(Limits(*low))
    wish = space.encode(space.sample(rng))
    wish = {**{axis.name: axis.values[0] for axis in space.axes}, **wish}
    assert space.complete(wish, rng, Limits(max_params=low.params)).params == low.params
    assert space.complete(wish, rng, Limits(max_macs=low.macs)).macs == low.macs
    assert high > low
    for limits, message in (
        (Limits(max_params=low.params - 1), f"at most {low.params - 1:,} parameters .* smallest has {low.params:,}$"),
        (Limits(max_macs=low.macs - 1), f"at most {low.macs - 1:,} MACs for images of 8 x 8; .* {low.macs:,}$"),
    ):
        with pytest.raises(SpaceError, match=message):
            space.check_limits(limits)


def test_tight_limits_are_met_by_drawing_and_impossible_ones_are_named(
    tiny_space: SearchSpace, tiny_list: list[Architecture]
) -> None:
    least = min(architecture.params for architecture in tiny_list)
    rng = random.Random(0)
    assert tiny_space.sample(rng, Limits(max_params=least)).params == least
    with pytest.raises(SpaceError, match=f"the smallest has {least:,}$"):
        tiny_space.sample(rng, Limits(max_params=least - 1))


def test_limits_are_on_the_deployed_form() -> None:
    """On 2 x 2 tokens RepMLP has more parameters in training: 9 + 1 + 3 x 2 a set, where the merged bias has 4."""
    space, rng = make(mixer="{repmlp: {sharesets: [1, 2, 4, 8]}}", patch="[4]"), random.Random(0)
    members = {space.sample(rng) for _ in range(100)}
    most = max(member.deployed.params for member in members)
    assert any(member.params > most for member in members)
    assert {space.sample(rng, Limits(max_params=most)) for _ in range(100)} == members


def test_two_limits_are_met_where_every_architecture_has_two_stages() -> None:
    """Every member is within the limits that are its own cost, so the nearest one to anything exists."""
    mixers = "{repmlp: {sharesets: [2]}, attention: {heads: [1]}, gating: {expansion: [2]}}"
    space = make(stages="[2]", mixer=mixers, ratio="[0, 1]", dim="[8, 16]")
    rng = random.Random(0)
    for member in {space.sample(rng) for _ in range(40)}:
        limits = Limits(*member.deployed.cost)
        assert limits.allow(space.smallest(limits).deployed.cost)

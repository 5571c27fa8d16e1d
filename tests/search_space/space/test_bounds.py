"""Spaces that no machine could handle are refused at once; spaces within the bounds can be costed and encoded."""

from __future__ import annotations

import random

import pytest

from search_space.architecture import Architecture, Branch, Stage
from search_space.errors import SpaceError
from search_space.ops import Attention, Dense
from search_space.space import SearchSpace, parse_space
from search_space.space.definition import parse_definition

SPACE = """
name: made
net: {{patch: [1, 2], pooling: [gap], position: [none], norm: [layernorm], layer_scale: [none], drop_path: {drop_path},
  stages: {stages}}}
stage:
  downsample: {downsample}
  mixer: {{{mixer}}}
  channel_ratio: {ratio}
  order: [token_first]
scales: [{{image_size: 512, tokens: [1, 1000000], dim: {dim}, depth: {depth}, max_params: 5M}}]
"""
THOUSAND = "{from: 1, to: 1000}"


def text(**changes: str) -> str:
    settings = {"drop_path": "[0.0]", "stages": "[1]", "downsample": "[none]", "mixer": "attention: {heads: [1]}"}
    return SPACE.format(**{**settings, "ratio": "[1, 2, 3]", "dim": "[16]", "depth": "[1]", **changes})


def make(image_size: int = 16, **changes: str) -> SearchSpace:
    return parse_space(text(**changes), image_size=image_size, in_channels=1, classes=10)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        # 2 patches x 1,000 widths x 200 rates
        ({"dim": THOUSAND, "drop_path": str([n / 1000 for n in range(200)])}, "400,000 combinations of choices of the"),
        # 2 patches x 1 width x 1 norm, times 1,000 heads x 1,000 ratios x 2 orders
        (
            {"mixer": f"attention: {{heads: {THOUSAND}}}", "ratio": THOUSAND},
            "2,000,000 blocks over all grids.*allowed: up to 200",
        ),
        ({"depth": "[126]", "stages": "[8]"}, "1,008 blocks on top of each other; allowed: up to 1,000"),
        (
            {"dim": "[1000000]", "ratio": "[11]"},
            "11,000,000 channels or hidden units in a layer; allowed: up to 10,000",
        ),
        # 10,000 channels, doubled 4 times, in an MLP of 63 times their width
        (
            {"dim": "[10000]", "ratio": "[63]", "stages": "[5]", "downsample": "[conv2]"},
            "10,080,000 channels or hidden units",
        ),
        ({"mixer": "mlp: {token_hidden: [999999C], token_norm: [channel]}"}, "15,999,984 channels or hidden units"),
        ({"mixer": "gating: {expansion: [1000000]}"}, "16,000,000 channels or hidden units in a layer"),
    ],
)
def test_a_space_beyond_the_bounds_is_refused_when_it_is_bound(changes, words, monkeypatch):
    monkeypatch.setattr("search_space.space.bounds.MOST_BLOCKS", 200_000)
    with pytest.raises(SpaceError, match=words):
        make(**changes)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("dim: [16]", f"dim: {[*range(1, 1002)]}", "allowed: a list of whole numbers from 1, 1,000 at most"),
        ("dim: [16]", "dim: {from: 1, to: 1001}", "1,000 values at most"),
        ("image_size: 512", "image_size: -5", "scales.0.image_size is -5; allowed: a whole number of pixels from 1"),
        ("image_size: 512", "image_size: 1000000001", "allowed: a whole number of pixels from 1"),
        ("dim: [16]", "dim: " + "[" * 30 + "7" * 90 + "]" * 30, r"is \[\[\[.*\.\.\.; allowed: whole numbers"),
    ],
)
def test_a_list_or_number_beyond_the_bounds_is_refused_when_it_is_read(before, after, words):
    assert before in text()
    with pytest.raises(SpaceError, match=words) as caught:
        parse_definition(text().replace(before, after))
    assert len(str(caught.value)) < 300


def test_very_many_scales_are_refused():
    scale = "{{image_size: {}, tokens: [1, 9], dim: [8], depth: [1], max_params: 1M}}"
    before = text()[text().index("scales:") :]
    scales = ", ".join(scale.format(size) for size in range(1, 102))
    with pytest.raises(SpaceError, match="at least one scale, and 100 at most"):
        parse_definition(text().replace(before, f"scales: [{scales}]"))


def chain(*ratios: int) -> Architecture:
    """A network of 16 channels on 8 x 8 tokens with a stage for each of these ratios."""
    stages = tuple(Stage(1, 16, (Branch(Attention(1)), Branch(Dense("channel", 16 * ratio)))) for ratio in ratios)
    return Architecture(16, 2, stages, in_channels=1, classes=10)


def test_eight_stages_take_turns_at_the_extremes():
    """No stage repeats the one before, so the lowest cost alternates the two cheapest blocks, and the highest the two
    most expensive.

    Without downsampling, parameters do not depend on the grid, but for the patches: 2 x 2 pixels rather than one.
    """
    space = make(stages="[8]")
    least, most = space.cost_range()
    assert most.params == chain(3, 2, 3, 2, 3, 2, 3, 2).params
    assert least.params == chain(1, 2, 1, 2, 1, 2, 1, 2).params - 3 * 16
    assert least.macs == chain(1, 2, 1, 2, 1, 2, 1, 2).macs


def test_eight_stages_with_every_way_of_entering_them_are_costed():
    """There are 3^8 * 2^7 chains of extreme blocks for each patch, which are not tried one by one."""
    space = make(image_size=256, stages="[8]", downsample="[none, conv2]")
    least, most = space.cost_range()
    found = space.sample(random.Random(0))
    assert least.params <= found.params <= most.params
    assert least.macs <= found.macs <= most.macs
    # The most expensive one halves its grid seven times: 16 * 2^7 channels at the end, of which 10 scores are made.
    assert most.params > 3 * (16 * 2**7) ** 2


@pytest.mark.parametrize("seed", range(5))
def test_the_widest_allowed_architecture_can_be_encoded(seed):
    space = make(image_size=32, dim="[10000]", ratio="[62]", stages="[5]", downsample="[conv2]")
    found = space.sample(random.Random(seed))
    assert Architecture.from_yaml(found.to_yaml()) == found

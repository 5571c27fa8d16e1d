"""The parts of an architecture add up to its cost, and exponents match arithmetic by hand."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import pytest

from search_space import zoo
from search_space.architecture import Architecture, Branch, Stage
from search_space.breakdown import breakdown, exponent, label, macs_exponents, token_mixers
from search_space.ops import Attention, Cost, Dense, Gating, Permute, RepMLP

CHANNEL = Branch(Dense("channel", 16))


def total(architecture: Architecture) -> Cost:
    cost = Cost(0, 0)
    for row in breakdown(architecture):
        cost = cost.plus(row.cost)
    return cost


# Sums.


@pytest.mark.parametrize("branch", [{}, {"norm": "affine", "norm_axis": "token", "layer_scale": 0.1}], ids=str)
def test_every_op_adds_up(example_op, one_block, branch):
    architecture = one_block(example_op, Dense("channel", 16), branch=branch, stage={"depth": 3})
    assert total(architecture) == architecture.cost
    mixer, channel = (row for row in breakdown(architecture) if row.branch is not None)
    assert (mixer.kind, mixer.label) == (example_op.kind, label(example_op))
    assert (mixer.stage, mixer.branch, mixer.tokens, mixer.dim, mixer.depth) == (1, 1, 16, 8, 3)
    assert (channel.key, channel.kind, channel.label) == ("stages.0.branches.1", "dense", "channel mlp")


@pytest.mark.parametrize(
    "changes",
    [
        {"class_token": True, "position": "learned", "pooling": "class_token"},
        {"position": "learned", "position_grid": 7},
        {"stem": "conv_bn_relu", "final_norm": "batchnorm", "norm_after_pooling": True},
        {"final_norm": "none", "in_channels": 1},
    ],
    ids=str,
)
def test_every_kind_of_net_adds_up(one_block, changes):
    architecture = one_block(**changes)
    assert total(architecture) == architecture.cost


@pytest.mark.parametrize("downsample", ["conv1", "conv2", "conv2_bn_relu"])
def test_every_downsampling_adds_up(one_block, downsample):
    stages = (Stage(2, 8, (CHANNEL,)), Stage(1, 12, (Branch(Attention(3)), CHANNEL), downsample))
    architecture = replace(one_block(), stages=stages)
    assert total(architecture) == architecture.cost
    (row,) = (row for row in breakdown(architecture) if row.label == "downsampling")
    assert (row.key, row.stage, row.dim, row.tokens) == (
        "stages.1.downsample",
        2,
        12,
        16 if downsample == "conv1" else 4,
    )


@pytest.mark.parametrize("name", zoo.names())
def test_every_published_model_adds_up(name):
    architecture = zoo.get(name)
    assert total(architecture) == architecture.cost


def test_parts_by_hand(one_block):
    architecture = one_block(
        Dense("token"), class_token=True, position="learned", pooling="class_token", branch={"layer_scale": 0.5}
    )
    rows = {row.key: row for row in breakdown(architecture)}
    assert {key: row.cost for key, row in rows.items()} == {
        "stem": Cost(3 * 2 * 2 * 8 + 8, 3 * 2 * 2 * 8 * 16),
        "class_token": Cost(8, 0),
        "position": Cost(17 * 8, 0),
        "stages.0.branches.0": Cost(17 * 17 + 17 + 2 * 8 + 8, 17 * 17 * 8),
        "norm": Cost(16, 0),
        "head": Cost(8 * 5 + 5, 8 * 5),
    }
    assert list(rows) == ["stem", "class_token", "position", "stages.0.branches.0", "norm", "head"]
    assert rows["stages.0.branches.0"].words == ("LayerNorm", "Linear 17 -> 17 over tokens", "times gamma")


# Names.


@pytest.mark.parametrize(
    ("op", "name"),
    [
        (Attention(1), "attention"),
        (Dense("token"), "token linear"),
        (Dense("token", 4), "token mlp"),
        (Dense("channel"), "channel linear"),
        (Dense("channel", 4), "channel mlp"),
        (Gating(4), "gating"),
        (Permute(4), "permute"),
        (RepMLP(1), "repmlp"),
    ],
)
def test_labels(op, name):
    assert label(op) == name


def test_token_mixers(one_block):
    assert token_mixers(one_block(Attention(2), Dense("channel", 4))) == "attention"
    assert token_mixers(one_block(Dense("channel", 4))) == "none"
    assert token_mixers(one_block(Attention(2), Gating(4), Attention(1))) == "attention, gating"
    stages = (Stage(1, 8, (Branch(Gating(4)),)), Stage(1, 8, (CHANNEL,)), Stage(1, 8, (Branch(Attention(2)),)))
    assert token_mixers(replace(one_block(), stages=stages)) == "gating / none / attention"
    stages = (Stage(1, 8, (Branch(Attention(1)),)), Stage(1, 8, (Branch(Attention(2)),)))
    assert token_mixers(replace(one_block(), stages=stages)) == "attention"


# Exponents.


@pytest.mark.parametrize(
    ("points", "power"),
    [
        ([(2, 4), (3, 9)], 2.0),
        ([(1, 7), (10, 70), (100, 700)], 1.0),
        ([(1, 1), (2, 2), (4, 16)], 2.0),  # logs 0, 1, 2 and 0, 1, 4: (5/3 + 7/3) / 2
        ([(5, 3), (6, 3)], 0.0),
    ],
)
def test_the_exponent_is_that_of_least_squares(points, power):
    assert exponent(points) == pytest.approx(power, abs=1e-12)


@pytest.mark.parametrize("points", [[], [(4, 5)], [(4, 5), (4, 5)]])
def test_there_is_no_exponent_without_two_sizes(points):
    assert exponent(points) is None


@pytest.mark.parametrize(
    ("op", "power"),
    [
        (Dense("channel", 16), 1),
        (Dense("token"), 2),
        (Dense("token", 4), 1),
        (RepMLP(1, kernels=(), reduction=8), None),
        (Gating(16), None),
        (Permute(4), None),
        (Attention(2), None),
    ],
    ids=str,
)
def test_exponents_of_branches(one_block, op, power):
    design = one_block(op)
    found = macs_exponents([design.at(size) for size in (8, 16)])[label(op)]
    if power is not None:
        assert found == pytest.approx(power, abs=1e-12)
    else:
        macs = [design.at(size).stages[0].block[0].op.cost(shape).macs for size, shape in shapes(design)]
        assert found == pytest.approx(math.log(macs[1] / macs[0]) / math.log(4), abs=1e-12)


@pytest.mark.parametrize(("name", "power"), [("mixer_b16", 1), ("ff_only_ti16", 2)])  # hidden widths of C / 2 and 4 N
def test_exponents_of_published_token_mlps(name, power):
    exponents = macs_exponents([zoo.get(name, image_size=size) for size in (112, 224, 448)])
    assert exponents["token mlp"] == pytest.approx(power, abs=1e-12)
    assert exponents["channel mlp"] == pytest.approx(1, abs=1e-12)


def shapes(design: Architecture):
    return [(size, next(shape for _, shape in design.at(size).shapes())) for size in (8, 16)]


def test_the_exponent_of_attention_by_hand(one_block):
    # 4 N C^2 + 2 N^2 C at C = 8: 4096 + 4096 for N = 16, 16384 + 65536 for N = 64.
    exponents = macs_exponents([one_block(Attention(2)).at(size) for size in (8, 16)])
    assert exponents["attention"] == pytest.approx(math.log(10) / math.log(4), abs=1e-12)
    assert 1 < exponents["total"] < exponents["attention"] < 2


def test_tokens_of_later_stages_grow_with_those_of_the_first(one_block):
    block = (Branch(Dense("token")), CHANNEL)
    design = replace(one_block(), stages=(Stage(1, 8, block), Stage(2, 16, block, "conv2")))
    exponents = macs_exponents([design.at(size) for size in (8, 16, 32)])
    assert exponents["token linear"] == pytest.approx(2, abs=1e-12)
    assert exponents["channel mlp"] == pytest.approx(1, abs=1e-12)


def test_it_does_not_load_torch():
    code = "import sys, search_space.breakdown; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_positions_of_another_grid_and_a_norm_after_the_pooling() -> None:
    rows = {row.key: row for row in breakdown(zoo.get("ff_only_l32"))}
    assert rows["position"].words == ("resized from 14 x 14",)
    architecture = replace(zoo.get("mixer_s16"), norm_after_pooling=True)
    assert {row.key: row.tokens for row in breakdown(architecture)}["norm"] == 1

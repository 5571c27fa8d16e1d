"""Costs of ops: the closed forms of the papers, and the layers themselves as the second witness."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from search_space.errors import ArchitectureError
from search_space.layers import LAYERS
from search_space.ops import MIXERS, OPS, Attention, Cost, Dense, Gating, Op, Permute, TokenShape, register_mixer
from search_space.ops.base import register_op
from search_space.ops.dense import parse_width

SHAPES = [TokenShape(4, 8), TokenShape(7, 28), TokenShape(14, 192, class_token=True)]
PERMUTABLE = [TokenShape(4, 8), TokenShape(7, 28), TokenShape(14, 196)]
SETTINGS = {"heads": 2, "token_hidden": "C/2", "token_norm": "channel", "expansion": 6, "weighted": True}


def test_every_op_has_a_layer_and_a_name_of_its_own() -> None:
    assert set(LAYERS) == set(OPS.values())
    assert {kind: op.kind for kind, op in OPS.items()} == {kind: kind for kind in OPS}


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="attention"):
        register_op("attention")(type("Other", (Op,), {}))
    with pytest.raises(ValueError, match="permute"):
        register_mixer("permute")(lambda shape: None)
    assert OPS["attention"] is Attention


def test_cost_is_what_the_layer_has_and_does(example_op: Op) -> None:
    shape = TokenShape(4, 8)
    with torch.device("meta"):
        layer = LAYERS[type(example_op)](example_op, shape)
        x = torch.empty(1, shape.tokens, shape.dim)
    with FlopCounterMode(display=False) as counter:
        assert layer(x).shape == x.shape
    params, macs = example_op.cost(shape)
    assert params == sum(parameter.numel() for parameter in layer.parameters())
    assert macs == Fraction(counter.get_total_flops(), 2)


def test_cost_with_a_class_token_is_what_the_layer_has_and_does(example_op: Op) -> None:
    shape = TokenShape(4, 8, class_token=True)
    try:
        example_op.check(shape)
    except ArchitectureError:
        assert isinstance(example_op, Permute)
        return
    with torch.device("meta"):
        layer = LAYERS[type(example_op)](example_op, shape)
        x = torch.empty(1, 17, 8)
    with FlopCounterMode(display=False) as counter:
        layer(x)
    params, macs = example_op.cost(shape)
    assert params == sum(parameter.numel() for parameter in layer.parameters())
    assert macs == Fraction(counter.get_total_flops(), 2)


def test_an_op_is_a_hashable_value_described_by_its_settings(example_op: Op) -> None:
    again = type(example_op)(**example_op.settings())
    assert again == example_op
    assert hash(again) == hash(example_op)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(example_op, dataclasses.fields(example_op)[0].name, 3)


def test_fixed_input_size_says_whether_a_weight_depends_on_the_grid(example_op: Op) -> None:
    """Shapes of weights on two grids differ just if the op says so (permute also takes its settings from the grid)."""
    other = dataclasses.replace(example_op, segments=2) if isinstance(example_op, Permute) else example_op
    with torch.device("meta"):
        here = LAYERS[type(example_op)](example_op, TokenShape(4, 8)).state_dict()
        there = LAYERS[type(other)](other, TokenShape(2, 8)).state_dict()
    moved = any(here[name].shape != there[name].shape for name in here)
    assert example_op.fixed_input_size == (moved or isinstance(example_op, Permute))


def test_mixes_tokens_says_whether_a_token_sees_the_others(example_op: Op) -> None:
    generator = torch.Generator().manual_seed(1)
    layer = LAYERS[type(example_op)](example_op, TokenShape(4, 8)).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    x = torch.randn(1, 16, 8, dtype=torch.float64, generator=generator)
    changed = x.clone()
    changed[0, 5] += 1
    others = [token for token in range(16) if token != 5]
    moved = not torch.equal(layer(x)[0, others], layer(changed)[0, others])
    assert example_op.mixes_tokens == moved


@pytest.mark.parametrize("name", MIXERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_mixer_makes_an_op_that_mixes_tokens(name: str, shape: TokenShape) -> None:
    mixer = MIXERS[name]
    assert set(mixer.settings) <= set(SETTINGS), "a new setting needs an example in SETTINGS"
    mix = mixer.make(shape, **{setting: SETTINGS[setting] for setting in mixer.settings})
    assert mix.op.mixes_tokens
    assert type(mix.op) in OPS.values()
    assert 0 < mix.eps <= 1e-4


# The closed forms, with r the ratio of a hidden width to C; N tokens, C channels.


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention(shape: TokenShape, heads: int) -> None:
    n, c = shape.tokens, shape.dim
    assert Attention(heads).cost(shape) == Cost(4 * c * c + 4 * c, 4 * n * c * c + 2 * n * n * c)
    assert Attention(heads, qkv_bias=False).cost(shape).params == 4 * c * c + c


def test_attention_worked_by_hand() -> None:
    """Four products of 64 x 96 x 96, and two of 64 x 64 x 96."""
    assert Attention(3).cost(TokenShape(8, 96)).macs == 2_359_296 + 786_432
    assert 2 * Attention(3).cost(TokenShape(8, 96)).macs == 6_291_456  # for two images


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_token_mlp(shape: TokenShape) -> None:
    n, c, d = shape.tokens, shape.dim, 11
    assert Dense("token", d).cost(shape) == Cost(2 * n * d + d + n, 2 * n * d * c)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_token_linear(shape: TokenShape) -> None:
    n, c = shape.tokens, shape.dim
    assert Dense("token").cost(shape) == Cost(n * n + n, n * n * c)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("r", [1, 3, 4])
def test_channel_mlp(shape: TokenShape, r: int) -> None:
    n, c = shape.tokens, shape.dim
    assert Dense("channel", r * c).cost(shape) == Cost(2 * r * c * c + (r + 1) * c, 2 * r * n * c * c)
    assert Dense("channel", r * c, bias=False).cost(shape).params == 2 * r * c * c


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("r", [2, 4, 6])
def test_gating(shape: TokenShape, r: int) -> None:
    n, c = shape.tokens, shape.dim
    params = Fraction(3, 2) * r * c * c + (2 * r + 1) * c + n * n + n
    macs = Fraction(3, 2) * r * n * c * c + Fraction(r * c * n * n, 2)
    assert Gating(r * c).cost(shape) == (params, macs)


@pytest.mark.parametrize("shape", PERMUTABLE, ids=str)
def test_permute(shape: TokenShape) -> None:
    n, c = shape.tokens, shape.dim
    weighted = (5 * c * c + Fraction(17, 4) * c, 4 * n * c * c + c * c)
    assert Permute(shape.grid).cost(shape) == weighted
    assert Permute(shape.grid, weighted=False).cost(shape) == Cost(4 * c * c + c, 4 * n * c * c)
    assert Permute(shape.grid, weighted=False, bias=True).cost(shape).params == 4 * c * c + 4 * c


@pytest.mark.parametrize(
    ("make", "growth"),
    [
        (lambda n: Attention(1), 7.0),
        (lambda n: Dense("token", 192), 4.0),
        (lambda n: Dense("token", 4 * n), 16.0),
        (lambda n: Dense("token"), 16.0),
        (lambda n: Gating(6 * 384), 6.18),
        (lambda n: Permute(math.isqrt(n)), 4.0),
    ],
    ids=["attention", "mixer", "ff_only", "resmlp", "gmlp", "permute"],
)
def test_growth_of_macs_from_256_to_1024_tokens(make, growth: float) -> None:
    """Ratios at C 384, from the reference figures; attention: (16 C + 32 N) / (4 C + 2 N) is 7.0 at N 256."""
    macs = [make(n).cost(TokenShape(math.isqrt(n), 384)).macs for n in (256, 1024)]
    assert macs[1] / macs[0] == pytest.approx(growth, abs=0.006)


@pytest.mark.parametrize(
    ("op", "ratio"),
    [(Permute(16), 205), (Permute(16, weighted=False), 256), (Attention(6), 340)],
    ids=["weighted", "unweighted", "attention"],
)
def test_macs_per_parameter(op: Op, ratio: int) -> None:
    """Reference figures at C 384, N 256."""
    params, macs = op.cost(TokenShape(16, 384))
    assert macs / params == pytest.approx(ratio, abs=1)


@pytest.mark.parametrize(
    ("text", "width"),
    [("C", 8), ("C/2", 4), ("2C", 16), ("N", 17), ("4N", 68), ("N/2", 8), ("3N/2", 25), ("C/100", 1)],
)
def test_a_width_is_a_multiple_of_channels_or_tokens(text: str, width: int) -> None:
    assert parse_width(text, TokenShape(4, 8, class_token=True)) == width


@pytest.mark.parametrize("text", ["", "8", "c", "C/0", "0C", "-C", "C*2", "C/", "NC", "C/2/2", "1.5C", "C\n"])
def test_other_widths_are_refused(text: str) -> None:
    with pytest.raises(ArchitectureError, match="hidden width"):
        parse_width(text, TokenShape(4, 8))

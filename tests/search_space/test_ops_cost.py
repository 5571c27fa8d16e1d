"""Costs of ops: the closed forms of the papers, and the layers themselves as the second witness."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Literal

import pytest

from search_space.errors import ArchitectureError
from search_space.ops import (
    MIXERS,
    OPS,
    Attention,
    Cost,
    Dense,
    Gating,
    Mixer,
    Op,
    Permute,
    RepMLP,
    TokenShape,
    register_mixer,
)
from search_space.ops.base import register_op
from search_space.ops.dense import parse_width

SHAPES = [TokenShape(4, 8), TokenShape(7, 28), TokenShape(14, 192, class_token=True)]
PERMUTABLE = [TokenShape(4, 8), TokenShape(7, 28), TokenShape(14, 196)]


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="attention"):
        register_op("attention")(type("Other", (Op,), {}))
    with pytest.raises(ValueError, match="permute"):
        register_mixer("permute")(type("Other", (Mixer,), {}))
    assert OPS["attention"] is Attention


@pytest.mark.parametrize("name", MIXERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_mixer_makes_an_op_that_mixes_tokens(name: str, shape: TokenShape) -> None:
    for example in MIXERS[name].examples:
        assert MIXERS[name](**example).mix(shape).op.mixes_tokens


def test_a_space_gives_what_a_mixer_has_no_default_for() -> None:
    family = ("attention", "mlp", "linear", "gating", "permute", "repmlp")
    settings = {name: MIXERS[name].settings() for name in family}
    assert {name: tuple(key for key, value in own.items() if value.required) for name, own in settings.items()} == {
        "attention": ("heads",),
        "mlp": ("token_hidden", "token_norm"),
        "linear": (),
        "gating": ("expansion",),
        "permute": ("weighted",),
        "repmlp": ("sharesets",),
    }
    shape = TokenShape(4, 8)
    assert MIXERS["gating"](expansion=2).mix(shape).op == Gating(16)
    assert MIXERS["gating"](expansion=2, attention_dim=3).mix(shape).op == Gating(16, attention_dim=3)
    assert MIXERS["repmlp"](sharesets=4).mix(shape) == (RepMLP(4, (1, 3), 4), "channel", 1e-5)


# What an op says of itself.


def test_settings_leave_out_defaults() -> None:
    """So that an op may gain a setting, and what was written before keeps its hash."""
    assert Attention(2).settings() == {"heads": 2}
    assert Attention(2, qkv_bias=False).settings() == {"heads": 2, "qkv_bias": False}
    assert Dense("token").settings() == {"axis": "token"}
    assert Dense("channel", 6, glu=True).settings() == {"axis": "channel", "hidden": 6, "glu": True}
    assert Gating(6).settings() == {"hidden": 6}
    assert Gating(6, attention_dim=4).settings() == {"hidden": 6, "attention_dim": 4}
    assert Permute(4).settings() == {"segments": 4}
    assert RepMLP(2, kernels=(1, 3)).settings() == {"sharesets": 2}
    assert RepMLP(2, kernels=(5, 3)).settings() == {"sharesets": 2, "kernels": [3, 5]}


def test_settings_without_effect_are_reset() -> None:
    assert Dense("channel", 6, bias=True, batchnorm=True) == Dense("channel", 6, bias=False, batchnorm=True)
    assert Dense("token", activation="silu", glu=True) == Dense("token")
    assert Dense("token", 6, activation="silu") != Dense("token", 6)
    assert RepMLP(2, (3, 1)) == RepMLP(2, (1, 3))
    assert RepMLP(2, (3,), deploy=True) == RepMLP(2, (), deploy=True) != RepMLP(2, ())


@pytest.mark.parametrize("kind", ["attention", "dense", "gating", "permute"])
def test_ops_without_training_branches_are_their_own_deployed_form(kind: str) -> None:
    for example in OPS[kind].examples:
        op = OPS[kind](**example)
        assert op.deployed is op


def test_repmlp_has_another_form_to_deploy() -> None:
    assert RepMLP(2, (3, 5), 2).deployed == RepMLP(2, (), 2, deploy=True)


TOKEN = TokenShape(4, 28, class_token=True)


@pytest.mark.parametrize(
    ("op", "shape", "side", "moved"),
    [
        (Dense("token", 68), TOKEN, 8, Dense("token", 4 * 65)),
        (Dense("token", 68, glu=True), TOKEN, 2, Dense("token", 4 * 5, glu=True)),
        (Dense("token", 34, activation="silu"), TOKEN, 1, Dense("token", 2 * 2, activation="silu")),
        (Dense("token", 17), TOKEN, 4, Dense("token", 17)),
        (Dense("token", 4), TokenShape(4, 8), 8, Dense("token", 4)),  # C / 2, no multiple of 16
        (Dense("token", 16), TokenShape(4, 8), 8, Dense("token", 16)),  # both: 2 C, as in MLP-Mixer
        (Dense("token", 48), TokenShape(4, 20), 8, Dense("token", 192)),  # 3 N, no multiple of C / 2
        (Dense("token", 18), TOKEN, 8, Dense("token", 18)),  # neither
        (Dense("token"), TOKEN, 8, Dense("token")),
        (Dense("channel", 68), TOKEN, 8, Dense("channel", 68)),
        (Permute(4, weighted=False, bias=True), TokenShape(4, 8), 8, Permute(8, weighted=False, bias=True)),
        (Attention(2), TOKEN, 8, Attention(2)),
        (Gating(16), TOKEN, 8, Gating(16)),
        (RepMLP(2, (3,)), TokenShape(4, 8), 8, RepMLP(2, (3,))),
    ],
    ids=str,
)
def test_on_another_grid(op: Op, shape: TokenShape, side: int, moved: Op) -> None:
    """FF-only's 4 (N + 1) follows the tokens; MLP-Mixer's C / 2 stays; permute has a segment a row."""
    other = shape._replace(grid=side)
    assert op.at(shape, other) == moved
    assert op.at(shape, shape) == op
    assert op.at(shape, other).at(other, shape) == op


@pytest.mark.parametrize(
    ("op", "said", "unsaid"),
    [
        (Attention(2), ["8 -> 24", "2 x 4", "8 -> 8"], []),
        (Dense("token", 5), ["16 -> 5 over tokens", "GELU", "5 -> 16 over tokens"], ["8", "BatchNorm"]),
        (Dense("token"), ["16 -> 16 over tokens"], ["GELU"]),
        (Dense("channel", 6, activation="silu", glu=True), ["8 -> 6", "SiLU(b)", "3 -> 8"], ["tokens", "GELU"]),
        (Dense("channel", 32, batchnorm=True), ["8 -> 32", "BatchNorm", "GELU", "32 -> 8", "BatchNorm"], ["tokens"]),
        (Gating(12, attention_dim=3), ["8 -> 12", "GELU", "LayerNorm", "16 -> 16", "width 3", "6 -> 8"], []),
        (Gating(12), ["8 -> 12", "GELU", "LayerNorm", "16 -> 16", "6 -> 8"], ["attention"]),
        (Permute(4), ["8 -> 8", "8 -> 2 -> 24", "8 -> 8"], []),
        (Permute(4, weighted=False), ["8 -> 8", "sum", "8 -> 8"], ["24"]),
        (RepMLP(2, (1, 5)), ["BN", "16 -> 16", "2", "conv 1 x 1", "conv 5 x 5", "8 -> 2 -> 8"], ["3 x 3"]),
        (RepMLP(2, deploy=True, reduction=1), ["16 -> 16", "2", "8 -> 8 -> 8"], ["BN", "conv"]),
    ],
    ids=str,
)
def test_steps_say_what_happens(op: Op, said: list[str], unsaid: list[str]) -> None:
    """In this order, on 4 x 4 tokens of 8 channels."""
    text = "; ".join(op.steps(TokenShape(4, 8)))
    assert re.search(".*".join(map(re.escape, said)), text), text
    assert not [word for word in unsaid if word in text], text


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


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("d", [1, 3, 64])
def test_gating_with_attention(shape: TokenShape, d: int) -> None:
    """AMLP adds q, k, w of C -> d without bias, two products of N x N x d, and d -> hidden / 2 with bias."""
    n, c = shape.tokens, shape.dim
    plain = Gating(6 * c).cost(shape)
    more = Cost(3 * c * d + 3 * c * d + 3 * c, 3 * n * c * d + 2 * n * n * d + 3 * n * c * d)
    assert Gating(6 * c, attention_dim=d).cost(shape) == plain.plus(more)


def test_gating_with_attention_worked_by_hand() -> None:
    """AMLP of Ti/16 in a block: 128 channels, 196 tokens, hidden 768, attention of 64."""
    gate = 128 * 768 + 768 + 2 * 384 + 196 * 196 + 196 + 384 * 128 + 128
    tiny = 128 * 192 + 64 * 384 + 384
    assert Gating(768, attention_dim=64).cost(TokenShape(14, 128)).params == gate + tiny


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("axis", ["token", "channel"])
@pytest.mark.parametrize("hidden", [2, 10, 48])
def test_gated_linear_unit(shape: TokenShape, axis: Literal["token", "channel"], hidden: int) -> None:
    """Fc1 makes both halves, fc2 sees one: width -> 2 h, h -> width, with activations that cost nothing."""
    n, c = shape.tokens, shape.dim
    (width, places), h = (n, c) if axis == "token" else (c, n), hidden // 2
    cost = Cost(width * 2 * h + 2 * h + h * width + width, 3 * width * h * places)
    assert Dense(axis, hidden, glu=True).cost(shape) == cost
    assert Dense(axis, hidden, glu=True, activation="silu").cost(shape) == cost
    assert Dense(axis, hidden, glu=True, bias=False).cost(shape).params == 3 * width * h


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("r", [1, 4])
def test_dense_with_batchnorm(shape: TokenShape, r: int) -> None:
    """A scale and a shift for every output stand in place of its bias; they count no MACs."""
    n, c = shape.tokens, shape.dim
    both = Cost(2 * r * c * c + 2 * r * c + 2 * c, 2 * r * n * c * c)
    assert Dense("channel", r * c, batchnorm=True).cost(shape) == both
    assert Dense("channel", batchnorm=True).cost(shape) == Cost(c * c + 2 * c, n * c * c)


REPMLP = [(TokenShape(4, 8), 1), (TokenShape(4, 8), 8), (TokenShape(7, 28), 4), (TokenShape(14, 384), 16)]


@pytest.mark.parametrize(("shape", "s"), REPMLP, ids=str)
def test_repmlp_deployed(shape: TokenShape, s: int) -> None:
    n, c = shape.tokens, shape.dim
    params = s * (n * n + n) + Fraction(c * c, 2) + Fraction(5 * c, 4)
    assert RepMLP(s, deploy=True).cost(shape) == (params, c * n * n + Fraction(c * c, 2))


@pytest.mark.parametrize(("shape", "s"), REPMLP, ids=str)
@pytest.mark.parametrize("kernels", [(), (1,), (1, 3), (3, 5, 7)], ids=str)
def test_repmlp_in_training_costs_more(shape: TokenShape, s: int, kernels: tuple[int, ...]) -> None:
    """By 2 S - S N + sum(S k^2 + 2 S) parameters and N C sum(k^2) MACs."""
    n, c = shape.tokens, shape.dim
    squares = sum(kernel * kernel for kernel in kernels)
    more = Cost(2 * s - s * n + s * squares + 2 * s * len(kernels), n * c * squares)
    training = RepMLP(s, kernels)
    assert training.cost(shape) == training.deployed.cost(shape).plus(more)


def test_repmlp_worked_by_hand() -> None:
    """The first stage of RepMLPNet-T224: 56 x 56 tokens of 64 channels, one set, kernels 1 and 3, gate of 16."""
    shape = TokenShape(56, 64)
    gate = 64 * 16 + 16 + 16 * 64 + 64
    assert RepMLP(1).cost(shape) == (9_834_496 + 2 + gate + (1 + 2) + (9 + 2), 629_407_744 + 2_048 + 3136 * 64 * 10)
    assert RepMLP(1, deploy=True).cost(shape) == (9_834_496 + 3136 + gate, 629_407_744 + 2_048)


def test_repmlp_with_another_gate() -> None:
    """C / reduction, rounded down."""
    wide, narrow = (RepMLP(2, reduction=reduction).cost(TokenShape(4, 8)) for reduction in (1, 3))
    assert wide.params - narrow.params == (8 * 8 + 8 + 8 * 8 + 8) - (8 * 2 + 2 + 2 * 8 + 8)
    assert wide.macs - narrow.macs == 2 * 64 - 2 * 16


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
        (lambda n: RepMLP(16, deploy=True), 15.96),
    ],
    ids=["attention", "mixer", "ff_only", "resmlp", "gmlp", "permute", "repmlp"],
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

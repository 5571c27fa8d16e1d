"""Every registered op and token mixer fulfils its contract, and the contracts detect those that do not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import pytest
from torch import Tensor, nn

from search_space.errors import ArchitectureError
from search_space.models.layers import LAYERS, make_layer, register_layer
from search_space.ops import EXAMPLE_SHAPE, MIXERS, OPS, Cost, Mix, Mixer, Op, TokenShape, register_mixer, register_op
from search_space.ops.mixer import whole
from search_space.space import parse_space
from search_space.testing import MixerContract, OpContract


class TestOps(OpContract):
    names = tuple(OPS)


class TestMixers(MixerContract):
    names = tuple(MIXERS)


def test_every_op_has_a_layer() -> None:
    assert set(LAYERS) == set(OPS.values())


# An external mixer.


@dataclass(frozen=True)
class Shift(Op):
    """Moves the tokens around in a circle by `by`: no parameters, no MACs."""

    examples = ({"by": 1}, {"by": 3})
    by: int
    fixed_input_size: ClassVar[bool] = False

    def cost(self, shape: TokenShape) -> Cost:
        return Cost(0, 0)

    def steps(self, shape: TokenShape) -> tuple[str, ...]:
        return (f"shift by {self.by}",)


@dataclass(frozen=True)
class ShiftMixer(Mixer):
    examples = ({"heads": 2},)
    heads: int = whole(1)

    def mix(self, shape: TokenShape) -> Mix:
        return Mix(Shift(self.heads))


class ShiftLayer(nn.Module):
    def __init__(self, op: Shift, shape: TokenShape) -> None:
        super().__init__()
        self.by = op.by

    def forward(self, x: Tensor) -> Tensor:
        return x.roll(self.by, dims=1)


@pytest.fixture
def shift() -> Iterator[None]:
    """The mixer above, registered as in a user's module."""
    register_op("shift")(Shift)
    register_mixer("shift")(ShiftMixer)
    register_layer(Shift)(ShiftLayer)
    yield
    for registry, name in ((OPS, "shift"), (MIXERS, "shift")):
        registry._entries.pop(name)
    LAYERS.pop(Shift, None)


def test_a_mixer_from_outside_fulfils_the_contract(shift: None) -> None:
    findings = [finding for contract in (OpContract, MixerContract) for finding in contract.check("shift")]
    assert len(findings) == 13
    assert [finding for finding in findings if finding.problem or finding.skipped] == []


def test_a_mixer_from_outside_shares_the_name_of_a_setting(shift: None) -> None:
    """Attention offers 1 and 4 heads, the other mixer 2 and 4; each keeps to its own choices."""
    space = parse_space(
        """
name: shared
net: {patch: [2], pooling: [gap], position: [none], norm: [layernorm], layer_scale: [none], drop_path: [0.0],
      stages: [1]}
stage: {downsample: [none], mixer: {attention: {heads: [1, 4]}, shift: {heads: [2, 4]}}, channel_ratio: [0],
        order: [token_first]}
scales: [{image_size: 8, tokens: [16, 16], dim: [8], depth: [1], max_params: 1M}]
""",
        image_size=8,
    )
    assert space.size == 4
    assert space.axis("stage1.heads").values == (1, 4, 2)


@pytest.mark.parametrize(
    ("name", "replacement", "broken"),
    [
        ("cost", lambda self, shape: Cost(1, 0), "test_cost_is_exact"),
        ("cost", lambda self, shape: Cost(0, 1), "test_cost_is_exact"),
        ("steps", lambda self, shape: (), "test_it_can_be_drawn"),
        ("mixes_tokens", False, "test_mixes_tokens_says"),
        ("fixed_input_size", True, "test_fixed_input_size"),
        ("settings", lambda self: {"by": 7}, "test_it_is_a_value"),
    ],
)
def test_the_contract_finds_what_is_wrong(
    shift: None, monkeypatch: pytest.MonkeyPatch, name: str, replacement: object, broken: str
) -> None:
    monkeypatch.setattr(Shift, name, replacement)
    (promise,) = {getattr(OpContract, test).__doc__ for test in vars(OpContract) if test.startswith(broken)}
    problems = {finding.promise: finding.problem for finding in OpContract.check("shift")}
    assert problems[promise.strip().rstrip(".")].startswith("with shift {'by': ")


def test_an_op_without_a_layer_says_what_is_missing(shift: None) -> None:
    LAYERS.pop(Shift)
    with pytest.raises(ArchitectureError, match=r"the op 'shift' has no layer; allowed: .*register_layer\(Shift\)"):
        make_layer(Shift(1), EXAMPLE_SHAPE)


def test_the_layer_of_an_op_may_be_in_another_module(shift: None, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    LAYERS.pop(Shift)
    (tmp_path / "shift_layer.py").write_text(
        "from search_space.models.layers import LAYERS\nfrom search_space.ops import OPS\nfrom torch import nn\n"
        "LAYERS[OPS['shift']] = lambda op, shape: nn.Identity()\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(Shift, "layer", "shift_layer")
    assert isinstance(make_layer(Shift(1), EXAMPLE_SHAPE), nn.Identity)

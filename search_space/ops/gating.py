"""The gMLP block's spatial gating unit (https://arxiv.org/abs/2105.08050, section 2)."""

from __future__ import annotations

from dataclasses import dataclass

from search_space.ops.base import Cost, Op, TokenShape, linear, register_op, require
from search_space.ops.mixer import Mix, Mixer, register_mixer, whole


@register_op("gating")
@dataclass(frozen=True)
class Gating(Op):
    """fc(C -> hidden), GELU, halves u, v; v = Linear over tokens(LayerNorm(v)); fc(u * v -> C).

    With `attention_dim` d it is the unit of aMLP (section 4): v += fc(softmax(q k^T / sqrt(d)) w), with a single head
    whose q, k, w are linear in the input of the block.

    Attributes:
        hidden: Width of the first projection; even, since u and v have half of it each.
        gate_eps: Epsilon of the LayerNorm on v (1e-5 in the reference code, unlike the block's own 1e-6).
        attention_dim: Width of the tiny attention; 0 for none.
    """

    examples = ({"hidden": 24}, {"hidden": 6, "gate_eps": 1e-3}, {"hidden": 12, "attention_dim": 3})
    hidden: int
    gate_eps: float = 1e-5
    attention_dim: int = 0

    def check(self, shape: TokenShape) -> None:
        require(
            self.hidden >= 2 and self.hidden % 2 == 0,
            f"gating splits its hidden width into halves, so it must be even; it is {self.hidden}",
        )
        require(0 < self.gate_eps <= 0.1, f"gate_eps must be in (0, 0.1]; it is {self.gate_eps}")
        require(self.attention_dim >= 0, f"attention_dim must be 0 (none) or more; it is {self.attention_dim}")

    def cost(self, shape: TokenShape) -> Cost:
        n, c, half = shape.tokens, shape.dim, self.hidden // 2
        norm = Cost(2 * half, 0)
        cost = linear(c, self.hidden, n).plus(norm, linear(n, n, half), linear(half, c, n))
        if d := self.attention_dim:
            cost = cost.plus(linear(c, 3 * d, n, bias=False), Cost(0, 2 * n * n * d), linear(d, half, n))
        return cost

    def steps(self, shape: TokenShape) -> tuple[str, ...]:
        n, c, half = shape.tokens, shape.dim, self.hidden // 2
        tiny = (f"v + attention of width {self.attention_dim}",) if self.attention_dim else ()
        gate = ("halves u, v; LayerNorm of v", f"Linear {n} -> {n} over tokens of v", *tiny, "u * v")
        return (f"fc {c} -> {self.hidden}", "GELU", *gate, f"fc {half} -> {c}")


@register_mixer("gating")
@dataclass(frozen=True)
class GatingMixer(Mixer):
    """GMLP's block (an expansion of 6 in the paper, usually without a channel MLP), or aMLP's if it has attention."""

    examples = ({"expansion": 6}, {"expansion": 2, "attention_dim": 3})
    expansion: int = whole(1, width=lambda value, shape: value * shape.dim)
    attention_dim: int = whole(0, default=0)

    def mix(self, shape: TokenShape) -> Mix:
        return Mix(Gating(self.expansion * shape.dim, attention_dim=self.attention_dim))

"""The gMLP block's spatial gating unit (https://arxiv.org/abs/2105.08050, section 2)."""

from __future__ import annotations

from dataclasses import dataclass

from search_space.ops.base import Cost, Mix, Op, TokenShape, linear, register_mixer, register_op, require


@register_op("gating")
@dataclass(frozen=True)
class Gating(Op):
    """fc(C -> hidden), GELU, halves u, v; v = Linear over tokens(LayerNorm(v)); fc(u * v -> C).

    Attributes:
        hidden: Width of the first projection, even: u and v have half of it each.
        gate_eps: Epsilon of the LayerNorm on v (1e-5 in the reference code, unlike the block's own 1e-6).
    """

    hidden: int
    gate_eps: float = 1e-5

    def check(self, shape: TokenShape) -> None:
        require(
            self.hidden >= 2 and self.hidden % 2 == 0,
            f"gating splits its hidden width in halves, so it has to be even; it is {self.hidden}",
        )
        require(0 < self.gate_eps <= 0.1, f"gate_eps has to lie in (0, 0.1]; it is {self.gate_eps}")

    def cost(self, shape: TokenShape) -> Cost:
        n, c, half = shape.tokens, shape.dim, self.hidden // 2
        norm = Cost(2 * half, 0)
        return linear(c, self.hidden, n).plus(norm).plus(linear(n, n, half)).plus(linear(half, c, n))


@register_mixer("gating", "expansion")
def gating(shape: TokenShape, expansion: int) -> Mix:
    """GMLP's block; 6 in the paper, usually without a channel MLP beside it."""
    return Mix(Gating(expansion * shape.dim))

"""The gMLP block's spatial gating unit (https://arxiv.org/abs/2105.08050, section 2)."""

from __future__ import annotations

from dataclasses import dataclass

from search_space.ops.base import Cost, Mix, Op, TokenShape, linear, register_mixer, register_op, require


@register_op("gating")
@dataclass(frozen=True)
class Gating(Op):
    """fc(C -> hidden), GELU, halves u, v; v = Linear over tokens(LayerNorm(v)); fc(u * v -> C).

    With `attention_dim` d it is aMLP's (section 4): v += fc(softmax(q k^T / sqrt(d)) w) with a single head, whose
    q, k, w are linear in the input of the block.

    Attributes:
        hidden: Width of the first projection, even: u and v have half of it each.
        gate_eps: Epsilon of the LayerNorm on v (1e-5 in the reference code, unlike the block's own 1e-6).
        attention_dim: Width of the tiny attention; 0 for none.
    """

    hidden: int
    gate_eps: float = 1e-5
    attention_dim: int = 0

    def check(self, shape: TokenShape) -> None:
        require(
            self.hidden >= 2 and self.hidden % 2 == 0,
            f"gating splits its hidden width in halves, so it has to be even; it is {self.hidden}",
        )
        require(0 < self.gate_eps <= 0.1, f"gate_eps has to lie in (0, 0.1]; it is {self.gate_eps}")
        require(self.attention_dim >= 0, f"attention_dim has to be 0 (none) or more; it is {self.attention_dim}")

    def cost(self, shape: TokenShape) -> Cost:
        n, c, half = shape.tokens, shape.dim, self.hidden // 2
        norm = Cost(2 * half, 0)
        cost = linear(c, self.hidden, n).plus(norm).plus(linear(n, n, half)).plus(linear(half, c, n))
        if d := self.attention_dim:
            cost = cost.plus(linear(c, 3 * d, n, bias=False)).plus(Cost(0, 2 * n * n * d)).plus(linear(d, half, n))
        return cost

    def steps(self, shape: TokenShape) -> tuple[str, ...]:
        n, c, half = shape.tokens, shape.dim, self.hidden // 2
        tiny = (f"v + attention of width {self.attention_dim}",) if self.attention_dim else ()
        gate = ("halves u, v; LayerNorm of v", f"Linear {n} -> {n} over tokens of v", *tiny, "u * v")
        return (f"fc {c} -> {self.hidden}", "GELU", *gate, f"fc {half} -> {c}")


@register_mixer("gating", "expansion", "attention_dim")
def gating(shape: TokenShape, expansion: int, attention_dim: int = 0) -> Mix:
    """GMLP's block, with aMLP's attention if its width is not 0; 6 in the papers, usually without a channel MLP."""
    return Mix(Gating(expansion * shape.dim, attention_dim=attention_dim))

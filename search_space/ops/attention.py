"""Multi-head self-attention, as in ViT (https://arxiv.org/abs/2010.11929)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from search_space.ops.base import Cost, Op, TokenShape, linear, register_op, require
from search_space.ops.mixer import Mix, Mixer, register_mixer, whole


@register_op("attention")
@dataclass(frozen=True)
class Attention(Op):
    """softmax(q k^T / sqrt(d)) v over all tokens, with `heads` heads of d = C / heads channels each.

    Attributes:
        heads: Number of heads; divides C.
        qkv_bias: Whether the q, k, v projection has a bias.
    """

    examples = ({"heads": 1}, {"heads": 4}, {"heads": 2, "qkv_bias": False})
    heads: int
    qkv_bias: bool = True
    fixed_input_size: ClassVar[bool] = False

    def check(self, shape: TokenShape) -> None:
        require(self.heads >= 1, f"attention needs at least one head; heads is {self.heads}")
        require(
            shape.dim % self.heads == 0,
            f"attention needs C divisible by its heads; C is {shape.dim}, heads is {self.heads}",
        )

    def cost(self, shape: TokenShape) -> Cost:
        n, c = shape.tokens, shape.dim
        scores_and_values = Cost(0, 2 * n * n * c)
        return linear(c, 3 * c, n, self.qkv_bias).plus(scores_and_values, linear(c, c, n))

    def steps(self, shape: TokenShape) -> tuple[str, ...]:
        c = shape.dim
        return (f"fc {c} -> {3 * c}", f"softmax(q k^T / sqrt(d)) v, {self.heads} x {c // self.heads}", f"fc {c} -> {c}")


@register_mixer("attention")
@dataclass(frozen=True)
class AttentionMixer(Mixer):
    """ViT's token mixer."""

    examples = ({"heads": 2}, {"heads": 8})
    heads: int = whole(1)

    def mix(self, shape: TokenShape) -> Mix:
        return Mix(Attention(self.heads))

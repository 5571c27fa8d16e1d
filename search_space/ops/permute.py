"""Permute-MLP of the Vision Permutator (https://arxiv.org/abs/2106.12368, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from search_space.ops.base import Cost, Op, TokenShape, linear, register_op, require
from search_space.ops.mixer import Mix, Mixer, register_mixer, switch
from search_space.size import Size, canonical, plain, sides


@register_op("permute")
@dataclass(frozen=True)
class Permute(Op):
    """Mixes along height, width and channels in three branches, each a linear layer of C x C.

    Attributes:
        segments: G, the number of channel segments; equals the side of the token grid and divides C. If the grid is not
            a square, its height and width: the segments of the branches along height and along width.
        weighted: Whether the branches are summed with weights computed from their mean (split attention).
        bias: Whether the three branch layers have biases.
    """

    examples = ({"segments": 4}, {"segments": 4, "weighted": False}, {"segments": 4, "bias": True})
    segments: Size
    weighted: bool = True
    bias: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments", canonical(self.segments))

    def check(self, shape: TokenShape) -> None:
        require(not shape.class_token, "permute needs a grid of tokens, so it cannot be used with a class token")
        require(
            self.segments == shape.grid,
            f"permute needs as many segments as the grid has rows; segments is {plain(self.segments)}, "
            f"the grid {plain(shape.grid)}",
        )
        require(
            all(shape.dim % count == 0 for count in sides(self.segments)),
            f"permute needs C divisible by its segments; C is {shape.dim}, segments is {plain(self.segments)}",
        )

    def cost(self, shape: TokenShape) -> Cost:
        n, c = shape.tokens, shape.dim
        cost = linear(c, c, n, self.bias).times(3).plus(linear(c, c, n))
        if self.weighted:
            cost = cost.plus(linear(c, c // 4, 1), linear(c // 4, 3 * c, 1))
        return cost

    def steps(self, shape: TokenShape) -> tuple[str, ...]:
        c = shape.dim
        weights = f"weights of the 3: fc {c} -> {c // 4} -> {3 * c} of the mean"
        total = (weights, "weighted sum") if self.weighted else ("sum",)
        return (f"fc {c} -> {c} along height, width, channels", *total, f"fc {c} -> {c}")

    def at(self, shape: TokenShape, other: TokenShape, over_tokens: bool = False) -> Permute:
        return replace(self, segments=other.grid)


@register_mixer("permute")
@dataclass(frozen=True)
class PermuteMixer(Mixer):
    """Vision Permutator's token mixer; its norms have an epsilon of 1e-5."""

    examples = ({"weighted": True}, {"weighted": False})
    weighted: bool = switch()

    def mix(self, shape: TokenShape) -> Mix:
        return Mix(Permute(segments=shape.grid, weighted=self.weighted), eps=1e-5)

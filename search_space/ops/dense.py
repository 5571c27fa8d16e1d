"""Linear maps and two-layer MLPs, along the channels or along the tokens.

One op serves the channel MLP of every family, MLP-Mixer's token MLP (https://arxiv.org/abs/2105.01601), the token MLP
of FF-only (https://arxiv.org/abs/2105.02723), the single cross-patch linear of ResMLP
(https://arxiv.org/abs/2105.03404), and the gated MLPs of timm's gMixer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from search_space.errors import brief
from search_space.ops.base import Cost, Mix, Op, TokenShape, linear, register_mixer, register_op, require


@register_op("dense")
@dataclass(frozen=True)
class Dense(Op):
    """fc(width -> hidden), activation, fc(hidden -> width); or one fc(width -> width) if `hidden` is None.

    Attributes:
        axis: "token" (width N) or "channel" (width C).
        hidden: Hidden width, or None for a single linear layer.
        bias: Whether the linear layers have biases.
        activation: The nonlinearity; GELU is the exact erf form.
        glu: Whether the hidden width is split in halves a, b and a * activation(b) goes on
            (https://arxiv.org/abs/2002.05202; gMixer).
        batchnorm: Whether a BatchNorm follows each linear layer, in place of its bias (RepMLPNet).
    """

    axis: Literal["token", "channel"]
    hidden: int | None = None
    bias: bool = True
    activation: Literal["gelu", "silu"] = "gelu"
    glu: bool = False
    batchnorm: bool = False

    def __post_init__(self) -> None:
        if self.batchnorm:
            object.__setattr__(self, "bias", False)
        if self.hidden is None:
            object.__setattr__(self, "activation", "gelu")
            object.__setattr__(self, "glu", False)

    @property
    def mixes_tokens(self) -> bool:  # type: ignore[override]
        """True along the tokens."""
        return self.axis == "token"

    @property
    def fixed_input_size(self) -> bool:  # type: ignore[override]
        """True along the tokens."""
        return self.axis == "token"

    def check(self, shape: TokenShape) -> None:
        require(self.hidden is None or self.hidden >= 1, f"dense needs a positive hidden width; it is {self.hidden}")
        require(
            not self.glu or (self.hidden is not None and self.hidden % 2 == 0),
            f"a gated linear unit splits its hidden width in halves, so it has to be even; it is {self.hidden}",
        )
        require(not self.batchnorm or self.axis == "channel", "batchnorm in dense runs over channels; axis is token")

    def cost(self, shape: TokenShape) -> Cost:
        width, positions = self._width(shape)
        if self.hidden is None:
            return self._layer(width, width, positions)
        inner = self.hidden // 2 if self.glu else self.hidden
        return self._layer(width, self.hidden, positions).plus(self._layer(inner, width, positions))

    def steps(self, shape: TokenShape) -> tuple[str, ...]:
        width, _ = self._width(shape)
        over = " over tokens" if self.axis == "token" else ""
        norm = ("BatchNorm",) if self.batchnorm else ()
        if self.hidden is None:
            return (f"Linear {width} -> {width}{over}", *norm)
        name = {"gelu": "GELU", "silu": "SiLU"}[self.activation]
        middle = f"halves a * {name}(b)" if self.glu else name
        inner = self.hidden // 2 if self.glu else self.hidden
        return (f"fc {width} -> {self.hidden}{over}", *norm, middle, f"fc {inner} -> {width}{over}", *norm)

    def at(self, shape: TokenShape, other: TokenShape, over_tokens: bool = False) -> Dense:
        """Along tokens, a hidden width that is a multiple of N follows it (FF-only).

        One that is C/2, C, 2C or 4C as well does so only if the norm runs over the tokens; else it stays (MLP-Mixer).
        """
        if self.axis == "channel" or self.hidden is None or self.hidden % shape.tokens:
            return self
        if not over_tokens and self.hidden in (shape.dim // 2, shape.dim, 2 * shape.dim, 4 * shape.dim):
            return self
        return replace(self, hidden=self.hidden // shape.tokens * other.tokens)

    def _width(self, shape: TokenShape) -> tuple[int, int]:
        """Its width, and at how many places it is applied."""
        n, c = shape.tokens, shape.dim
        return (n, c) if self.axis == "token" else (c, n)

    def _layer(self, inputs: int, outputs: int, positions: int) -> Cost:
        return linear(inputs, outputs, positions, self.bias).plus(Cost(2 * outputs if self.batchnorm else 0, 0))


@register_mixer("mlp", "token_hidden", "token_norm")
def mlp(shape: TokenShape, token_hidden: str, token_norm: Literal["channel", "token"]) -> Mix:
    """MLP-Mixer's token MLP (hidden width C/2) and FF-only's (4N, normalised over the tokens).

    `token_hidden` is a multiple of the channels or the tokens: ``C/2``, ``C``, ``2N``, ``N/2``, ...
    """
    return Mix(Dense("token", parse_width(token_hidden, shape)), norm_axis=token_norm)


@register_mixer("linear")
def token_linear(shape: TokenShape) -> Mix:
    """ResMLP's token mixer: one linear layer across the tokens."""
    return Mix(Dense("token"))


def parse_width(text: str, shape: TokenShape) -> int:
    """A hidden width in terms of C or N: ``4N``, ``C/2``, ``C``."""
    match = re.fullmatch(r"(\d{0,6})([CN])(?:/(\d{1,6}))?", text)
    require(match is not None, f"a hidden width is a multiple of C or N, such as C/2 or 4N; it is {brief(text)}")
    assert match is not None
    factor, unit, divisor = int(match[1] or 1), shape.dim if match[2] == "C" else shape.tokens, int(match[3] or 1)
    require(factor > 0 and divisor > 0, f"a hidden width has to be positive; it is {brief(text)}")
    return max(1, factor * unit // divisor)

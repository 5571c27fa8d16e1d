"""Linear maps and two-layer MLPs, along the channels or along the tokens.

One op serves the channel MLP of every family, MLP-Mixer's token MLP (https://arxiv.org/abs/2105.01601), the token MLP
of FF-only (https://arxiv.org/abs/2105.02723) and the single cross-patch linear of ResMLP
(https://arxiv.org/abs/2105.03404).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from search_space.ops.base import Cost, Mix, Op, TokenShape, linear, register_mixer, register_op, require


@register_op("dense")
@dataclass(frozen=True)
class Dense(Op):
    """fc(width -> hidden), GELU, fc(hidden -> width); or one fc(width -> width) if `hidden` is None.

    Attributes:
        axis: "token" (width N) or "channel" (width C).
        hidden: Hidden width, or None for a single linear layer.
        bias: Whether the linear layers have biases.
    """

    axis: Literal["token", "channel"]
    hidden: int | None = None
    bias: bool = True

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

    def cost(self, shape: TokenShape) -> Cost:
        n, c = shape.tokens, shape.dim
        width, positions = (n, c) if self.axis == "token" else (c, n)
        if self.hidden is None:
            return linear(width, width, positions, self.bias)
        return linear(width, self.hidden, positions, self.bias).plus(linear(self.hidden, width, positions, self.bias))


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
    match = re.fullmatch(r"(\d*)([CN])(?:/(\d+))?", text)
    require(match is not None, f"a hidden width is a multiple of C or N, such as C/2 or 4N; it is {text!r}")
    assert match is not None
    factor, unit, divisor = int(match[1] or 1), shape.dim if match[2] == "C" else shape.tokens, int(match[3] or 1)
    require(factor > 0 and divisor > 0, f"a hidden width has to be positive; it is {text!r}")
    return max(1, factor * unit // divisor)

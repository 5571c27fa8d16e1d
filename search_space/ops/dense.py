"""Linear maps and two-layer MLPs, along the channels or along the tokens.

One op serves the channel MLP of every family, MLP-Mixer's token MLP (https://arxiv.org/abs/2105.01601), the token MLP
of FF-only (https://arxiv.org/abs/2105.02723) and the single cross-patch linear of ResMLP
(https://arxiv.org/abs/2105.03404).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from search_space.ops.base import Cost, Op, TokenShape, linear, register_op, require


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

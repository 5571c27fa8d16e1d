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
from search_space.ops.base import Cost, Op, TokenShape, linear, register_op, require
from search_space.ops.mixer import Mix, Mixer, one_of, register_mixer, width_of


@register_op("dense")
@dataclass(frozen=True)
class Dense(Op):
    """fc(width -> hidden), activation, fc(hidden -> width); or one fc(width -> width) if `hidden` is None.

    Attributes:
        axis: "token" (width N) or "channel" (width C).
        hidden: Hidden width, or None for a single linear layer.
        bias: Whether the linear layers have biases.
        activation: The nonlinearity; GELU is the exact erf form.
        glu: Whether the hidden width is split into halves a, b and the second linear layer sees a * activation(b)
            (https://arxiv.org/abs/2002.05202; gMixer).
        batchnorm: Whether a BatchNorm follows each linear layer, in place of its bias (RepMLPNet).
    """

    examples = (
        {"axis": "token"},
        {"axis": "channel"},
        {"axis": "token", "hidden": 5},
        {"axis": "channel", "hidden": 7, "bias": False},
        {"axis": "channel", "hidden": 6, "activation": "silu"},
        {"axis": "token", "hidden": 10, "glu": True},
        {"axis": "channel", "hidden": 6, "glu": True, "activation": "silu", "bias": False},
        {"axis": "channel", "hidden": 7, "batchnorm": True},
        {"axis": "channel", "hidden": 6, "glu": True, "batchnorm": True},
        {"axis": "channel", "batchnorm": True},
    )
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
            f"a gated linear unit splits its hidden width into halves, so it must be even; it is {self.hidden}",
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
        """The same design on another grid; along tokens, a hidden width that is a multiple of N grows with N (FF-only).

        A width that is also C/2, C, 2C or 4C grows only if the norm runs over the tokens; otherwise it stays
        (MLP-Mixer).
        """
        if self.axis == "channel" or self.hidden is None or self.hidden % shape.tokens:
            return self
        if not over_tokens and self.hidden in (shape.dim // 2, shape.dim, 2 * shape.dim, 4 * shape.dim):
            return self
        return replace(self, hidden=self.hidden // shape.tokens * other.tokens)

    def _width(self, shape: TokenShape) -> tuple[int, int]:
        """Its width, and at how many positions it is applied."""
        n, c = shape.tokens, shape.dim
        return (n, c) if self.axis == "token" else (c, n)

    def _layer(self, inputs: int, outputs: int, positions: int) -> Cost:
        cost = linear(inputs, outputs, positions, self.bias)
        return cost.plus(Cost(2 * outputs, 0)) if self.batchnorm else cost


def parse_width(text: str, shape: TokenShape) -> int:
    """A hidden width in terms of C or N: ``4N``, ``C/2``, ``C``."""
    match = re.fullmatch(r"(\d{0,6})([CN])(?:/(\d{1,6}))?", text)
    require(match is not None, f"a hidden width is a multiple of C or N, such as C/2 or 4N; it is {brief(text)}")
    assert match is not None
    factor, unit, divisor = int(match[1] or 1), shape.dim if match[2] == "C" else shape.tokens, int(match[3] or 1)
    require(factor > 0 and divisor > 0, f"a hidden width must be positive; it is {brief(text)}")
    return max(1, factor * unit // divisor)


@register_mixer("mlp")
@dataclass(frozen=True)
class TokenMLPMixer(Mixer):
    """MLP-Mixer's token MLP (hidden width C/2) and FF-only's (4N, normalised over the tokens).

    `token_hidden` is a multiple of the channels or the tokens: ``C/2``, ``C``, ``2N``, ``N/2``, ...
    """

    examples = ({"token_hidden": "C/2", "token_norm": "channel"}, {"token_hidden": "4N", "token_norm": "token"})
    token_hidden: str = width_of(parse_width, "multiples of C or N such as C/2, 4N")
    token_norm: Literal["channel", "token"] = one_of("channel", "token")

    def mix(self, shape: TokenShape) -> Mix:
        return Mix(Dense("token", parse_width(self.token_hidden, shape)), norm_axis=self.token_norm)


@register_mixer("linear")
@dataclass(frozen=True)
class TokenLinearMixer(Mixer):
    """ResMLP's token mixer: one linear layer across the tokens."""

    def mix(self, shape: TokenShape) -> Mix:
        return Mix(Dense("token"))

"""Linear maps and two-layer MLPs along channels or tokens, plain or gated; GELU is the exact erf form."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from search_space.models.layers.common import TokenBatchNorm, TokenLinear
from search_space.models.layers.registry import register_layer
from search_space.ops import Dense, TokenShape

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": functional.gelu, "silu": functional.silu}


@register_layer(Dense)
class DenseLayer(nn.Module):
    """(B, N, C) -> (B, N, C)."""

    def __init__(self, op: Dense, shape: TokenShape) -> None:
        super().__init__()
        self.glu, self.hidden_axis = op.glu, 1 if op.axis == "token" else 2
        linear, width = (TokenLinear, shape.tokens) if op.axis == "token" else (nn.Linear, shape.dim)
        self.activation = ACTIVATIONS[op.activation]
        hidden = width if op.hidden is None else op.hidden
        inner = hidden // 2 if op.glu else hidden
        self.fc1 = linear(width, hidden, bias=op.bias)
        self.norm1 = TokenBatchNorm(hidden) if op.batchnorm else None
        self.fc2 = None if op.hidden is None else linear(inner, width, bias=op.bias)
        self.norm2 = TokenBatchNorm(width) if op.batchnorm and op.hidden is not None else None

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """A gate's input starts near 1 for every image (weights of 1e-6, bias 1, as in timm)."""
        if self.glu:
            gate = slice(self.fc1.out_features // 2, None)
            self.fc1.weight[gate].normal_(0, 1e-6, generator=generator)
            if self.fc1.bias is not None:
                self.fc1.bias[gate].fill_(1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        if self.norm1 is not None:
            x = self.norm1(x)
        if self.fc2 is not None:
            if self.glu:
                x, gate = x.chunk(2, dim=self.hidden_axis)
                x = x * self.activation(gate)
            else:
                x = self.activation(x)
            x = self.fc2(x)
            if self.norm2 is not None:
                x = self.norm2(x)
        return x

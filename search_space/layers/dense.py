"""Linear maps and two-layer MLPs along channels or tokens; GELU is the exact erf form."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from search_space.layers.registry import register_layer
from search_space.ops import Dense, TokenShape


@register_layer(Dense)
class DenseLayer(nn.Module):
    """(B, N, C) -> (B, N, C); with axis "token" it works on the transposed view."""

    def __init__(self, op: Dense, shape: TokenShape) -> None:
        super().__init__()
        self.over_tokens = op.axis == "token"
        width = shape.tokens if self.over_tokens else shape.dim
        self.fc1 = nn.Linear(width, width if op.hidden is None else op.hidden, bias=op.bias)
        self.fc2 = None if op.hidden is None else nn.Linear(op.hidden, width, bias=op.bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.over_tokens:
            x = x.transpose(1, 2)
        x = self.fc1(x)
        if self.fc2 is not None:
            x = self.fc2(functional.gelu(x))
        return x.transpose(1, 2) if self.over_tokens else x

"""Spatial gating unit (https://arxiv.org/abs/2105.08050, section 2.1), and the tiny attention of aMLP (section 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from search_space.models.layers.common import TokenLinear
from search_space.models.layers.registry import register_layer
from search_space.ops import Gating, TokenShape


@register_layer(Gating)
class GatingLayer(nn.Module):
    """(B, N, C) -> (B, N, C)."""

    def __init__(self, op: Gating, shape: TokenShape) -> None:
        super().__init__()
        half = op.hidden // 2
        self.fc1 = nn.Linear(shape.dim, op.hidden)
        self.norm = nn.LayerNorm(half, eps=op.gate_eps)
        self.spatial = TokenLinear(shape.tokens, shape.tokens)
        self.fc2 = nn.Linear(half, shape.dim)
        self.attention = _TinyAttention(shape.dim, op.attention_dim, half) if op.attention_dim else None

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Near-zero spatial weights and bias 1, so that the unit starts as the identity on u (section 2.1)."""
        self.spatial.weight.normal_(0, 1e-6, generator=generator)
        self.spatial.bias.fill_(1)

    def forward(self, x: Tensor) -> Tensor:
        u, v = functional.gelu(self.fc1(x)).chunk(2, dim=-1)
        v = self.spatial(self.norm(v))
        if self.attention is not None:
            v = v + self.attention(x)
        return self.fc2(u * v)


class _TinyAttention(nn.Module):
    """Attention with one head of width d: (B, N, C) -> (B, N, out)."""

    def __init__(self, dim: int, width: int, out: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * width, bias=False)
        self.out = nn.Linear(width, out)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unsqueeze(1).chunk(3, dim=-1)  # each (B, 1, N, d)
        return self.out(functional.scaled_dot_product_attention(q, k, v).squeeze(1))

"""Multi-head self-attention (https://arxiv.org/abs/2010.11929, eq. 2); `qkv` holds q, k and v in this order."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from search_space.models.layers.registry import register_layer
from search_space.ops import Attention, TokenShape


@register_layer(Attention)
class AttentionLayer(nn.Module):
    """(B, N, C) -> (B, N, C)."""

    def __init__(self, op: Attention, shape: TokenShape) -> None:
        super().__init__()
        self.heads = op.heads
        self.qkv = nn.Linear(shape.dim, 3 * shape.dim, bias=op.qkv_bias)
        self.proj = nn.Linear(shape.dim, shape.dim)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)  # each (B, H, N, d)
        y = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(b, n, c))

"""Permute-MLP (https://arxiv.org/abs/2106.12368, section 3.2 and algorithm 1).

B batch, H and W the grid, C channels, G segments, S = C / G channels per segment; channel index g * S + s. Along the
height G = H, along the width G = W.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from search_space.models.layers.registry import register_layer
from search_space.ops import Permute, TokenShape


@register_layer(Permute)
class PermuteLayer(nn.Module):
    """(B, N, C) -> (B, N, C) over the grid of tokens."""

    def __init__(self, op: Permute, shape: TokenShape) -> None:
        super().__init__()
        c = shape.dim
        self.rows, self.columns = shape.height, shape.width
        self.height = nn.Linear(c, c, bias=op.bias)
        self.width = nn.Linear(c, c, bias=op.bias)
        self.channel = nn.Linear(c, c, bias=op.bias)
        self.reweight1 = nn.Linear(c, c // 4) if op.weighted else None
        self.reweight2 = nn.Linear(c // 4, 3 * c) if op.weighted else None
        self.proj = nn.Linear(c, c)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        rows, columns = self.rows, self.columns
        x_bhwgs = x.view(b, rows, columns, rows, c // rows)
        h = x_bhwgs.permute(0, 3, 2, 1, 4).reshape(b, rows, columns, c)  # (B, G, W, H*S)
        h = self.height(h).view(b, rows, columns, rows, c // rows).permute(0, 3, 2, 1, 4).reshape(b, n, c)
        x_bhwgs = x.view(b, rows, columns, columns, c // columns)
        w = x_bhwgs.permute(0, 1, 3, 2, 4).reshape(b, rows, columns, c)  # (B, H, G, W*S)
        w = self.width(w).view(b, rows, columns, columns, c // columns).permute(0, 1, 3, 2, 4).reshape(b, n, c)
        y = self.channel(x)
        if self.reweight1 is None or self.reweight2 is None:
            return self.proj(h + w + y)
        mean_bc = (h + w + y).mean(dim=1)
        a = self.reweight2(functional.gelu(self.reweight1(mean_bc))).view(b, c, 3).softmax(dim=-1)
        a_h, a_w, a_y = a.unsqueeze(1).unbind(dim=-1)  # each (B, 1, C)
        return self.proj(h * a_h + w * a_w + y * a_y)

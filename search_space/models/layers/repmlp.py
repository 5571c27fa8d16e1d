"""RepMLP block (https://arxiv.org/abs/2112.11081, section 3.2), and its locality injection (section 3.3).

B batch, N tokens, H and W the grid, C channels, S sets of channels, M = C / S channels per set; channel index m * S +
s.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from search_space.models.layers.registry import register_layer
from search_space.ops import RepMLP, TokenShape


@register_layer(RepMLP)
class RepMLPLayer(nn.Module):
    """(B, N, C) -> (B, N, C) over the grid of tokens."""

    def __init__(self, op: RepMLP, shape: TokenShape) -> None:
        super().__init__()
        n, c, s = shape.tokens, shape.dim, op.sharesets
        self.grid, self.sets = (shape.height, shape.width), s
        self.weight = nn.Parameter(torch.empty(s, n, n))
        self.bias = nn.Parameter(torch.empty(s, n)) if op.deploy else None
        self.norm = None if op.deploy else nn.BatchNorm1d(s)
        self.local = nn.ModuleDict({f"conv{kernel}": _DepthwiseConv(s, kernel) for kernel in op.kernels})
        self.gate1 = nn.Linear(c, c // op.reduction)
        self.gate2 = nn.Linear(c // op.reduction, c)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Use PyTorch's default for a linear layer of N inputs, as in the official code."""
        bound = self.weight.shape[-1] ** -0.5
        self.weight.uniform_(-bound, bound, generator=generator)
        if self.bias is not None:
            self.bias.uniform_(-bound, bound, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        gate_bc = self.gate2(functional.relu(self.gate1(x.mean(dim=1)))).sigmoid()
        x_sets = x.transpose(1, 2).reshape(-1, self.sets, n)  # (B*M, S, N)
        y = torch.einsum("lsn,smn->lsm", x_sets, self.weight)
        if self.bias is not None:
            y = y + self.bias
        if self.norm is not None:
            y = self.norm(y)
        if self.local:
            grid = x_sets.view(-1, self.sets, *self.grid)
            for conv in self.local.values():
                y = y + conv(grid).flatten(2)
        return (y.reshape(b, c, n) * gate_bc.unsqueeze(2)).transpose(1, 2)

    @torch.no_grad()
    def deployed_state(self) -> dict[str, Tensor]:
        """The state of the deployed layer that computes the same function as this one in eval mode.

        A convolution over the grid is an N x N matrix whose n-th column is the convolution of the n-th unit image.
        """
        state = {name: value for name, value in self.state_dict().items() if name.startswith("gate")}
        weight: Tensor = self.weight
        bias = torch.zeros_like(weight[..., 0]) if self.bias is None else self.bias
        if self.norm is not None:
            scale, shift = _scale_and_shift(self.norm)
            weight, bias = weight * scale.view(-1, 1, 1), bias + shift.view(-1, 1)
        n = weight.shape[-1]
        units = torch.eye(n, dtype=weight.dtype, device=weight.device).view(n, 1, *self.grid)
        for local in self.local.values():
            assert isinstance(local, _DepthwiseConv)
            scale, shift = _scale_and_shift(local.norm)
            maps = functional.conv2d(units, local.conv.weight * scale.view(-1, 1, 1, 1), padding=local.conv.padding)
            weight, bias = weight + maps.flatten(2).permute(1, 2, 0), bias + shift.view(-1, 1)
        return {"weight": weight, "bias": bias, **state}


class _DepthwiseConv(nn.Module):
    """BN(conv(x)), one kernel for each set of channels: (L, S, H, W) -> (L, S, H, W)."""

    def __init__(self, sets: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(sets, sets, kernel, padding=(kernel // 2, kernel // 2), groups=sets, bias=False)
        self.norm = nn.BatchNorm2d(sets)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


def _scale_and_shift(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """A BatchNorm in eval mode is x * scale + shift."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return scale, norm.bias - norm.running_mean * scale

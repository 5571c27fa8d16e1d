"""Layers that every family shares: norms, layer scale, stochastic depth, and the residual branch around an op."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from search_space.architecture import Branch, Norm
from search_space.ops import TokenShape


def as_map(x: Tensor, shape: TokenShape) -> Tensor:
    """Tokens without a class token as a map: (B, N, C) -> (B, C, H, W).

    Args:
        x: The tokens, of `shape` or of a grid of another size with the same proportions.
        shape: The token shape that the layer was made for.
    """
    b, n, c = x.shape
    rows = math.isqrt(int(n) * shape.height // shape.width)
    return x.transpose(1, 2).reshape(b, c, rows, int(n) // rows)


class Affine(nn.Module):
    """Learned scale and shift per element of the last axis: the norm of ResMLP (arXiv 2105.03404, eq. 1)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def reset_parameters(self) -> None:
        """Reset to the identity."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias, x, self.weight)


class TokenBatchNorm(nn.BatchNorm1d):
    """BatchNorm over batch and tokens, per channel: (B, N, C) -> (B, N, C)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.flatten(0, -2)).view_as(input)


def make_norm(norm: Norm, width: int, eps: float) -> nn.Module:
    """The norm layer over a last axis of `width`."""
    if norm == "layernorm":
        return nn.LayerNorm(width, eps=eps)
    if norm == "batchnorm":
        return TokenBatchNorm(width, eps=eps)
    return Affine(width) if norm == "affine" else nn.Identity()


class TokenLinear(nn.Linear):
    """A linear layer along the tokens, the same for every channel: (B, N, C) -> (B, M, C).

    One batched product needs no transposed copies of the tokens, but sums the gradient of the weights from (B, M, N).
    If that is larger than the copies would be, the layer runs on the transposed tokens instead.
    """

    def forward(self, input: Tensor) -> Tensor:
        m, n = self.weight.shape
        if m * n > (m + n) * input.shape[2]:
            return super().forward(input.transpose(1, 2)).transpose(1, 2)
        weight = self.weight.expand(input.shape[0], -1, -1)
        return torch.bmm(weight, input) if self.bias is None else torch.baddbmm(self.bias.unsqueeze(1), weight, input)


class DropPath(nn.Module):
    """Stochastic depth (https://arxiv.org/abs/1603.09382): drops the branch for a fraction `rate` of the images.

    Attributes:
        generator: Source of its randomness; set by `search_space.models.model.set_generator`.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        drawn = torch.rand((x.shape[0], 1, 1), device=x.device, generator=self.generator)
        return x * (drawn < keep).to(x.dtype).div_(keep)

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3f}"


class ResidualBranch(nn.Module):
    """x + DropPath(gamma * op(norm(x))), (B, N, C) -> (B, N, C)."""

    def __init__(self, branch: Branch, shape: TokenShape, op: nn.Module, drop_path: float) -> None:
        super().__init__()
        self.over_tokens = branch.norm_axis == "token"
        self.norm = make_norm(branch.norm, shape.tokens if self.over_tokens else shape.dim, branch.eps)
        self.op = op
        self.gamma = None if branch.layer_scale is None else nn.Parameter(torch.empty(shape.dim))
        self.layer_scale = branch.layer_scale
        self.drop_path = DropPath(drop_path) if drop_path > 0 else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x.transpose(1, 2)).transpose(1, 2) if self.over_tokens else self.norm(x)
        y = self.op(y)
        if self.gamma is not None:
            y = y * self.gamma
        if self.drop_path is not None:
            y = self.drop_path(y)
        return x + y

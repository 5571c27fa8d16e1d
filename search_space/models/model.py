"""`VisionModel`: the network that an Architecture describes, with uninitialised weights.

B batch, N tokens (class token included), C channels.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from search_space.architecture import Architecture, Stage
from search_space.errors import ArchitectureError
from search_space.models.layers import make_layer
from search_space.models.layers.common import DropPath, ResidualBranch, as_map, make_norm
from search_space.ops import TokenShape
from search_space.size import Size, area, sides


def convolution(in_dim: int, dim: int, side: int, bn_relu: bool) -> nn.Module:
    """A convolution of size = stride = `side`, with a bias or with BatchNorm and ReLU."""
    if not bn_relu:
        return nn.Conv2d(in_dim, dim, side, stride=side)
    conv = nn.Conv2d(in_dim, dim, side, stride=side, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(dim), relu=nn.ReLU()))


class Downsample(nn.Module):
    """A convolution over the grid of tokens: (B, N, C) -> (B, N / stride^2, C')."""

    def __init__(self, stage: Stage, in_dim: int, shape: TokenShape) -> None:
        super().__init__()
        self.shape = shape
        self.conv = convolution(in_dim, stage.dim, stage.stride, stage.downsample == "conv2_bn_relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(as_map(x, self.shape)).flatten(2).transpose(1, 2)


class VisionModel(nn.Module):
    """The network that an Architecture describes: images (B, in_channels, H, W) -> class scores (B, classes).

    Attributes:
        architecture: What it was built from.
        stages: One `nn.Sequential` per stage: its downsampling, if any, then its blocks.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        first, last = architecture.stages[0].dim, architecture.stages[-1].dim
        tokens = area(architecture.position_grid or architecture.grid) + architecture.class_token
        self.stem = convolution(
            architecture.in_channels, first, architecture.patch, architecture.stem == "conv_bn_relu"
        )
        self.class_token = nn.Parameter(torch.empty(1, 1, first)) if architecture.class_token else None
        self.position = nn.Parameter(torch.empty(1, tokens, first)) if architecture.position == "learned" else None
        self.stages = nn.ModuleList()
        rates = iter(_drop_path_rates(architecture))
        dim = first
        for stage, shape in architecture.shapes():
            self.stages.append(_make_stage(stage, shape, dim, [next(rates) for _ in range(stage.depth)]))
            dim = stage.dim
        self.norm = make_norm(architecture.final_norm, last, architecture.final_eps)
        self.head = nn.Linear(last, architecture.classes)

    def features(self, images: Tensor) -> Tensor:
        """Tokens after the last block, before the final norm: (B, N, C).

        Raises:
            ArchitectureError: If the model does not accept images of this size.
        """
        if not torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]  # there, sizes are traced values
            self._check(images)
        x = self.stem(images).flatten(2).transpose(1, 2)
        if self.class_token is not None:
            x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)
        if self.position is not None:
            x = x + self._positions(self.position)
        for stage in self.stages:
            x = stage(x)
        return x

    def _check(self, images: Tensor) -> None:
        architecture, got = self.architecture, tuple(images.shape[1:])
        expected = architecture.input_shape
        fits = got == expected
        if architecture.any_image_size:  # halving a grid needs to know its proportions
            halves = any(stage.stride > 1 for stage in architecture.stages)
            fits = got[0] == expected[0] and (not halves or got[1] * expected[2] == got[2] * expected[1])
        if not fits:
            raise ArchitectureError(
                f"images are {' x '.join(map(str, got))}; this model takes {' x '.join(map(str, expected))}"
            )

    def _positions(self, position: Tensor) -> Tensor:
        """Position embeddings on the grid of tokens."""
        architecture = self.architecture
        if architecture.position_grid is None:
            return position
        learned = sides(architecture.position_grid)
        return resize_positions(position, architecture.grid, architecture.class_token, "bilinear", source=learned)

    def forward(self, images: Tensor) -> Tensor:
        x = self.features(images)
        if not self.architecture.norm_after_pooling:
            x = self.norm(x)
        x = x[:, 0] if self.architecture.pooling == "class_token" else x.mean(dim=1)
        if self.architecture.norm_after_pooling:
            x = self.norm(x)
        return cast(Tensor, self.head(x))


def set_generator(model: nn.Module, generator: torch.Generator | None) -> None:
    """Make stochastic depth draw from `generator` (on the model's device) instead of the global one."""
    for module in model.modules():
        if isinstance(module, DropPath):
            module.generator = generator


def resize_positions(
    position: Tensor,
    grid: Size,
    class_token: bool,
    mode: Literal["bilinear", "bicubic"],
    antialias: bool = False,
    source: tuple[int, int] | None = None,
) -> Tensor:
    """Resize learned position embeddings to another grid: (1, N, C) -> (1, N', C).

    Args:
        position: The embeddings; that of the class token, if there is one, comes first and is unchanged.
        grid: The other grid.
        class_token: Whether there is a class token.
        mode: How places between those of the source are computed.
        antialias: Whether they are smoothed where the other grid is smaller.
        source: Height and width of the grid of `position`; None for a square.
    """
    first, places = position[:, : int(class_token)], position[:, int(class_token) :]
    side = math.isqrt(int(places.shape[1]))
    source = source or (side, side)
    if source == sides(grid):
        return position
    maps = places.transpose(1, 2).reshape(1, -1, *source)
    maps = functional.interpolate(maps, size=sides(grid), mode=mode, align_corners=False, antialias=antialias)
    return torch.cat([first, maps.flatten(2).transpose(1, 2)], dim=1)


def _make_stage(stage: Stage, shape: TokenShape, in_dim: int, rates: list[float]) -> nn.Sequential:
    layers: list[nn.Module] = []
    if stage.downsample != "none":
        layers.append(Downsample(stage, in_dim, shape))
    for rate in rates:
        branches = [ResidualBranch(branch, shape, make_layer(branch.op, shape), rate) for branch in stage.block]
        layers.append(nn.Sequential(*branches))
    return nn.Sequential(*layers)


def _drop_path_rates(architecture: Architecture) -> list[float]:
    """The stochastic depth rate of every block, in order."""
    rate, depth = architecture.drop_path, architecture.depth
    if architecture.drop_path_schedule == "constant":
        return [rate] * depth
    return [rate * index / max(depth - 1, 1) for index in range(depth)]

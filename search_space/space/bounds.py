"""How large a search space may be: what is within these bounds can be counted, costed, sampled and written down.

A file can name spaces that no machine could handle, such as a thousand choices on each of eight axes. They are refused
when they are bound to a size of images, before anything is built from them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from search_space.architecture import DEEPEST, LARGEST
from search_space.errors import SpaceError
from search_space.ops import TokenShape
from search_space.ops.dense import parse_width

if TYPE_CHECKING:
    from search_space.space.space import SearchSpace

MOST_NETS = 200_000
"""Combinations of choices of the whole network; the shipped space has 32,400 for ImageNet."""
MOST_BLOCKS = 2_000_000
"""Blocks over all contexts of a stage; the shipped space has about 240,000 for ImageNet."""


def check_bounds(space: SearchSpace) -> None:
    """Refuse a space that is too large to be worked with.

    Raises:
        SpaceError: If it has too many combinations, or architectures that are deeper or wider than one may be.
    """
    net = {axis.name: axis.values for axis in space.net_axes}
    nets = math.prod(len(values) for values in net.values())
    _check(space, nets, MOST_NETS, "combinations of choices of the whole network")
    stage = space.definition.stage
    mixers = sum(math.prod(len(values) for values in own.values()) for own in space.definition.mixers.values())
    blocks = mixers * len(stage["channel_ratio"]) * len(stage["order"])
    halvings = space.max_stages - 1 if "conv2" in stage["downsample"] else 0
    contexts = math.prod(len(net[name]) for name in ("patch", "dim", "pooling", "norm")) * (halvings + 1)
    _check(space, blocks * contexts, MOST_BLOCKS, "blocks over all grids, widths and norms")
    depths = next(axis.values for axis in space.stage_axes if axis.name == "depth")
    _check(space, space.max_stages * _most(depths), DEEPEST, "blocks on top of each other")
    grid = space.image_size // min(value for value in net["patch"] if isinstance(value, int))
    _check(space, _widest(space, grid, halvings), LARGEST, "channels or hidden units in a layer")


def _widest(space: SearchSpace, grid: int, halvings: int) -> int:
    """The most that any width can come to."""
    dim = max(space.definition.scale(space.image_size).dim) * 2 ** min(halvings, grid.bit_length())
    widths = [dim * max(1, _most(space.definition.stage["channel_ratio"])), grid * grid + 1]
    for own in space.definition.mixers.values():
        widths.append(dim * _most(own.get("expansion", (1,))))
        for text in own.get("token_hidden", ()):
            widths.append(parse_width(str(text), TokenShape(grid, dim, True)))
    return int(max(widths))


def _most(values: tuple[Any, ...]) -> int:
    return max(int(value) for value in values)


def _check(space: SearchSpace, count: int, most: int, what: str) -> None:
    if count > most:
        raise SpaceError(f"the space {space.name!r} has up to {count:,} {what}; allowed: up to {most:,}")

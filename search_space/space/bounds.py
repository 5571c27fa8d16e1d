"""How large a search space may be: a space within these bounds can be counted, costed, sampled and listed.

A file can describe spaces that no machine can handle, such as a thousand choices on each of eight axes. They are
refused when they are bound to an image size, before anything is built from them. All bounds are arbitrary, far above
the shipped space and small enough for one machine.
"""

from __future__ import annotations

import math
from typing import Any

from search_space.architecture import DEEPEST, LARGEST
from search_space.errors import SpaceError
from search_space.ops import MIXERS, TokenShape
from search_space.size import Size, area, divided, sides
from search_space.space.codec import Codec

MOST_NETS = 200_000
"""Combinations of choices for the whole network; the shipped space has 32,400 for ImageNet."""
MOST_BLOCKS = 2_000_000
"""Blocks over all contexts of a stage; the shipped space has about 240,000 for ImageNet."""


def check_bounds(codec: Codec) -> None:
    """Refuse a space that is too large to work with.

    Raises:
        SpaceError: If it has too many combinations, or architectures that are deeper or wider than allowed.
    """
    net = {axis.name: axis.values for axis in codec.net_axes}
    nets = math.prod(len(values) for values in net.values())
    _check(codec, nets, MOST_NETS, "combinations of choices of the whole network")
    stage = codec.definition.stage
    mixers = sum(math.prod(len(values) for values in own.values()) for own in codec.definition.mixers.values())
    blocks = mixers * len(stage["channel_ratio"]) * len(stage["order"])
    halvings = codec.max_stages - 1 if "conv2" in stage["downsample"] else 0
    contexts = math.prod(len(net[name]) for name in ("patch", "dim", "pooling", "norm")) * (halvings + 1)
    _check(codec, blocks * contexts, MOST_BLOCKS, "blocks over all grids, widths and norms")
    depths = next(axis.values for axis in codec.stage_axes if axis.name == "depth")
    _check(codec, codec.max_stages * _most(depths), DEEPEST, "blocks on top of each other")
    grid = divided(codec.image_size, min(value for value in net["patch"] if isinstance(value, int)))
    _check(codec, _widest(codec, grid, halvings), LARGEST, "channels or hidden units in a layer")


def _widest(codec: Codec, grid: Size, halvings: int) -> int:
    """The largest width that any layer can have."""
    dim = max(codec.definition.scale(codec.image_size).dim) * 2 ** min(halvings, min(sides(grid)).bit_length())
    widths = [dim * max(1, _most(codec.definition.stage["channel_ratio"])), area(grid) + 1]
    for mixer, own in codec.definition.mixers.items():
        for name, values in own.items():
            width = MIXERS[mixer].settings()[name].width
            widths += [width(value, TokenShape(grid, dim, True)) for value in values] if width else []
    return int(max(widths))


def _most(values: tuple[Any, ...]) -> int:
    return max(int(value) for value in values)


def _check(codec: Codec, count: int, most: int, what: str) -> None:
    if count > most:
        raise SpaceError(f"the space {codec.name!r} has up to {count:,} {what}; allowed: up to {most:,}")

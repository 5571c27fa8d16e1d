"""How many architectures a space has, and how to sample them uniformly.

An architecture of the space is a choice on the axes of the whole network and a chain of stages. What a stage may be
depends on its context alone, with one exception: a stage without downsampling must not repeat the block before it. A
short recursion therefore counts the chains, and sampling follows the recursion with the counts as weights.
"""

from __future__ import annotations

import itertools
import random
from bisect import bisect
from collections.abc import Iterator
from typing import Any

from search_space.architecture import Norm
from search_space.errors import SpaceError
from search_space.ops import TokenShape
from search_space.space.codec import Codec
from search_space.space.options import Context, Option, can_downsample, downsampled


class Counter:
    """Counts of a space, computed once.

    Attributes:
        nets: Every combination of choices for the whole network.

    Raises:
        SpaceError: If the space is empty.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        stage = {axis.name: axis.values for axis in codec.stage_axes}
        self._depths = codec.definition.scale(codec.image_size).depth
        self.downsamples = stage["downsample"]
        self._chains: dict[tuple[object, ...], int] = {}
        names = [axis.name for axis in codec.net_axes]
        self.nets: list[dict[str, Any]] = [
            dict(zip(names, values, strict=True)) for values in itertools.product(*(a.values for a in codec.net_axes))
        ]
        self._cumulative = list(itertools.accumulate(self._count(net) for net in self.nets))
        if not self.size:
            raise SpaceError(f"the space {codec.name!r} is empty: its rules leave no architecture")

    @property
    def size(self) -> int:
        """Exact number of architectures."""
        return self._cumulative[-1]

    def possible_nets(self) -> list[dict[str, Any]]:
        """The combinations of choices for the whole network that occur in some architecture."""
        before = [0, *self._cumulative]
        return [net for net, low, high in zip(self.nets, before, self._cumulative, strict=False) if high > low]

    def _count(self, net: dict[str, Any]) -> int:
        """Number of architectures with these choices for the whole network."""
        shape = self._codec.first_shape(net)
        chains = self.chains(net, shape, stages_of(net), repeat=False)
        return chains * len(self.depths_of(net)) // len(self._depths)

    def depths_of(self, net: dict[str, Any]) -> tuple[int, ...]:
        """Depths of a stage. A network of one block has no stochastic depth, as it would have no effect."""
        alone = net["stages"] == 1 and net["drop_path"] > 0
        return tuple(depth for depth in self._depths if depth > 1 or not alone)

    def chains(self, net: dict[str, Any], shape: TokenShape, stages: int, repeat: bool) -> int:
        """Number of ways to choose this stage and all later ones.

        Args:
            net: Choices for the whole network.
            shape: The token shape of this stage.
            stages: Stages to choose, including this one.
            repeat: Whether the previous block is among the options here and must not be chosen again.
        """
        # Which blocks are possible does not depend on the layer scale, and is the same for layernorm and affine.
        norm: Norm = "layernorm" if net["norm"] == "affine" else net["norm"]
        key = (norm, shape, stages, repeat)
        if key not in self._chains:
            options = len(self._codec.options(Context(shape, norm, None)).all) - repeat
            after = sum(count for _, _, count in self.entries(net, shape, stages - 1)) if stages > 1 else 1
            self._chains[key] = max(options, 0) * len(self._depths) * after
        return self._chains[key]

    def entries(self, net: dict[str, Any], shape: TokenShape, stages: int) -> Iterator[tuple[str, TokenShape, int]]:
        """Ways to enter the next stage: the downsampling, the token shape after it, and the number of chains."""
        for downsample in self.downsamples:
            if downsample == "none":
                yield "none", shape, self.chains(net, shape, stages, repeat=True)
            elif can_downsample(shape):
                yield "conv2", downsampled(shape), self.chains(net, downsampled(shape), stages, repeat=False)

    def draw(self, rng: random.Random) -> dict[str, Any]:
        """Parameters of an architecture, drawn uniformly."""
        net = self.nets[bisect(self._cumulative, rng.randrange(self.size))]
        params, shape, downsample = dict(net), self._codec.first_shape(net), "none"
        previous: Option | None = None
        for number in range(1, stages_of(net) + 1):
            if number > 1:
                entries = list(self.entries(net, shape, stages_of(net) - number + 1))
                ((downsample, shape, _),) = rng.choices(entries, weights=[count for _, _, count in entries])
                params[f"stage{number}.downsample"] = downsample
            options = self._codec.options(self._codec.context(net, shape)).all
            option = rng.choice(options)
            while previous is not None and downsample == "none" and option.block == previous.block:
                option = rng.choice(options)
            params[f"stage{number}.depth"] = rng.choice(self.depths_of(net))
            params |= {f"stage{number}.{key}": value for key, value in option.settings.items()}
            previous = option
        return params


def stages_of(net: dict[str, Any]) -> int:
    """The number of stages under these choices for the whole network."""
    stages = net["stages"]
    assert isinstance(stages, int)
    return stages

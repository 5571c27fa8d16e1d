"""The blocks that a stage may consist of in a given context.

All rules of the space are applied here. For one context (the tokens, the width, the norm, the layer scale) every
combination of stage settings is tried; impossible ones are dropped, and of several that describe the same block the
first is kept. The rest can be counted, sampled uniformly and looked up in both directions.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from search_space.block import DEFAULT_EPS, Branch, Norm
from search_space.errors import ArchitectureError
from search_space.ops import MIXERS, Cost, Dense, TokenShape
from search_space.ops.mixer import Value
from search_space.size import divided, sides
from search_space.space.definition import SpaceDefinition

Settings = Mapping[str, Value]
BATCHNORM_EPS = 1e-5
"""PyTorch's default, as used by RepMLPNet."""


class Context(NamedTuple):
    """What the blocks of a stage depend on, besides its own settings."""

    shape: TokenShape
    norm: Norm
    layer_scale: float | None
    conv_bn: bool = False


@dataclass(frozen=True)
class Option:
    """One block of a context: its settings (mixer, settings of the mixer, channel_ratio, order) and its branches."""

    settings: Settings
    block: tuple[Branch, ...]

    @functools.cached_property
    def items(self) -> frozenset[tuple[str, Value]]:
        """The settings as a set, for quick comparisons."""
        return frozenset(self.settings.items())


class Options:
    """The blocks of one context, in a fixed order."""

    def __init__(self, definition: SpaceDefinition, context: Context) -> None:
        self.context = context
        self.by_block: dict[tuple[Branch, ...], Option] = {}
        for settings, block in _blocks(definition, context):
            self.by_block.setdefault(block, Option(settings, block))
        self.all = tuple(self.by_block.values())
        self.by_settings = {tuple(option.settings.values()): option for option in self.all}

    def extreme(self, measure: Literal["params", "macs"], largest: bool, count: int) -> list[Option]:
        """The `count` options of highest or lowest cost."""
        return sorted(self.all, key=lambda option: self.cost(option, measure), reverse=largest)[:count]

    def cost(self, option: Option, measure: Literal["params", "macs"]) -> int:
        """Cost of a block of this context in its deployed form."""
        cost: int = getattr(self._costs[option.block], measure)
        return cost

    @functools.cached_property
    def _costs(self) -> dict[tuple[Branch, ...], Cost]:
        costs: dict[tuple[Branch, ...], Cost] = {}
        for option in self.all:
            parts = [branch.deployed.cost(self.context.shape) for branch in option.block]
            costs[option.block] = Cost(sum(part.params for part in parts), sum(part.macs for part in parts))
        return costs

    def nearest(self, wanted: Settings, besides: tuple[Branch, ...] | None = None) -> list[Option]:
        """The options most similar to the settings `wanted`, excluding the block `besides`; [] if there is no other."""
        left_out = None if besides is None else self.by_block.get(besides)
        others = [option for option in self._by_mixer.get(wanted.get("mixer"), ()) if option is not left_out]
        if not others:  # the mixer outweighs everything else: it is changed last
            others = [option for option in self.all if option is not left_out]
        desired = set(wanted.items())
        unlike = [len(option.items - desired) for option in others]
        least = min(unlike, default=0)
        return [option for count, option in zip(unlike, others, strict=True) if count == least]

    @functools.cached_property
    def _by_mixer(self) -> dict[Any, list[Option]]:
        by_mixer: dict[Any, list[Option]] = {}
        for option in self.all:
            by_mixer.setdefault(option.settings["mixer"], []).append(option)
        return by_mixer


def can_downsample(shape: TokenShape) -> bool:
    """Whether a 2 x 2 convolution may halve this grid: it is even, stays at least 2 x 2, and has no class token."""
    return all(side % 2 == 0 and side >= 4 for side in sides(shape.grid)) and not shape.class_token


def downsampled(shape: TokenShape) -> TokenShape:
    """The tokens after a downsampling: half the sides, twice the width."""
    return TokenShape(divided(shape.grid, 2), 2 * shape.dim, shape.class_token)


def _blocks(definition: SpaceDefinition, context: Context) -> Iterator[tuple[Settings, tuple[Branch, ...]]]:
    """Every possible block, with those of its settings that have an effect."""

    @functools.cache
    def channel_mlp(ratio: int, eps: float) -> tuple[Branch, ...]:
        op = Dense("channel", ratio * context.shape.dim, batchnorm=context.conv_bn)
        return (Branch(op, context.norm, "channel", eps, context.layer_scale),) if ratio else ()

    for mixer, own in definition.mixers.items():
        for values in itertools.product(*own.values()):
            settings: dict[str, Any] = dict(zip(own, values, strict=True))
            eps = BATCHNORM_EPS if context.norm == "batchnorm" else DEFAULT_EPS
            token: tuple[Branch, ...] = ()
            if mixer != "none":
                try:
                    mix = MIXERS[mixer](**settings).mix(context.shape)
                    mix.op.check(context.shape)
                    eps = max(eps, mix.eps)
                    token = (Branch(mix.op, context.norm, mix.norm_axis, eps, context.layer_scale),)
                except ArchitectureError:
                    continue
            for ratio in definition.stage["channel_ratio"]:
                block = token + channel_mlp(ratio, eps)
                chosen = {"mixer": mixer, **settings, "channel_ratio": ratio}
                if len(block) == 1:
                    yield chosen, block
                elif len(block) == 2:
                    for order in definition.stage["order"]:
                        yield {**chosen, "order": order}, block if order == "token_first" else block[::-1]

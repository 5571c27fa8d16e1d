"""The blocks a stage may consist of, in a given context.

All rules of the space meet here: for one context (the tokens, the width, the norm, the layer scale) every combination
of stage settings is tried, those that cannot exist are dropped, and of several that describe the same block one is
kept. What is left can be counted, drawn from uniformly and looked up in both directions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

from search_space.architecture import Branch, Norm
from search_space.definition import SpaceDefinition, Value
from search_space.errors import ArchitectureError
from search_space.ops import MIXERS, Cost, Dense, TokenShape

Settings = Mapping[str, Value]
BATCHNORM_EPS = 1e-5


class Context(NamedTuple):
    """What the blocks of a stage depend on besides the stage's own settings."""

    shape: TokenShape
    norm: Norm
    layer_scale: float | None


@dataclass(frozen=True)
class Option:
    """One block of a context: its settings (mixer, the mixer's own, channel_ratio, order) and its branches."""

    settings: Settings
    block: tuple[Branch, ...]

    def likeness(self, wanted: Mapping[str, Any]) -> int:
        """Minus the number of settings that are not as wanted; the mixer counts more than all others together."""
        differing = sum(1 for name, value in self.settings.items() if wanted.get(name) != value)
        return -differing - (100 if wanted.get("mixer") != self.settings["mixer"] else 0)


class Options:
    """The blocks of one context, in a fixed order."""

    def __init__(self, definition: SpaceDefinition, context: Context) -> None:
        self.context = context
        self.by_block: dict[tuple[Branch, ...], Option] = {}
        for settings in _combinations(definition):
            try:
                block = make_block(settings, context)
                for branch in block:
                    branch.op.check(context.shape)
            except ArchitectureError:
                continue
            self.by_block.setdefault(block, Option(settings, block))
        self.all = tuple(self.by_block.values())

    def extreme(self, measure: Literal["params", "macs"], largest: bool, count: int) -> list[Option]:
        """The `count` options of greatest or least cost."""
        return sorted(self.all, key=lambda option: self.cost(option, measure), reverse=largest)[:count]

    def cost(self, option: Option, measure: Literal["params", "macs"]) -> int:
        """What a block of this context costs."""
        cost: int = getattr(self._costs[option.block], measure)
        return cost

    @cached_property
    def _costs(self) -> dict[tuple[Branch, ...], Cost]:
        costs: dict[tuple[Branch, ...], Cost] = {}
        for option in self.all:
            parts = [branch.cost(self.context.shape) for branch in option.block]
            costs[option.block] = Cost(sum(part.params for part in parts), sum(part.macs for part in parts))
        return costs

    def nearest(self, wanted: Settings, besides: tuple[Branch, ...] | None = None) -> list[Option]:
        """The options most like the settings `wanted`, leaving out the block `besides`; [] if there is no other."""
        rated = [(option.likeness(wanted), option) for option in self.all if option.block != besides]
        best = max((rate for rate, _ in rated), default=None)
        return [option for rate, option in rated if rate == best]


def can_downsample(shape: TokenShape) -> bool:
    """Whether a 2 x 2 convolution may halve this grid: it is even, stays at least 2 x 2, and has no class token."""
    return shape.grid % 2 == 0 and shape.grid >= 4 and not shape.class_token


def downsampled(shape: TokenShape) -> TokenShape:
    """The tokens after a downsampling: half the side, twice the width."""
    return TokenShape(shape.grid // 2, 2 * shape.dim, shape.class_token)


def make_block(settings: Mapping[str, Any], context: Context) -> tuple[Branch, ...]:
    """The residual branches that stage settings stand for.

    Raises:
        ArchitectureError: If there is no such block.
    """
    shape, norm, layer_scale = context
    eps = BATCHNORM_EPS if norm == "batchnorm" else 1e-6
    branches: list[Branch] = []
    if settings["mixer"] != "none":
        mixer = MIXERS[settings["mixer"]]
        mix = mixer.make(shape, **{name: settings[name] for name in mixer.settings})
        eps = max(eps, mix.eps)
        branches.append(Branch(mix.op, norm, mix.norm_axis, eps, layer_scale))
    if settings["channel_ratio"]:
        dense = Dense("channel", settings["channel_ratio"] * shape.dim)
        branches.append(Branch(dense, norm, "channel", eps, layer_scale))
    if not branches:
        raise ArchitectureError("a block needs a token mixer or a channel MLP")
    return tuple(reversed(branches)) if settings.get("order") == "channel_first" else tuple(branches)


def _combinations(definition: SpaceDefinition) -> Iterator[dict[str, Value]]:
    """Every combination of settings, with no setting in it that is without effect."""
    for mixer, own in definition.mixers.items():
        for values in itertools.product(*own.values()):
            for ratio in definition.stage["channel_ratio"]:
                settings = {"mixer": mixer, **dict(zip(own, values, strict=True)), "channel_ratio": ratio}
                if mixer == "none" or ratio == 0:
                    yield settings
                else:
                    for order in definition.stage["order"]:
                        yield {**settings, "order": order}

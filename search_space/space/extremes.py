"""The range of cost in a space, and its smallest architectures.

Costs add up over the stages, and a stage constrains its neighbours only by not repeating a block. So in a chain of
extreme cost every stage has one of the three cheapest or most expensive blocks of its context (with at most two
neighbours, a third choice is always free), and trying those is enough.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

from search_space.architecture import Architecture, Downsample, Stage
from search_space.errors import SpaceError
from search_space.ops import Cost, TokenShape
from search_space.size import shown, sides
from search_space.space.axes import Limits
from search_space.space.codec import Codec
from search_space.space.counting import Counter, stages_of
from search_space.space.options import Option, Options, can_downsample, downsampled

Measure = Literal["params", "macs"]
MEASURES: tuple[Measure, ...] = ("params", "macs")
EXTREME_BLOCKS = 3
"""Number of extreme blocks to try per context: one more than a stage has neighbours."""
MOST_TRIED = 100
"""Chains of stages to try for each choice of the whole network when both limits are tight (arbitrary)."""


class Extremes:
    """The minimum and maximum cost of the architectures of a space, in their deployed form."""

    def __init__(self, codec: Codec, counter: Counter) -> None:
        self._codec, self._counter = codec, counter
        self._found: dict[tuple[Measure, bool], Architecture] = {}

    @cached_property
    def least(self) -> Cost:
        """The fewest parameters and the fewest MACs, each on its own."""
        return self._cost(largest=False)

    @cached_property
    def most(self) -> Cost:
        """The most parameters and the most MACs, each on its own."""
        return self._cost(largest=True)

    def check(self, limits: Limits) -> None:
        """Refuse limits that leave no architecture.

        Raises:
            SpaceError: If a limit is below everything in the space; names the smallest possible cost.
        """
        codec = self._codec
        for limit, smallest, what in (
            (limits.max_params, self.least.params, "parameters"),
            (limits.max_macs, self.least.macs, "MACs"),
        ):
            if limit is not None and limit < smallest:
                raise SpaceError(
                    f"no architecture of the space {codec.name!r} has at most {limit:,} {what} for images of "
                    f"{shown(codec.image_size)}; the smallest has {smallest:,}"
                )

    def smallest(self, limits: Limits) -> Architecture:
        """A smallest architecture within limits.

        Raises:
            SpaceError: If none is within the limits.
        """
        self.check(limits)
        for measure in MEASURES:
            least = self._extreme(measure, largest=False)
            if limits.allow(least.deployed.cost):
                return least
        # Both limits bind. Try the fewest stages and the least depth first, since larger architectures contain them,
        # and then the blocks that use the smallest share of either limit.
        for net in sorted(self._counter.nets, key=stages_of):
            if self._counter.depths_of(net):
                for found in itertools.islice(self._shallow_chains(net, limits), MOST_TRIED):
                    if limits.allow(found.deployed.cost):
                        return found
        raise SpaceError(f"found no architecture of the space {self._codec.name!r} within {limits}")

    def _cost(self, largest: bool) -> Cost:
        return Cost(*(getattr(self._extreme(measure, largest).deployed.cost, measure) for measure in MEASURES))

    def _extreme(self, measure: Measure, largest: bool) -> Architecture:
        """An architecture of the greatest or least cost by one measure."""
        if (measure, largest) not in self._found:
            pick = max if largest else min
            self._found[measure, largest] = pick(
                self._candidates(measure, largest), key=lambda found: getattr(found.deployed.cost, measure)
            )
        return self._found[measure, largest]

    def _candidates(self, measure: Measure, largest: bool) -> Iterator[Architecture]:
        """Architectures that include the extreme one."""
        pick = max if largest else min
        for by_dim in _nets_that_matter(self._counter.possible_nets(), largest).values():
            walked: list[list[list[int]]] = []
            for dim in sorted(by_dim, reverse=largest):
                walk = _Walk(self._codec, self._counter, by_dim[dim], measure, largest)
                ranks = walk.ranks()
                if not any(walk.dominates(other, ranks) for other in walked):
                    walked.append(ranks)
                    yield from _extreme_chain(walk, pick(self._counter.depths_of(by_dim[dim])))

    def _shallow_chains(self, net: dict[str, Any], limits: Limits) -> Iterator[Architecture]:
        """Architectures with these choices for the whole network and stages of minimum depth, cheap blocks first."""
        codec, counter, depth = self._codec, self._counter, min(self._counter.depths_of(net))

        def share(options: Options, option: Option) -> float:
            costs = (options.cost(option, measure) for measure in MEASURES)
            return max(cost / limit for cost, limit in zip(costs, limits, strict=True) if limit is not None)

        def extend(
            params: dict[str, Any], shape: TokenShape, number: int, besides: Option | None
        ) -> Iterator[Architecture]:
            options = codec.options(codec.context(net, shape))
            for option in sorted(options.all, key=lambda option: share(options, option)):
                if besides is not None and option.block == besides.block:
                    continue
                here = {**params, f"stage{number}.depth": depth}
                here |= {f"stage{number}.{key}": value for key, value in option.settings.items()}
                if number == stages_of(net):
                    yield codec.decode(here)
                    continue
                for downsample, after, chains in counter.entries(net, shape, stages_of(net) - number):
                    if chains:
                        entered = {**here, f"stage{number + 1}.downsample": downsample}
                        yield from extend(entered, after, number + 1, option if downsample == "none" else None)

        return extend(dict(net), codec.first_shape(net), 1, None)


def _nets_that_matter(nets: list[dict[str, Any]], largest: bool) -> dict[tuple[object, ...], dict[int, dict[str, Any]]]:
    """One choice for the whole network per patch, pooling, kind of norm and width; no other can cost more (less).

    Norms cost the same except "none", and batchnorm has the fewest options. Layer scales, positions and the norms after
    convolutions add to the cost.
    """
    pick = max if largest else min
    scaled = pick(net["layer_scale"] is not None for net in nets)
    placed = pick(net["position"] == "learned" for net in nets)
    convolved = pick(net.get("conv_bn", False) for net in nets)
    affine = any(net["norm"] in ("layernorm", "affine") for net in nets)
    alike: dict[tuple[object, ...], dict[int, dict[str, Any]]] = {}
    for net in nets:
        norm = net["norm"] if net["norm"] in ("none", "batchnorm") else "layernorm"
        if (norm == "batchnorm" and affine) or (net["layer_scale"] is not None) != scaled:
            continue
        if (net["position"] == "learned") != placed or net.get("conv_bn", False) != convolved:
            continue
        alone = net["stages"] == 1 and net["drop_path"] > 0
        by_dim = alike.setdefault((net["patch"], net["pooling"], norm, alone), {})
        known = by_dim.setdefault(net["dim"], net)
        if pick(stages_of(net), stages_of(known)) != stages_of(known):
            by_dim[net["dim"]] = net
    return alike


class _Walk(NamedTuple):
    """The blocks from which the stages of a network with these choices reach the extremes of cost."""

    codec: Codec
    counter: Counter
    net: dict[str, Any]
    measure: Measure
    largest: bool

    def extreme(self, options: Options) -> list[Option]:
        """The most extreme blocks of a context."""
        return options.extreme(self.measure, self.largest, count=EXTREME_BLOCKS)

    def ranks(self) -> list[list[int]]:
        """The costs of the most extreme blocks in every possible context of the stages."""
        costs: list[list[int]] = []
        shape = self.codec.first_shape(self.net)
        for _ in range(stages_of(self.net)):
            options = self.codec.options(self.codec.context(self.net, shape))
            costs.append([options.cost(option, self.measure) for option in self.extreme(options)])
            if "conv2" not in self.counter.downsamples or not can_downsample(shape):
                break
            shape = downsampled(shape)
        return costs

    def dominates(self, other: list[list[int]], own: list[list[int]]) -> bool:
        """Whether a more extreme width also has, rank by rank, more extreme blocks.

        If so, replacing blocks by those of equal rank turns any chain of this width into a more extreme one of that
        width.
        """
        if [len(ranked) for ranked in other] != [len(ranked) for ranked in own]:
            return False
        pairs = ((a, b) for theirs, ours in zip(other, own, strict=True) for a, b in zip(theirs, ours, strict=True))
        return all(a >= b if self.largest else a <= b for a, b in pairs)


def _extreme_chain(walk: _Walk, depth: int) -> Iterator[Architecture]:
    """The most extreme architecture with these choices for the whole network and stages of this depth, if any.

    What follows a block depends on it only by not repeating it, and costs add up. So the best continuation of every
    stage is computed once, rather than once per way of reaching it.
    """
    codec, counter, net = walk.codec, walk.counter, walk.net
    known: dict[tuple[object, ...], list[tuple[str, Option, Stage]]] = {}

    def best(shape: TokenShape, stages: int, besides: Option | None) -> list[tuple[str, Option, Stage]]:
        """How to build this stage and all later ones; [] if that is impossible."""
        key = (shape, stages, besides.block if besides else None)
        if key not in known:
            found = list(continuations(shape, stages, besides))
            known[key] = max(found, key=size_of(shape)) if len(found) > 1 else found[0] if found else []
        return known[key]

    def continuations(
        shape: TokenShape, stages: int, besides: Option | None
    ) -> Iterator[list[tuple[str, Option, Stage]]]:
        for option in walk.extreme(codec.options(codec.context(net, shape))):
            if besides is not None and option.block == besides.block:
                continue
            own = ("none", option, Stage(depth, shape.dim, option.block))
            if stages == 1:  # the most extreme blocks come first
                yield [own]
                return
            for downsample, after, chains in counter.entries(net, shape, stages - 1):
                rest = best(after, stages - 1, option if downsample == "none" else None) if chains else []
                if rest:
                    kind: Downsample = "none"
                    if downsample == "conv2":
                        kind = "conv2_bn_relu" if net.get("conv_bn") else "conv2"
                    first = (downsample, rest[0][1], replace(rest[0][2], downsample=kind))
                    yield [own, first, *rest[1:]]

    def size_of(shape: TokenShape) -> Callable[[list[tuple[str, Option, Stage]]], int]:
        """Cost of a network of these stages; what precedes them costs the same in all networks compared."""
        whole = {**net, "patch": sides(codec.image_size)[0] // shape.height}

        def size(chain: list[tuple[str, Option, Stage]]) -> int:
            built = codec.architecture(whole, [stage for _, _, stage in chain])
            cost: int = getattr(built.deployed.cost, walk.measure)
            return cost if walk.largest else -cost

        return size

    params = dict(net)
    for number, (downsample, option, stage) in enumerate(best(codec.first_shape(net), net["stages"], None), start=1):
        params |= {f"stage{number}.{key}": value for key, value in option.settings.items()}
        params |= {f"stage{number}.depth": stage.depth, f"stage{number}.downsample": downsample}
    if "stage1.depth" in params:
        yield codec.decode(params)

"""How many architectures a space has, drawing uniformly from them, and the range of their cost.

An architecture of the space is a choice on the axes of the whole network and a chain of stages. What may stand in a
stage depends on its context alone, with one exception: a stage that is entered without downsampling must not repeat the
block before it. So chains are counted by a short recursion, and drawn by walking down it with the counts as weights.
"""

from __future__ import annotations

import itertools
import random
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from search_space.architecture import Stage
from search_space.errors import SpaceError
from search_space.ops import Cost, TokenShape
from search_space.space.options import Context, Option, Options, can_downsample, downsampled

if TYPE_CHECKING:
    from search_space.architecture import Architecture, Downsample, Norm
    from search_space.space.space import Limits, SearchSpace

MAX_DRAWS = 5000
"""Draws before giving up on hitting narrow limits by chance."""
MOST_TRIED = 100
"""Chains of stages that are tried for each choice of the whole network when both limits leave little."""


class Counter:
    """Counts of a space, computed once."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        stage = {axis.name: axis.values for axis in space.stage_axes}
        self.depths = space.definition.scale(space.image_size).depth
        self.downsamples = stage["downsample"]
        self._chains: dict[tuple[object, ...], int] = {}
        names = [axis.name for axis in space.net_axes]
        self.nets: list[dict[str, Any]] = [
            dict(zip(names, values, strict=True)) for values in itertools.product(*(a.values for a in space.net_axes))
        ]
        self.cumulative = list(itertools.accumulate(self._count(net) for net in self.nets))
        if not self.cumulative[-1]:
            raise SpaceError(f"the space {space.name!r} is empty: its rules leave no architecture")

    def _count(self, net: dict[str, Any]) -> int:
        """Number of architectures with these choices of the whole network."""
        shape = self.space.first_shape(net)
        chains = self.chains(net, shape, self.stages(net), repeat=False)
        return chains * len(self.depths_of(net)) // len(self.depths)

    def depths_of(self, net: dict[str, Any]) -> tuple[int, ...]:
        """Depths of a stage; stochastic depth says nothing of a network of one block, so that has to be without it."""
        alone = net["stages"] == 1 and net["drop_path"] > 0
        return tuple(depth for depth in self.depths if depth > 1 or not alone)

    def chains(self, net: dict[str, Any], shape: TokenShape, stages: int, repeat: bool) -> int:
        """Number of ways to choose this stage and all after it.

        Args:
            net: Choices of the whole network.
            shape: The tokens of this stage.
            stages: Stages to choose, this one included.
            repeat: Whether the block before is among the options here and must not be chosen again.
        """
        # Which blocks are possible does not depend on the layer scale, and is the same for layernorm and affine.
        norm: Norm = "layernorm" if net["norm"] == "affine" else net["norm"]
        key = (norm, shape, stages, repeat)
        if key not in self._chains:
            options = len(self.space.options(Context(shape, norm, None)).all) - repeat
            after = sum(count for _, _, count in self.entries(net, shape, stages - 1)) if stages > 1 else 1
            self._chains[key] = max(options, 0) * len(self.depths) * after
        return self._chains[key]

    def entries(self, net: dict[str, Any], shape: TokenShape, stages: int) -> Iterator[tuple[str, TokenShape, int]]:
        """Ways to enter the next stage: the downsampling, the tokens after it, and the number of chains."""
        for downsample in self.downsamples:
            if downsample == "none":
                yield "none", shape, self.chains(net, shape, stages, repeat=True)
            elif can_downsample(shape):
                yield "conv2", downsampled(shape), self.chains(net, downsampled(shape), stages, repeat=False)

    def draw(self, rng: random.Random) -> dict[str, Any]:
        """Parameters of an architecture, each with the same probability."""
        net = self.nets[bisect(self.cumulative, rng.randrange(self.cumulative[-1]))]
        params, shape, downsample = dict(net), self.space.first_shape(net), "none"
        previous: Option | None = None
        for number in range(1, self.stages(net) + 1):
            if number > 1:
                entries = list(self.entries(net, shape, self.stages(net) - number + 1))
                ((downsample, shape, _),) = rng.choices(entries, weights=[count for _, _, count in entries])
                params[f"stage{number}.downsample"] = downsample
            options = self.space.options(self.space.context(net, shape)).all
            option = rng.choice(options)
            while previous is not None and downsample == "none" and option.block == previous.block:
                option = rng.choice(options)
            params[f"stage{number}.depth"] = rng.choice(self.depths_of(net))
            params |= {f"stage{number}.{key}": value for key, value in option.settings.items()}
            previous = option
        return params

    @staticmethod
    def stages(net: dict[str, Any]) -> int:
        """The number of stages that these choices of the whole network ask for."""
        stages = net["stages"]
        assert isinstance(stages, int)
        return stages


def _counter(space: SearchSpace) -> Counter:
    counter = space.__dict__.get("_counter")
    if counter is None:
        counter = space.__dict__["_counter"] = Counter(space)
    return counter


def count(space: SearchSpace) -> int:
    """Exact number of architectures of the space."""
    return _counter(space).cumulative[-1]


def sample(space: SearchSpace, rng: random.Random, limits: Limits) -> Architecture:
    """Draw uniformly among the architectures within `limits`.

    Rejection keeps the draw uniform. Limits so narrow that MAX_DRAWS in a row miss them are met by shrinking the last
    draw step by step, which is not uniform but ends.

    Raises:
        SpaceError: If no architecture is within the limits.
    """
    counter = _counter(space)
    params: dict[str, Any] = {}
    for _ in range(MAX_DRAWS):
        params = counter.draw(rng)
        architecture = space.decode(params)
        if limits.allow(architecture.deployed.cost):
            return architecture
    space.check_limits(limits)
    return space.complete(params, rng, limits)


def cost_range(space: SearchSpace) -> tuple[Cost, Cost]:
    """The least and the most parameters and MACs of any architecture in the space, each for itself."""
    most = (getattr(_extreme(space, measure, True).deployed.cost, measure) for measure in Cost._fields)
    return least_cost(space), Cost(*most)


def least_cost(space: SearchSpace) -> Cost:
    """The least parameters and MACs of any architecture in the space, each for itself."""
    return Cost(*(getattr(_extreme(space, measure, False).deployed.cost, measure) for measure in Cost._fields))


def smallest(space: SearchSpace, limits: Limits) -> Architecture:
    """A smallest architecture within limits.

    Raises:
        SpaceError: If none is within the limits.
    """
    space.check_limits(limits)
    for measure in Cost._fields:
        least = _extreme(space, measure, largest=False)
        if limits.allow(least.deployed.cost):
            return least
    # Both limits bind. The fewest stages of least depth come first, as larger architectures contain such; and blocks
    # that use up little of either limit.
    counter = _counter(space)

    def use(options: Options) -> list[Option]:
        def share(option: Option) -> float:
            costs = (options.cost(option, "params"), options.cost(option, "macs"))
            return max(cost / limit for cost, limit in zip(costs, limits, strict=True) if limit is not None)

        return sorted(options.all, key=share)

    for net in sorted(counter.nets, key=counter.stages):
        if counter.depths_of(net):
            for found in itertools.islice(_chains(space, net, min(counter.depths_of(net)), use), MOST_TRIED):
                if limits.allow(found.deployed.cost):
                    return found
    raise SpaceError(f"found no architecture of the space {space.name!r} within {limits}")


def _extreme(space: SearchSpace, measure: str, largest: bool) -> Architecture:
    """An architecture of greatest or least cost by one measure ("params" or "macs").

    Costs add up over the stages, and a stage constrains its neighbours only by not repeating a block. So in a chain of
    extreme cost every stage has one of the three cheapest or dearest blocks of its context (with two neighbours at
    most, the third choice is always free), and it is enough to try those.
    """
    key = f"_extreme_{measure}_{largest}"
    if key not in space.__dict__:
        pick = max if largest else min
        candidates = _extreme_candidates(space, measure, largest)
        space.__dict__[key] = pick(candidates, key=lambda found: getattr(found.deployed.cost, measure))
    found: Architecture = space.__dict__[key]
    return found


def _extreme_candidates(space: SearchSpace, measure: str, largest: bool) -> Iterator[Architecture]:
    """Architectures among which the extreme one is."""
    counter = _counter(space)
    pick = max if largest else min
    counts = zip([0, *counter.cumulative], counter.cumulative, strict=False)
    nets = [net for net, (before, up_to) in zip(counter.nets, counts, strict=True) if up_to > before]
    scaled = pick(net["layer_scale"] is not None for net in nets)
    placed = pick(net["position"] == "learned" for net in nets)
    convolved = pick(net.get("conv_bn", False) for net in nets)
    affine = any(net["norm"] in ("layernorm", "affine") for net in nets)
    like: dict[tuple[object, ...], dict[int, dict[str, Any]]] = {}
    for net in nets:
        # Norms cost the same but for "none", and batchnorm has the fewest options; layer scales, positions and the
        # norms behind convolutions add.
        norm = net["norm"] if net["norm"] in ("none", "batchnorm") else "layernorm"
        if (norm == "batchnorm" and affine) or (net["layer_scale"] is not None) != scaled:
            continue
        if (net["position"] == "learned") != placed or net.get("conv_bn", False) != convolved:
            continue
        alone = net["stages"] == 1 and net["drop_path"] > 0
        by_dim = like.setdefault((net["patch"], net["pooling"], norm, alone), {})
        known = by_dim.setdefault(net["dim"], net)
        if pick(counter.stages(net), counter.stages(known)) != counter.stages(known):
            by_dim[net["dim"]] = net
    for by_dim in like.values():
        walked: list[list[list[int]]] = []
        for dim in sorted(by_dim, reverse=largest):
            net = by_dim[dim]
            walk = _Walk(space, counter, net, measure, largest)
            ranks = walk.ranks()
            if not any(walk.dominates(other, ranks) for other in walked):
                walked.append(ranks)
                yield from _extreme_chain(walk, pick(counter.depths_of(net)))


class _Walk(NamedTuple):
    """What the stages of a network with these choices can be made of at the extremes of cost."""

    space: SearchSpace
    counter: Counter
    net: dict[str, Any]
    measure: Any
    largest: bool

    def extreme(self, options: Options) -> list[Option]:
        """The three most extreme blocks of a context."""
        return options.extreme(self.measure, self.largest, count=3)

    def ranks(self) -> list[list[int]]:
        """The costs of the three most extreme blocks in every context that the stages may have."""
        costs: list[list[int]] = []
        shape = self.space.first_shape(self.net)
        for _ in range(self.net["stages"]):
            options = self.space.options(self.space.context(self.net, shape))
            costs.append([options.cost(option, self.measure) for option in self.extreme(options)])
            if "conv2" not in self.counter.downsamples or not can_downsample(shape):
                break
            shape = downsampled(shape)
        return costs

    def dominates(self, other: list[list[int]], own: list[list[int]]) -> bool:
        """Whether a more extreme width has, rank by rank, more extreme blocks too.

        Then any chain of this width turns into a more extreme one of that width by taking the blocks of equal rank.
        """
        if [len(ranked) for ranked in other] != [len(ranked) for ranked in own]:
            return False
        pairs = ((a, b) for theirs, ours in zip(other, own, strict=True) for a, b in zip(theirs, ours, strict=True))
        return all(a >= b if self.largest else a <= b for a, b in pairs)


def _extreme_chain(walk: _Walk, depth: int) -> Iterator[Architecture]:
    """The most extreme architecture with these choices of the whole network and stages of this depth, if there is one.

    What follows a block depends on that block only by not repeating it, and costs add up. So the best continuation of
    every stage is found once, and not once for each of the many ways that lead to it.
    """
    space, counter, net = walk.space, walk.counter, walk.net
    known: dict[tuple[object, ...], list[tuple[str, Option, Stage]]] = {}

    def best(shape: TokenShape, stages: int, besides: Option | None) -> list[tuple[str, Option, Stage]]:
        """How to make this stage and those after it; [] if that cannot be done."""
        key = (shape, stages, besides.block if besides else None)
        if key not in known:
            found = list(continuations(shape, stages, besides))
            known[key] = max(found, key=size_of(shape)) if len(found) > 1 else found[0] if found else []
        return known[key]

    def continuations(
        shape: TokenShape, stages: int, besides: Option | None
    ) -> Iterator[list[tuple[str, Option, Stage]]]:
        for option in walk.extreme(space.options(space.context(net, shape))):
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
        """Cost of a network of these stages; what stands before them costs the same for all that begin alike."""
        whole = {**net, "patch": space.image_size // shape.grid}

        def size(chain: list[tuple[str, Option, Stage]]) -> int:
            built = space.architecture(whole, [stage for _, _, stage in chain])
            cost: int = getattr(built.deployed.cost, walk.measure)
            return cost if walk.largest else -cost

        return size

    params = dict(net)
    for number, (downsample, option, stage) in enumerate(best(space.first_shape(net), net["stages"], None), start=1):
        params |= {f"stage{number}.{key}": value for key, value in option.settings.items()}
        params |= {f"stage{number}.depth": stage.depth, f"stage{number}.downsample": downsample}
    if "stage1.depth" in params:
        yield space.decode(params)


def _chains(
    space: SearchSpace, net: dict[str, Any], depth: int, choose: Callable[[Options], Iterable[Option]]
) -> Iterator[Architecture]:
    """Architectures with these choices of the whole network and stages of this depth.

    Args:
        space: The space.
        net: Choices of the whole network.
        depth: Depth of every stage.
        choose: The blocks to try in a context, in this order.
    """
    counter, stages = _counter(space), net["stages"]

    def extend(
        params: dict[str, Any], shape: TokenShape, number: int, besides: Option | None
    ) -> Iterator[Architecture]:
        for option in choose(space.options(space.context(net, shape))):
            if besides is not None and option.block == besides.block:
                continue
            here = {**params, f"stage{number}.depth": depth}
            here |= {f"stage{number}.{key}": value for key, value in option.settings.items()}
            if number == stages:
                yield space.decode(here)
                continue
            for downsample, after, chains in counter.entries(net, shape, stages - number):
                if chains:
                    entered = {**here, f"stage{number + 1}.downsample": downsample}
                    yield from extend(entered, after, number + 1, option if downsample == "none" else None)

    yield from extend(dict(net), space.first_shape(net), 1, None)

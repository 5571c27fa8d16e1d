"""The hand-designed families, scaled to a limit: the baselines of every search.

Each family is a fixed choice on the axes of a space (`Family.scaled`). The free choices (patch, width, depth, and
heads) are scaled as the authors did: as large as the limit allows, with the proportions of the smallest published
model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from search_space.architecture import Architecture
from search_space.errors import SpaceError
from search_space.ops import RepMLP, TokenShape
from search_space.size import Size, divided, mean_side
from search_space.space import Limits, SearchSpace, Value
from search_space.space.definition import OPTIONAL
from search_space.space.options import can_downsample, downsampled
from search_space.zoo import FAMILIES
from search_space.zoo.entry import Family, Scaled

PUBLISHED_HEADS = 3
"""Heads of DeiT-Ti, the smallest published ViT."""
FILL = 0.75
"""Minimum size of a scaled family, as a share of the largest size it can have within the limit (arbitrary)."""
LEAST_DEPTH = 4
"""Minimum depth, below which no family was designed; used unless the limit leaves no choice (arbitrary)."""


@dataclass(frozen=True)
class ScaledFamily:
    """A family with the proportions of its smallest published model.

    Attributes:
        name: Its name.
        grid: Side of the first grid of tokens of that model.
        dim: C of its first stage.
        depths: Blocks of its stages. Small images use only the last of these stages.
        net: Choices for the whole network.
        stage: Choices for every stage.
        sharesets: Number of channel sets in each stage, for RepMLP only.
    """

    name: str
    grid: Size
    dim: int
    depths: tuple[int, ...]
    net: Mapping[str, Value]
    stage: Mapping[str, Value]
    sharesets: tuple[int, ...] = ()

    def last_stages(self, count: int) -> ScaledFamily:
        """The family with only its last `count` stages."""
        skipped = len(self.depths) - count
        return replace(
            self,
            grid=divided(self.grid, 1 << skipped),
            dim=self.dim << skipped,
            depths=self.depths[skipped:],
            sharesets=self.sharesets[skipped:],
        )


def scaled_families() -> list[ScaledFamily]:
    """The families of the zoo that can be scaled, in the zoo's order."""
    return [_proportions(family, family.scaled) for family in FAMILIES.values() if family.scaled is not None]


def _proportions(family: Family, scaled: Scaled) -> ScaledFamily:
    model = family.variants[scaled.model].make()
    first = [stage.block[0].op for stage in model.stages]
    return ScaledFamily(
        family.name,
        model.grid,
        model.stages[0].dim,
        tuple(stage.depth for stage in model.stages),
        scaled.net,
        scaled.stage,
        tuple(op.sharesets for op in first if isinstance(op, RepMLP)),
    )


def family_points(space: SearchSpace, limits: Limits) -> dict[str, Architecture]:
    """One point of `space` within `limits` for every family that it contains, by name."""
    points = {family.name: scaled(family, space, limits) for family in scaled_families()}
    return {name: point for name, point in points.items() if point is not None}


def scaled(family: ScaledFamily, space: SearchSpace, limits: Limits) -> Architecture | None:
    """The point of `space` that represents a family within `limits`; None if there is none.

    Candidates are the points with at least LEAST_DEPTH blocks, of these the ones with the most of the published stages,
    of these the ones with the grid nearest to the published one, and of these the ones with at least FILL of the
    largest size that is left. The result is the one whose ratio of width to depth (and, among equals, whose number of
    heads) is nearest to the published one. Size means parameters, or MACs if only MACs are limited.
    """
    points = [point for point in _points(family, space) if limits.allow(point.deployed.cost)]
    if not points:
        return None
    points = [point for point in points if point.depth >= LEAST_DEPTH] or points
    stages = max(len(point.stages) for point in points)
    points = [point for point in points if len(point.stages) == stages]
    models = {point: family.last_stages(len(point.stages)) for point in points}
    near = {point: mean_side(point.grid) for point in points}
    side = min((abs(math.log(near[point] / mean_side(models[point].grid))), near[point]) for point in points)[1]
    points = [point for point in points if near[point] == side]
    measure = "macs" if limits.max_params is None and limits.max_macs is not None else "params"
    sizes = {point: getattr(point.deployed, measure) for point in points}
    points = [point for point in points if sizes[point] >= FILL * max(sizes.values())]

    def distance(point: Architecture) -> tuple[float, int, int]:
        model = models[point]
        aspect, published = point.stages[0].dim / point.depth, model.dim / sum(model.depths)
        heads = getattr(point.stages[0].block[0].op, "heads", PUBLISHED_HEADS)
        return abs(math.log(aspect / published)), abs(heads - PUBLISHED_HEADS), -sizes[point]

    return min(points, key=distance)


def _points(family: ScaledFamily, space: SearchSpace) -> Iterator[Architecture]:
    """All members of a family in the space."""
    if family.stage["mixer"] not in space.axis("stage1.mixer").values:
        return
    net = dict(family.net)
    for axis, default in OPTIONAL.items():  # a space without the axis uses the default
        if axis not in {known.name for known in space.net_axes} and net.pop(axis) != default:
            return
    heads = space.axis("stage1.heads").values if family.stage["mixer"] == "attention" else (None,)
    for patch in space.axis("patch").values:
        for dim in space.axis("dim").values:
            for unit in space.axis("stage1.depth").values:
                for head in heads:
                    params = {**net, "patch": patch, "dim": dim}
                    params |= _stages(family, space, params, unit, {} if head is None else {"heads": head})
                    try:
                        yield space.decode(params)
                    except SpaceError:
                        continue


def _stages(
    family: ScaledFamily, space: SearchSpace, params: Mapping[str, Any], unit: Any, own: Mapping[str, Value]
) -> dict[str, Value]:
    """The choices of all stages: as many as the grid allows, with depths in the published proportions."""
    shapes: list[TokenShape] = [space.first_shape(params)]
    while len(shapes) < min(len(family.depths), space.max_stages) and can_downsample(shapes[-1]):
        shapes.append(downsampled(shapes[-1]))
    model = family.last_stages(len(shapes))
    found: dict[str, Value] = {"stages": len(shapes)}
    for index, shape in enumerate(shapes):
        stage: dict[str, Value] = {**family.stage, **own, "depth": unit * model.depths[index] // min(model.depths)}
        if index > 0:
            stage["downsample"] = "conv2"
        if model.sharesets:  # as many channels per set as in the published model
            wanted = shape.dim * model.sharesets[index] / (model.dim << index)
            sets = [sets for sets in space.axis("stage1.sharesets").values if isinstance(sets, int)]
            fitting = [sets for sets in sets if shape.dim % sets == 0]
            stage["sharesets"] = min(fitting, key=lambda sets: abs(math.log(sets / wanted)), default=0)
        found |= {f"stage{index + 1}.{name}": value for name, value in stage.items()}
    return found

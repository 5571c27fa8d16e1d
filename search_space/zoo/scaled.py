"""The hand-designed families, brought under a limit: the competitors every search has to beat.

Each family is a fixed choice on the axes of a space. What is left free (patch, width, depth, and heads) is scaled the
way its authors scaled it: as large as the limit allows, at the proportions of its smallest published model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from search_space.architecture import Architecture
from search_space.errors import SpaceError
from search_space.ops import TokenShape
from search_space.space import Limits, SearchSpace, Value
from search_space.space.definition import OPTIONAL
from search_space.space.options import can_downsample, downsampled

PUBLISHED_HEADS = 3
FILL = 0.75
"""A family is scaled to at least this share of the largest size that it can have within the limit."""
LEAST_DEPTH = 4
"""No family was meant for fewer blocks; one is scaled below this only where the limit leaves no choice."""


@dataclass(frozen=True)
class ScaledFamily:
    """A published family as it is scaled into spaces: choices on axes, and proportions of its smallest published model.

    Attributes:
        name: Short name.
        paper: Where it was published.
        grid: Side of that model's first grid of tokens.
        dim: C of its first stage.
        depths: Blocks of its stages. Small images have the last of these stages only.
        net: Choices of the whole network.
        stage: Choices of every stage.
        sharesets: RepMLP's number of channel sets in each of its stages.
    """

    name: str
    paper: str
    grid: int
    dim: int
    depths: tuple[int, ...]
    net: Mapping[str, Value]
    stage: Mapping[str, Value] = field(default_factory=dict)
    sharesets: tuple[int, ...] = ()

    def last_stages(self, count: int) -> ScaledFamily:
        """The family as if it began `count` stages before its end."""
        skipped = len(self.depths) - count
        return ScaledFamily(
            self.name,
            self.paper,
            self.grid >> skipped,
            self.dim << skipped,
            self.depths[skipped:],
            self.net,
            self.stage,
            self.sharesets[skipped:],
        )


_WITH_CLASS_TOKEN = {"pooling": "class_token", "position": "learned"}
_WITH_GAP = {"pooling": "gap", "position": "none"}
_PLAIN: dict[str, Value] = {"norm": "layernorm", "layer_scale": None, "drop_path": 0.0, "conv_bn": False}

FAMILIES = (
    ScaledFamily(
        "vit",
        "https://arxiv.org/abs/2010.11929",
        *(14, 192, (12,)),
        {**_PLAIN, **_WITH_CLASS_TOKEN},
        {"mixer": "attention", "channel_ratio": 4, "order": "token_first"},
    ),
    ScaledFamily(
        "mixer",
        "https://arxiv.org/abs/2105.01601",
        *(14, 512, (8,)),
        {**_PLAIN, **_WITH_GAP},
        {"mixer": "mlp", "token_hidden": "C/2", "token_norm": "channel", "channel_ratio": 4, "order": "token_first"},
    ),
    ScaledFamily(
        "ff_only",
        "https://arxiv.org/abs/2105.02723",
        *(14, 192, (12,)),
        {**_PLAIN, **_WITH_CLASS_TOKEN},
        {"mixer": "mlp", "token_hidden": "4N", "token_norm": "token", "channel_ratio": 4, "order": "channel_first"},
    ),
    ScaledFamily(
        "resmlp",
        "https://arxiv.org/abs/2105.03404",
        *(14, 384, (12,)),
        {**_PLAIN, **_WITH_GAP, "norm": "affine", "layer_scale": 0.1},
        {"mixer": "linear", "channel_ratio": 4, "order": "token_first"},
    ),
    ScaledFamily(
        "gmlp",
        "https://arxiv.org/abs/2105.08050",
        *(14, 128, (30,)),
        {**_PLAIN, **_WITH_GAP},
        {"mixer": "gating", "expansion": 6, "attention_dim": 0, "channel_ratio": 0},
    ),
    ScaledFamily(
        "vip",
        "https://arxiv.org/abs/2106.12368",
        *(16, 384, (18,)),
        {**_PLAIN, **_WITH_GAP},
        {"mixer": "permute", "weighted": True, "channel_ratio": 3, "order": "token_first"},
    ),
    ScaledFamily(
        "repmlp",
        "https://arxiv.org/abs/2112.11081",
        *(56, 64, (2, 2, 6, 2)),
        {**_PLAIN, **_WITH_GAP, "norm": "batchnorm", "conv_bn": True},
        {"mixer": "repmlp", "channel_ratio": 4, "order": "token_first"},
        (1, 4, 16, 128),
    ),
)


def family_points(space: SearchSpace, limits: Limits) -> dict[str, Architecture]:
    """One point of `space` for every family that it contains within `limits`, by name."""
    points = {family.name: scaled(family, space, limits) for family in FAMILIES}
    return {name: point for name, point in points.items() if point is not None}


def scaled(family: ScaledFamily, space: SearchSpace, limits: Limits) -> Architecture | None:
    """The point of `space` that stands for a family within `limits`; None if there is none.

    Of the points with at least LEAST_DEPTH blocks, then with the most of the published stages, then with the grid
    nearest to the published one, then with at least FILL of the largest size left, it is the one whose ratio of width
    to depth (and, among equals, whose number of heads) is nearest to the published one. Size is counted in what is
    limited: MACs if only they are.
    """
    points = [point for point in _points(family, space) if limits.allow(point.deployed.cost)]
    if not points:
        return None
    points = [point for point in points if point.depth >= LEAST_DEPTH] or points
    stages = max(len(point.stages) for point in points)
    points = [point for point in points if len(point.stages) == stages]
    models = {point: family.last_stages(len(point.stages)) for point in points}
    grid = min((abs(math.log(point.grid / models[point].grid)), point.grid) for point in points)[1]
    points = [point for point in points if point.grid == grid]
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
    for axis, default in OPTIONAL.items():  # a space without the axis has its default
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
        if model.sharesets:  # as many channels to a set as there are in the published model
            wanted = shape.dim * model.sharesets[index] / (model.dim << index)
            sets = [sets for sets in space.axis("stage1.sharesets").values if isinstance(sets, int)]
            fitting = [sets for sets in sets if shape.dim % sets == 0]
            stage["sharesets"] = min(fitting, key=lambda sets: abs(math.log(sets / wanted)), default=0)
        found |= {f"stage{index + 1}.{name}": value for name, value in stage.items()}
    return found

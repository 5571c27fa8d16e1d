"""The hand-designed families, brought under a limit: the competitors every search has to beat.

Each family is a fixed choice on the axes of a space. What is left free (patch, width, depth, and heads) is scaled the
way its authors scaled it: as large as the limit allows, at the proportions of its smallest published model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from search_space.architecture import Architecture
from search_space.definition import Value
from search_space.errors import SpaceError
from search_space.space import Limits, SearchSpace

PUBLISHED_HEADS = 3
PUBLISHED_GRID = 14
FILL = 0.75
"""A family is scaled to at least this share of the largest size that it can have within the limit."""
LEAST_DEPTH = 4
"""No family was meant for fewer blocks; one is scaled below this only where the limit leaves no choice."""


@dataclass(frozen=True)
class Family:
    """A published family as choices on axes.

    Attributes:
        name: Short name.
        paper: Where it was published.
        aspect: C over depth of its smallest published model.
        net: Choices of the whole network.
        stage: Choices of its only stage.
    """

    name: str
    paper: str
    aspect: float
    net: Mapping[str, Value]
    stage: Mapping[str, Value] = field(default_factory=dict)


_WITH_CLASS_TOKEN = {"pooling": "class_token", "position": "learned"}
_WITH_GAP = {"pooling": "gap", "position": "none"}
_PLAIN: dict[str, Value] = {"norm": "layernorm", "layer_scale": None, "drop_path": 0.0, "stages": 1}

FAMILIES = (
    Family(
        "vit",
        "https://arxiv.org/abs/2010.11929",
        192 / 12,
        {**_PLAIN, **_WITH_CLASS_TOKEN},
        {"mixer": "attention", "channel_ratio": 4, "order": "token_first"},
    ),
    Family(
        "mixer",
        "https://arxiv.org/abs/2105.01601",
        512 / 8,
        {**_PLAIN, **_WITH_GAP},
        {
            "mixer": "mlp",
            "token_hidden": "C/2",
            "token_norm": "channel",
            "channel_ratio": 4,
            "order": "token_first",
        },
    ),
    Family(
        "ff_only",
        "https://arxiv.org/abs/2105.02723",
        192 / 12,
        {**_PLAIN, **_WITH_CLASS_TOKEN},
        {
            "mixer": "mlp",
            "token_hidden": "4N",
            "token_norm": "token",
            "channel_ratio": 4,
            "order": "channel_first",
        },
    ),
    Family(
        "resmlp",
        "https://arxiv.org/abs/2105.03404",
        384 / 12,
        {**_PLAIN, **_WITH_GAP, "norm": "affine", "layer_scale": 0.1},
        {"mixer": "linear", "channel_ratio": 4, "order": "token_first"},
    ),
    Family(
        "gmlp",
        "https://arxiv.org/abs/2105.08050",
        128 / 30,
        {**_PLAIN, **_WITH_GAP},
        {"mixer": "gating", "expansion": 6, "channel_ratio": 0},
    ),
    Family(
        "vip",
        "https://arxiv.org/abs/2106.12368",
        384 / 18,
        {**_PLAIN, **_WITH_GAP},
        {"mixer": "permute", "weighted": True, "channel_ratio": 3, "order": "token_first"},
    ),
)


def family_points(space: SearchSpace, limits: Limits) -> dict[str, Architecture]:
    """One point of `space` for every family that it contains within `limits`, by name."""
    points = {family.name: scaled(family, space, limits) for family in FAMILIES}
    return {name: point for name, point in points.items() if point is not None}


def scaled(family: Family, space: SearchSpace, limits: Limits) -> Architecture | None:
    """The point of `space` that stands for a family within `limits`; None if there is none.

    Of the points with at least LEAST_DEPTH blocks, then with the grid nearest to the published 14 x 14 patches, then
    with at least FILL of the largest size left, it is the one whose ratio of width to depth (and, among equals, whose
    number of heads) is nearest to the published one.
    """
    points = [point for point in _points(family, space) if limits.allow(point.cost)]
    if not points:
        return None
    points = [point for point in points if point.depth >= LEAST_DEPTH] or points
    grid = min((abs(math.log(point.grid / PUBLISHED_GRID)), point.grid) for point in points)[1]
    points = [point for point in points if point.grid == grid]
    largest = max(point.params for point in points)
    points = [point for point in points if point.params >= FILL * largest]

    def distance(point: Architecture) -> tuple[float, int, int]:
        aspect = point.stages[0].dim / point.depth
        heads = getattr(point.stages[0].block[0].op, "heads", PUBLISHED_HEADS)
        return abs(math.log(aspect / family.aspect)), abs(heads - PUBLISHED_HEADS), -point.params

    return min(points, key=distance)


def _points(family: Family, space: SearchSpace) -> Iterator[Architecture]:
    """All members of a family in the space."""
    heads = (
        space.axis("stage1.heads").values
        if family.stage["mixer"] == "attention" and "attention" in (space.axis("stage1.mixer").values)
        else (None,)
    )
    stage = {f"stage1.{name}": value for name, value in family.stage.items()}
    for patch in space.axis("patch").values:
        for dim in space.axis("dim").values:
            for depth in space.axis("stage1.depth").values:
                for head in heads:
                    free = {"patch": patch, "dim": dim, "stage1.depth": depth}
                    free |= {"stage1.heads": head} if head is not None else {}
                    try:
                        yield space.decode({**family.net, **stage, **free})
                    except (SpaceError, KeyError):
                        continue

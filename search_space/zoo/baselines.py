"""`baselines`: the published families at any size, for comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from search_space.architecture import Architecture
from search_space.errors import ConfigError, SpaceError, allowed
from search_space.size import Size, mean_side, shown
from search_space.space import Limits, load_space
from search_space.units import parse_count
from search_space.zoo.scaled import family_points


def baselines(
    limit: int | str | Limits,
    image_size: Size,
    *,
    measure: Literal["params", "macs"] = "params",
    in_channels: int = 3,
    classes: int | None = None,
    space: str | Path = "mlp_family",
) -> dict[str, Architecture]:
    """Each of the published families, scaled up or down to a limit for images of one size.

    They are points of the search space, chosen as described in `search_space.zoo.scaled.scaled`. A family without a
    model within the limit is omitted.

    Example:
        >>> list(baselines("500k", image_size=28, in_channels=1))
        ['vit', 'mixer', 'ff_only', 'resmlp', 'gmlp', 'vip', 'repmlp']

    Args:
        limit: Maximum parameters (or MACs) of the deployed model, such as ``50_000`` or ``"5M"``; or several limits.
        image_size: Side of the images in pixels, or their height and width.
        measure: What a single limit applies to.
        in_channels: Channels of the images.
        classes: Number of classes; by default 1000 for images of more than 64 pixels, else 10.
        space: The search space by name or path.

    Returns:
        The architectures by family name.

    Raises:
        ConfigError: If the limit or measure is not allowed.
        SpaceError: If the space has nothing for such images, or no family has a model within the limit.
    """
    if measure not in ("params", "macs"):
        raise ConfigError(f"measure is {measure!r}; {allowed(measure, ('params', 'macs'))}")
    if not isinstance(limit, Limits):
        count = parse_count(limit, "limit")
        limit = Limits(max_params=count) if measure == "params" else Limits(max_macs=count)
    classes = classes if classes is not None else 1000 if mean_side(image_size) > 64 else 10
    bound = load_space(space, image_size=image_size, in_channels=in_channels, classes=classes)
    bound.check_limits(limit)
    points = family_points(bound, limit)
    if not points:
        raise SpaceError(
            f"no published family has a model with at most {limit} for images of {shown(image_size)} "
            f"in the space {bound.name!r}"
        )
    return points

"""Moving about in a space: the feasible point nearest to a wish, and the neighbours of a point."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from search_space.errors import SpaceError
from search_space.space.counting import sample, smallest
from search_space.space.options import Option, can_downsample, downsampled

if TYPE_CHECKING:
    from search_space.architecture import Architecture
    from search_space.space.space import Limits, SearchSpace

WALK = 8
"""Steps taken away from the smallest architecture when limits leave little else."""


def repair(space: SearchSpace, wish: Mapping[str, Any], rng: random.Random, limits: Limits) -> Architecture:
    """The feasible architecture nearest to a wish.

    A sampler that knows nothing of the rules proposes a choice on every axis. Settings that cannot exist beside the
    others give way to the most similar ones that can (the mixer is given up last); then, while a limit is exceeded, a
    random one of width and depths shrinks by one step. A proposal keeps its character, and no proposal is wasted.

    If even the smallest architecture of this character exceeds a limit, it is a random one near the smallest of all.

    Args:
        space: The space.
        wish: A choice for every axis of the space.
        rng: Source of the random choices among equals.
        limits: Limits on cost.

    Raises:
        SpaceError: If no architecture is within the limits.
    """
    params = dict(wish)
    while True:
        architecture = _settle(space, params, rng)
        if limits.allow(architecture.deployed.cost):
            return architecture
        smaller = _smaller(space, params)
        if not smaller:
            break
        name, value = rng.choice(smaller)
        params[name] = value
    # Even the smallest of this kind is too large: take a short walk from the smallest of all.
    architecture = smallest(space, limits)
    for _ in range(WALK):
        architecture = mutate(space, architecture, rng, limits)
    return architecture


def neighbours(space: SearchSpace, architecture: Architecture) -> Iterator[Architecture]:
    """All architectures one step away on one axis, without repeats."""
    seen = {architecture}
    params = space.encode(architecture)
    for name in params:
        for neighbour in _neighbours_on(space, architecture, params, name):
            if neighbour not in seen:
                seen.add(neighbour)
                yield neighbour


def mutate(space: SearchSpace, architecture: Architecture, rng: random.Random, limits: Limits) -> Architecture:
    """A random neighbour within the limits, all axes that have one alike; the architecture itself if it has none."""
    params = space.encode(architecture)
    for axis in rng.sample(sorted(params), len(params)):
        fit = [
            neighbour
            for neighbour in _neighbours_on(space, architecture, params, axis)
            if limits.allow(neighbour.deployed.cost)
        ]
        if fit:
            return rng.choice(fit)
    return architecture


def _neighbours_on(
    space: SearchSpace, architecture: Architecture, params: Mapping[str, Any], name: str
) -> Iterator[Architecture]:
    """The architectures one step away on the axis `name`; `params` describe the architecture."""
    axis, current = space.axis(name), params[name]
    values = axis.values
    if axis.step is not None:  # an ordered axis: one step up or down
        index = values.index(current)
        values = values[max(index - 1, 0) : index + 2]
    for value in values:
        if value != current:
            for neighbour in _with(space, architecture, params, name, value):
                if neighbour != architecture:
                    yield neighbour


def _with(
    space: SearchSpace, architecture: Architecture, params: Mapping[str, Any], name: str, value: Any
) -> Iterator[Architecture]:
    """The architectures nearest to `params` in which the axis `name` has this value; none if that cannot be."""
    changed = {**params, name: value}
    stage, _, setting = name.rpartition(".")
    if name == "stages" and value > params["stages"]:
        # A new last stage needs settings: one block of every other mixer, otherwise like the last stage.
        last, new = f"stage{params['stages']}.", f"stage{value}."
        copy = {new + key.removeprefix(last): choice for key, choice in params.items() if key.startswith(last)}
        for downsample in space.axis(new + "downsample").values:
            for mixer in space.axis(new + "mixer").values:
                grown = {**changed, **copy, new + "downsample": downsample, new + "mixer": mixer}
                yield from _settled_with(space, architecture, grown, new + "mixer", mixer)
    elif setting == "mixer" or (stage and setting == "channel_ratio"):
        yield from _settled_with(space, architecture, changed, name, value)
    else:
        try:
            yield space.decode(changed)
        except SpaceError:
            return


def _settled_with(
    space: SearchSpace, architecture: Architecture, params: Mapping[str, Any], name: str, value: Any
) -> Iterator[Architecture]:
    """Settle the one stage that `name` belongs to, in every nearest way that keeps this value.

    `params` describe `architecture` but for that stage, which may be a new last one.
    """
    prefix, _, setting = name.rpartition(".")
    prefix, number = prefix + ".", int(prefix.removeprefix("stage"))
    shapes = [shape for _, shape in architecture.shapes()]
    shape = shapes[min(number, len(shapes)) - 1]
    if number > len(shapes) and params[prefix + "downsample"] == "conv2":
        if not can_downsample(shape):
            return
        shape = downsampled(shape)
    options = space.options(space.context(params, shape))
    for option in options.nearest({key.removeprefix(prefix): choice for key, choice in params.items()}):
        if option.settings.get(setting) == value:
            try:
                yield space.decode({**params, **{prefix + key: choice for key, choice in option.settings.items()}})
            except SpaceError:  # it repeats the stage before
                continue


def _settle(space: SearchSpace, params: dict[str, Any], rng: random.Random) -> Architecture:
    """The valid architecture nearest to `params`, which are changed to describe it."""
    shape = space.first_shape(params)
    previous: Option | None = None
    chosen: dict[str, Any] = {}
    stages = 0
    for number in range(1, params["stages"] + 1):
        prefix = f"stage{number}."
        downsample = params[prefix + "downsample"] if number > 1 else "none"
        if downsample == "conv2" and can_downsample(shape):
            shape, previous = downsampled(shape), None
        elif number > 1:
            downsample = "none"
        wanted = {key[len(prefix) :]: value for key, value in params.items() if key.startswith(prefix)}
        options = space.options(space.context(params, shape))
        nearest = options.nearest(wanted, besides=previous.block if previous else None)
        if not nearest:  # the space has a single block here, and it stands in the stage before already
            break
        previous = rng.choice(nearest)
        chosen |= {prefix + key: value for key, value in previous.settings.items()}
        if number > 1:
            chosen[prefix + "downsample"] = downsample
        stages = number
    params |= chosen
    params["stages"] = stages
    if params["drop_path"] and stages == 1 and params["stage1.depth"] == 1 and 0.0 in space.axis("drop_path").values:
        params["drop_path"] = 0.0  # the first block is never dropped
    try:
        return space.decode(params)
    except SpaceError:  # a dead end, such as three stages of which none can differ: take any member instead
        architecture = sample(space, rng, type(space.limits)())
        params |= space.encode(architecture)
        return architecture


def _smaller(space: SearchSpace, params: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """All single steps that make the architecture smaller."""
    names = ["dim", *(f"stage{number}.depth" for number in range(1, params["stages"] + 1))]
    steps: list[tuple[str, Any]] = []
    for name in names:
        values = sorted(space.axis(name).values)  # type: ignore[type-var]
        index = values.index(params[name])
        if index > 0:
            steps.append((name, values[index - 1]))
    counts = [value for value in space.axis("stages").values if isinstance(value, int) and value < params["stages"]]
    if not steps and counts:
        steps.append(("stages", max(counts)))
    return steps

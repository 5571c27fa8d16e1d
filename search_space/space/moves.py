"""Moving around in a space: the feasible architecture nearest to a proposal, and the neighbours of an architecture."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

from search_space.architecture import Architecture
from search_space.errors import SpaceError
from search_space.space.axes import Limits
from search_space.space.codec import Codec
from search_space.space.counting import Counter
from search_space.space.extremes import Extremes
from search_space.space.options import Option, can_downsample, downsampled

WALK = 8
"""Steps to take from the smallest architecture when tight limits leave little else (arbitrary)."""


class Moves:
    """Steps from one architecture of a space to another."""

    def __init__(self, codec: Codec, counter: Counter, extremes: Extremes) -> None:
        self._codec, self._counter, self._extremes = codec, counter, extremes

    def repair(self, proposal: Mapping[str, Any], rng: random.Random, limits: Limits) -> Architecture:
        """The feasible architecture nearest to a proposal.

        A sampler that does not know the rules proposes a choice on every axis. Settings that are incompatible with the
        others are replaced by the most similar compatible ones; the mixer is replaced last. Then, while a limit is
        exceeded, the width or a depth, drawn at random, shrinks by one step. A proposal thus keeps its character, and
        none is wasted.

        If even the smallest architecture of this character exceeds a limit, the result is a random one near the
        smallest of all.

        Args:
            proposal: A choice for every axis of the space.
            rng: Source of randomness for ties.
            limits: Limits on cost.

        Raises:
            SpaceError: If no architecture is within the limits.
        """
        params = dict(proposal)
        while True:
            architecture = self._settle(params, rng)
            if limits.allow(architecture.deployed.cost):
                return architecture
            smaller = self._smaller(params)
            if not smaller:
                break
            name, value = rng.choice(smaller)
            params[name] = value
        # Even the smallest of this kind is too large: take a few steps from the smallest of all.
        architecture = self._extremes.smallest(limits)
        for _ in range(WALK):
            architecture = self.mutate(architecture, rng, limits)
        return architecture

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """All architectures one step away on one axis, without repeats."""
        seen = {architecture}
        params = self._codec.encode(architecture)
        for name in params:
            for neighbour in self._neighbours_on(architecture, params, name):
                if neighbour not in seen:
                    seen.add(neighbour)
                    yield neighbour

    def mutate(self, architecture: Architecture, rng: random.Random, limits: Limits) -> Architecture:
        """A random neighbour within the limits, all axes that have one equally likely; the architecture itself if none
        has.
        """
        params = self._codec.encode(architecture)
        for axis in rng.sample(sorted(params), len(params)):
            fit = [
                neighbour
                for neighbour in self._neighbours_on(architecture, params, axis)
                if limits.allow(neighbour.deployed.cost)
            ]
            if fit:
                return rng.choice(fit)
        return architecture

    def _neighbours_on(
        self, architecture: Architecture, params: Mapping[str, Any], name: str
    ) -> Iterator[Architecture]:
        """The architectures one step away on the axis `name`; `params` describe the architecture."""
        axis, current = self._codec.axis(name), params[name]
        values = axis.values
        if axis.step is not None:  # an ordered axis: one step up or down
            index = values.index(current)
            values = values[max(index - 1, 0) : index + 2]
        for value in values:
            if value != current:
                for neighbour in self._with(architecture, params, name, value):
                    if neighbour != architecture:
                        yield neighbour

    def _with(
        self, architecture: Architecture, params: Mapping[str, Any], name: str, value: Any
    ) -> Iterator[Architecture]:
        """The architectures nearest to `params` in which the axis `name` has this value; [] if that is impossible."""
        changed = {**params, name: value}
        stage, _, setting = name.rpartition(".")
        if name == "stages" and value > params["stages"]:
            # A new last stage needs settings: one block of every other mixer, otherwise like the last stage.
            last, new = f"stage{params['stages']}.", f"stage{value}."
            copy = {new + key.removeprefix(last): choice for key, choice in params.items() if key.startswith(last)}
            for downsample in self._codec.axis(new + "downsample").values:
                for mixer in self._codec.axis(new + "mixer").values:
                    grown = {**changed, **copy, new + "downsample": downsample, new + "mixer": mixer}
                    yield from self._settled_with(architecture, grown, new + "mixer", mixer)
        elif setting == "mixer" or (stage and setting == "channel_ratio"):
            yield from self._settled_with(architecture, changed, name, value)
        else:
            try:
                yield self._codec.decode(changed)
            except SpaceError:
                return

    def _settled_with(
        self, architecture: Architecture, params: Mapping[str, Any], name: str, value: Any
    ) -> Iterator[Architecture]:
        """Make the stage that `name` belongs to feasible, in every nearest way that keeps this value.

        `params` describe `architecture` except for that stage, which may be a new last one.
        """
        prefix, _, setting = name.rpartition(".")
        prefix, number = prefix + ".", int(prefix.removeprefix("stage"))
        shapes = [shape for _, shape in architecture.shapes()]
        shape = shapes[min(number, len(shapes)) - 1]
        if number > len(shapes) and params[prefix + "downsample"] == "conv2":
            if not can_downsample(shape):
                return
            shape = downsampled(shape)
        options = self._codec.options(self._codec.context(params, shape))
        for option in options.nearest({key.removeprefix(prefix): choice for key, choice in params.items()}):
            if option.settings.get(setting) == value:
                try:
                    yield self._codec.decode(
                        {**params, **{prefix + key: choice for key, choice in option.settings.items()}}
                    )
                except SpaceError:  # it repeats the previous stage
                    continue

    def _settle(self, params: dict[str, Any], rng: random.Random) -> Architecture:
        """The architecture nearest to `params` that obeys the rules, except for limits; changes `params` to describe
        it.
        """
        shape = self._codec.first_shape(params)
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
            options = self._codec.options(self._codec.context(params, shape))
            nearest = options.nearest(wanted, besides=previous.block if previous else None)
            if not nearest:  # the only block of this context is the previous one
                break
            previous = rng.choice(nearest)
            chosen |= {prefix + key: value for key, value in previous.settings.items()}
            if number > 1:
                chosen[prefix + "downsample"] = downsample
            stages = number
        params |= chosen
        params["stages"] = stages
        if (
            params["drop_path"]
            and stages == 1
            and params["stage1.depth"] == 1
            and 0.0 in self._codec.axis("drop_path").values
        ):
            params["drop_path"] = 0.0  # the first block is never dropped
        try:
            return self._codec.decode(params)
        except SpaceError:  # a dead end, such as three stages that cannot differ: take any architecture instead
            architecture = self._codec.decode(self._counter.draw(rng))
            params |= self._codec.encode(architecture)
            return architecture

    def _smaller(self, params: Mapping[str, Any]) -> list[tuple[str, Any]]:
        """All single steps that make the architecture smaller."""
        names = ["dim", *(f"stage{number}.depth" for number in range(1, params["stages"] + 1))]
        steps: list[tuple[str, Any]] = []
        for name in names:
            values = sorted(self._codec.axis(name).values)  # type: ignore[type-var]
            index = values.index(params[name])
            if index > 0:
                steps.append((name, values[index - 1]))
        counts = [
            value for value in self._codec.axis("stages").values if isinstance(value, int) and value < params["stages"]
        ]
        if not steps and counts:
            steps.append(("stages", max(counts)))
        return steps

"""The definition of a tabular benchmark: `definition.yaml` in its folder.

Every seed has one role. A search sees the validation curves of the search seeds; what it delivers is scored by the mean
test NLL over the truth seeds, which it never sees. While strategies are designed, the design seeds are used for
scoring.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from runners.data import describe_dataset, recipe_for
from runners.protocol import DataSpec
from runners.recipe import Recipe
from search_space.errors import DataError
from search_space.space import SearchSpace, load_space
from search_space.units import parse_count
from search_space.yaml_source import Source, read_yaml_file

BAND_WIDTH = 0.1
"""Largest relative distance of an architecture from its band's MACs. Arbitrary."""
ANY_SIZE = "any"
"""The name of the band of any size."""


@dataclass(frozen=True)
class Band:
    """A band: architectures of about equal size.

    Attributes:
        name: Its name.
        macs: MACs at its centre; None for any size.
        architectures: The number drawn.
        held_out: Whether it is not used while strategies are designed.
    """

    name: str
    macs: int | None
    architectures: int
    held_out: bool = False

    def holds(self, macs: int) -> bool:
        """Whether an architecture with this number of MACs belongs to it."""
        return self.macs is None or abs(macs - self.macs) <= BAND_WIDTH * self.macs


@dataclass(frozen=True)
class Definition:
    """The definition of a table.

    Attributes:
        space: Name of the search space.
        data: Name of the data set.
        recipe: Fields of the recipe that differ from the data set's own.
        search_seeds: Seeds whose validation curves a search may see.
        design_seeds: Seeds whose test figures score strategies while they are designed; held-out bands have none.
        truth_seeds: Seeds whose test figures are the truth.
        draw_seed: Seed of the draw of the architectures.
        bands: The bands, including that of any size.
    """

    space: str
    data: str
    recipe: Mapping[str, Any]
    search_seeds: tuple[int, ...]
    design_seeds: tuple[int, ...]
    truth_seeds: tuple[int, ...]
    draw_seed: int
    bands: tuple[Band, ...]

    def seeds(self, band: str) -> tuple[int, ...]:
        """All seeds with which the architectures of a band are trained."""
        kept_aside = any(each.held_out or each.macs is None for each in self.bands if each.name == band)
        return (*self.search_seeds, *(() if kept_aside else self.design_seeds), *self.truth_seeds)

    @property
    def full_recipe(self) -> Recipe:
        """The recipe of every training."""
        return recipe_for(self.data, **self.recipe)

    def load_space(self) -> SearchSpace:
        """The space, bound to the images."""
        info = describe_dataset(DataSpec(self.data))
        return load_space(self.space, image_size=info.image_size, in_channels=info.in_channels, classes=info.classes)


def read_definition(folder: Path) -> Definition:
    """Read the definition of a table.

    Raises:
        DataError: If the file cannot be read, or a value in it is not usable.
    """
    source = read_yaml_file(folder / "definition.yaml", DataError)
    names = ["space", "data", "recipe", "search_seeds", "design_seeds", "truth_seeds", "draw_seed", "any_size", "bands"]
    data = source.keys((), names, required=names)
    source.keys(("recipe",), Recipe.__dataclass_fields__)
    bands = [_band(source, index) for index in range(len(source.typed(("bands",), list, "a list of bands")))]
    if source.typed(("any_size",), int, "a number of architectures"):
        bands.append(Band(ANY_SIZE, None, data["any_size"]))
    roles = {name: _seeds(source, name) for name in ("search_seeds", "design_seeds", "truth_seeds")}
    for name in ("search_seeds", "truth_seeds"):
        if not roles[name]:
            raise source.fail((name,), "is empty; allowed: a list of seeds")
    for one, other in combinations(roles, 2):
        if both := set(roles[one]) & set(roles[other]):
            raise source.fail((other,), f"has the seed {min(both)}, as {one} has; every seed has one role")
    return Definition(
        source.typed(("space",), str, "the name of a space"),
        source.typed(("data",), str, "the name of a data set"),
        data["recipe"],
        roles["search_seeds"],
        roles["design_seeds"],
        roles["truth_seeds"],
        source.typed(("draw_seed",), int, "a whole number"),
        tuple(bands),
    )


def _seeds(source: Source, name: str) -> tuple[int, ...]:
    seeds = source.typed((name,), list, "a list of seeds")
    return tuple(source.typed((name, index), int, "a whole number") for index in range(len(seeds)))


def _band(source: Source, index: int) -> Band:
    path = ("bands", index)
    band = source.keys(path, ["name", "macs", "architectures", "held_out"], required=["name", "macs", "architectures"])
    return Band(
        source.typed((*path, "name"), str, "a name"),
        source.convert((*path, "macs"), parse_count),
        source.typed((*path, "architectures"), int, "a number of architectures"),
        "held_out" in band and source.typed((*path, "held_out"), bool, "true or false"),
    )

"""Recipes by name or from a YAML file, and the recipe that a study gets.

A recipe file has any settings of `runners.recipe.Recipe` as keys, and may have a `summary` and a `source`. What it does
not name comes from the data set's own recipe; what is given beside it takes precedence.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runners.data import describe_dataset, recipe_for, training_images
from runners.data.base import find_dataset
from runners.protocol import DataSpec
from runners.recipe import DEFAULTS, RULES, Recipe
from runners.teacher import find_teacher
from search_space.errors import ConfigError, allowed, brief
from search_space.paths import user_path
from search_space.yaml_source import Source, read_yaml_file

RECIPES = Path(__file__).parent / "recipes"
_WORDS = ("summary", "source")


@dataclass(frozen=True)
class RecipeFile:
    """A recipe that ships, or a file of a user.

    Attributes:
        name: Its name or path, as given.
        summary: One sentence that describes it, without a full stop; "" for none.
        source: Where its values come from; "" for unknown.
        settings: Its settings, checked one by one.
        places: File, line and key of every setting, for messages.
    """

    name: str
    summary: str = ""
    source: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)


def list_recipes() -> list[str]:
    """Names of the recipes that ship."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load_recipe(name_or_path: str) -> RecipeFile:
    """Load a recipe that ships by name, or any recipe by path.

    Raises:
        ConfigError: If there is no such recipe, or its file is invalid (names file, line and key).
    """
    path = RECIPES / f"{name_or_path}.yaml"
    if name_or_path not in list_recipes():
        path = user_path(name_or_path, "--recipe")
        if path.suffix not in (".yaml", ".yml") and not os.path.exists(path):  # noqa: PTH110 (never raises)
            choices = [*list_recipes(), "FILE.yaml"]
            raise ConfigError(f"there is no recipe {brief(name_or_path, 200)}; {allowed(name_or_path, choices)}")
    source = read_yaml_file(path, ConfigError)
    keys = source.keys((), [*_WORDS, *RULES])
    words = {key: source.typed((key,), str, "a sentence").strip() for key in _WORDS if key in keys}
    settings = {key: _value(source, key) for key in keys if key in RULES}
    return RecipeFile(name_or_path, settings=settings, places={key: source.where((key,)) for key in settings}, **words)


def _value(source: Source, key: str) -> Any:
    value, rule = source.at((key,)), RULES[key]
    if problem := rule.problem(value):
        raise source.fail((key,), f"is {brief(value)}; {problem}")
    return float(value) if rule.kind is float else value


def make_recipe(
    data: DataSpec,
    file: RecipeFile | None = None,
    given: Mapping[str, Any] | None = None,
    called: Callable[[str], str] = lambda name: name,
) -> Recipe:
    """The recipe of a study: the data set's own, with the settings of a file, with those given beside it.

    Args:
        data: The images.
        file: A recipe by name or file; None for none.
        given: Single settings, checked one by one.
        called: How a single setting is called in messages.

    Raises:
        ConfigError: If settings exclude one another, have no effect, or do not fit the images.
        DataError: If there is no such data set.
        WeightsError: If the teacher is unusable.
    """
    find_dataset(data)  # raises an error if there is none
    file, given = file or RecipeFile(""), given or {}
    chosen = {**file.settings, **given}
    base = recipe_for(data.name)

    def named(name: str) -> str:
        return file.places[name] if name in file.places and name not in given else called(name)

    _check_together({**vars(base), **chosen}, named)
    if "batch_size" in chosen:
        _check_batch(data, chosen["batch_size"], named("batch_size"))
    if "teacher" in chosen:
        chosen["teacher"] = find_teacher(chosen["teacher"], describe_dataset(data), named("teacher"))
    return recipe_for(data.name, **chosen)


def _check_together(settings: Mapping[str, Any], named: Callable[[str], str]) -> None:
    """Refuse settings that exclude one another, or have no effect."""
    if settings["rand_augment"] and settings["trivial_augment"]:
        both = f"{named('rand_augment')} and {named('trivial_augment')}"
        raise ConfigError(f"{both} exclude each other; allowed: one of them")
    for name in ("distillation", "teacher_weight", "temperature"):
        if settings["teacher"] is None and settings[name] != DEFAULTS[name]:
            raise ConfigError(
                f"{named(name)} is {brief(settings[name])}, but there is no teacher; allowed with --teacher"
            )
    if settings["distillation"] == "hard" and settings["temperature"] != DEFAULTS["temperature"]:
        raise ConfigError(
            f"{named('temperature')} is {settings['temperature']:g}, but {named('distillation')} is 'hard', and only "
            "soft distillation has a temperature"
        )


def _check_batch(data: DataSpec, batch_size: int, source: str) -> None:
    """Refuse a batch that the training images cannot fill, where their number is known without loading them."""
    images = training_images(data)
    if images is not None and batch_size > images:
        name = data.name.partition(":")[0]
        raise ConfigError(
            f"{source} is {batch_size:,}, but {name} has {images:,} training images; allowed: up to {images:,}"
        )

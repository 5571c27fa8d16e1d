"""The specification of a study: search space, images, training and settings, and whether two of them agree."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from nas.config import SearchConfig, flag
from nas.plugins import plugins_of
from nas.strategy.problem import Problem
from nas.strategy.samplers.registry import make_sampler
from nas.strategy.tuning import Tuning, range_around
from results.database.connection import shown
from runners.data import describe_dataset, fingerprint, validation_images
from runners.measuring.targets import DEVICE
from runners.protocol import DataSpec
from runners.recipe import DEFAULTS, RULES, Recipe
from runners.recipe_files import load_recipe, make_recipe
from search_space.architecture import Architecture
from search_space.errors import ConfigError
from search_space.paths import user_path
from search_space.plugins import Plugin
from search_space.space import Limits, SearchSpace, load_space
from search_space.zoo.scaled import family_points


@dataclass(frozen=True)
class StudySpec:
    """What a search looks for, and how it trains.

    Everything in `identity` must stay the same in all runs of a study; otherwise its trials could not be compared.

    Attributes:
        space: The search space, bound to the image size of the data set.
        limits: Limits on cost.
        data: The images.
        recipe: The training.
        config: All settings, including those that may change between runs.
        validation_images: Size of the validation split, if known.
    """

    space: SearchSpace
    limits: Limits
    data: DataSpec
    recipe: Recipe
    config: SearchConfig
    validation_images: int | None = None

    def identity(self) -> dict[str, Any]:
        """The part that must not change, as plain data that is stored with the study."""
        data = self.data.identity()
        data["name"] = self.data.name.encode(errors="backslashreplace").decode()  # a path need not be valid UTF-8
        data["fingerprint"] = self.fingerprint
        plugins = {plugin.name: plugin.version for plugin in self.plugins}
        target, ranges = self.config.latency_target, self.tuning.ranges
        return {
            **({"plugins": plugins} if plugins else {}),
            **({"latency_target": target} if target != DEVICE else {}),  # earlier versions knew no other
            "space": self.space.to_dict(),
            "data": data,
            "objective": list(self.config.objective),
            "max_params": self.limits.max_params,
            "max_macs": self.limits.max_macs,
            "max_latency_ms": self.config.max_latency_ms,
            "recipe": self.recipe.to_dict(),
            **({"tune": {name: [each.low, each.high] for name, each in ranges.items()}} if ranges else {}),
            "seed": self.config.seed,
        }

    def differences(self, recorded: Mapping[str, Any]) -> list[str]:
        """Compare with the `identity` that is stored with a study; returns a phrase for each key that differs.

        A folder of images that is identified by its content may have been moved.
        """
        before, now = ({"plugins": {}, "tune": {}, **one} for one in (recorded, self.identity()))
        for one in (before, now):
            if isinstance(one.get("recipe"), dict):  # else it is damaged, which is a difference
                one["recipe"] = {**DEFAULTS, **one["recipe"]}
        known = before.get("data", {}).get("fingerprint", "")
        if known != self.fingerprint:
            now["data"]["fingerprint"] = fingerprint(self.data, known)
        if known and known == now["data"]["fingerprint"]:
            before["data"], now["data"] = _without_place(before["data"]), _without_place(now["data"])
        return list(_differences(before, now))

    def families(self) -> dict[str, Architecture]:
        """The hand-designed families within the limits, by name."""
        return family_points(self.space, self.limits)

    @property
    def problem(self) -> Problem:
        """The part that a strategy may know."""
        config, parts = self.config, self.config.parts
        return Problem(
            space=self.space,
            limits=self.limits,
            objectives=config.objectives,
            epochs=self.recipe.epochs,
            strategy=parts,
            budget=config.budget,
            max_fte=config.max_fte,
            seed=config.seed,
            validation_images=self.validation_images,
            families=self.families() if parts.families else {},
            tuning=self.tuning,
        )

    @cached_property
    def tuning(self) -> Tuning:
        """The settings of the training that are searched along with the architecture."""
        names = self.config.tune
        if not names:
            return Tuning()
        middle = {name: getattr(self.recipe, name) for name in names}
        ranges = {name: range_around(name, value) for name, value in middle.items()}
        families = self.families().values() if self.config.parts.families else ()
        return Tuning(ranges, middle, self.config.seed, frozenset(family.hash for family in families))

    def recipe_of(self, choices: Mapping[str, Any]) -> Recipe:
        """The recipe of an evaluation, from the choices that are stored with it."""
        return replace(self.recipe, **{name: choices[name] for name in self.tuning.ranges if name in choices})

    @cached_property
    def plugins(self) -> tuple[Plugin, ...]:
        """The plug-ins that the study depends on."""
        config, parts = self.config, self.config.parts
        used = [("data set", self.data.name.partition(":")[0]), ("sampler", parts.sampler), ("pruner", parts.pruner)]
        used += [("proxy", name) for name in (parts.ranker, *parts.proxies)]
        used += [("objective", name) for name in config.objective]
        used += [("token mixer", name) for name in self.space.definition.mixers]
        used += [("latency target", config.latency_target)]
        return plugins_of(config.imports, used)

    @cached_property
    def fingerprint(self) -> str:
        """The identity of the images, in addition to their name."""
        return fingerprint(self.data)

    @cached_property
    def scoring_context(self) -> str:
        """16 hexadecimal digits that are equal wherever proxies give an architecture the same scores."""
        known = {
            "data": _without_place(self.identity()["data"]),
            "recipe": self.recipe.to_dict(),
            "seed": self.config.seed,
        }
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


def make_spec(config: SearchConfig) -> StudySpec:
    """Resolve a configuration: find the data set, bind the space to it, check the limits.

    Raises:
        NasError: If the data set, the space or a limit cannot be used.
    """
    _check_compute(config)
    data = _data(config)
    info = describe_dataset(data)
    space = load_space(config.space, image_size=info.image_size, in_channels=info.in_channels, classes=info.classes)
    limits = config.limits(space.limits)
    space.check_limits(limits)
    if ":" in config.parts.sampler:  # a problem with a user's class is reported before anything is written
        make_sampler(config.parts.sampler, space, {}, limits, seed=config.seed)
    given = {name: getattr(config, name) for name in RULES if getattr(config, name) is not None}
    recipe = make_recipe(data, None if config.recipe is None else load_recipe(config.recipe), given, flag)
    for name in config.tune:
        if not getattr(recipe, name):
            raise ConfigError(f"--tune names {name}, which is 0 in the recipe; allowed: settings above 0")
    return StudySpec(space, limits, data, recipe, config, validation_images(data))


def public_settings(config: SearchConfig) -> dict[str, Any]:
    """All settings as plain data, without the password of the database."""
    settings = asdict(config)
    settings["objective"] = list(config.objective)
    settings["parts"] = asdict(config.parts)
    if config.storage:
        settings["storage"] = shown(config.storage)
    return settings


def _check_compute(config: SearchConfig) -> None:
    """See whether the limit on compute lets a single trial be trained. Simulations may go below it.

    Raises:
        ConfigError: If not.
    """
    # Unless their number is set, there are fewer finalists where compute is short.
    reserved = (config.finalists or 0) * config.seeds
    if config.max_fte is not None and config.max_fte + 1e-9 < reserved + 1:
        finals = f" and {config.finalists} finalists with {config.seeds} seeds {reserved}" if reserved else ""
        least = f"allowed: numbers from {reserved + 1}, as one full training takes 1{finals}"
        raise ConfigError(f"--max-fte is {config.max_fte:g}; {least}")


def _data(config: SearchConfig) -> DataSpec:
    """The images, with absolute paths, because workers run in other folders."""
    name, colon, path = config.data.partition(":")
    name = f"{name}:{user_path(path, 'the folder of images').resolve()}" if colon and path else config.data
    directory = None if config.data_dir is None else str(user_path(config.data_dir, "--data-dir").resolve())
    return DataSpec(
        name, directory, image_size=config.image_size, image_cache=config.image_cache, channels=config.channels
    )


def _without_place(data: Mapping[str, Any]) -> dict[str, Any]:
    """Images without the path of their folder, if a fingerprint identifies them."""
    return {**data, "name": data["name"].partition(":")[0]} if data["fingerprint"] else dict(data)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key} was {_short(before)} and is now {_short(after)}"


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."

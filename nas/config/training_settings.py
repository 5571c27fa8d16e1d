"""How every architecture is trained, and how often. What a recipe has is described there, in `runners.recipe`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nas.config.setting import setting
from nas.config.values import MAX_SEED, Kind, name_list, number, path, unchanged, whole
from nas.strategy.tuning import WIDTHS
from runners.recipe import RULES
from search_space.errors import allowed

_KINDS = {int: "whole number", float: "number", bool: "switch", str: "name"}


def _of_recipe(name: str) -> Any:
    """A setting of the recipe."""
    rule = RULES[name]
    convert = number(rule.least, rule.most).convert if rule.kind is float else unchanged
    noun = "path" if rule.kind is str and not rule.choices else _KINDS[rule.kind]
    kind = Kind(noun, rule.problem, convert, word=rule.kind, choices=rule.choices)
    return setting(None, kind, rule.metavar, rule.summary, otherwise="by recipe", unit=rule.unit)


def _untunable(names: tuple[str, ...]) -> str | None:
    unknown = [name for name in names if name not in WIDTHS]
    return allowed(unknown[0], WIDTHS) if unknown else None


@dataclass(frozen=True)
class TrainingSettings:
    """How every architecture is trained, and how often."""

    recipe: str | None = setting(
        None, path(), "NAME|FILE", "Recipe, one that ships or a YAML file; flags win", otherwise="by data set"
    )
    epochs: int | None = _of_recipe("epochs")
    batch_size: int | None = _of_recipe("batch_size")
    lr: float | None = _of_recipe("lr")
    weight_decay: float | None = _of_recipe("weight_decay")
    warmup: float | None = _of_recipe("warmup")
    final_lr: float | None = _of_recipe("final_lr")
    label_smoothing: float | None = _of_recipe("label_smoothing")
    clip_norm: float | None = _of_recipe("clip_norm")
    precision: str | None = _of_recipe("precision")
    optimizer: str | None = _of_recipe("optimizer")
    schedule: str | None = _of_recipe("schedule")
    mixup: float | None = _of_recipe("mixup")
    cutmix: float | None = _of_recipe("cutmix")
    rand_augment: int | None = _of_recipe("rand_augment")
    trivial_augment: bool | None = _of_recipe("trivial_augment")
    erasing: float | None = _of_recipe("erasing")
    crop: float | None = _of_recipe("crop")
    repeats: int | None = _of_recipe("repeats")
    ema: float | None = _of_recipe("ema")
    patience: int | None = _of_recipe("patience")
    teacher: str | None = _of_recipe("teacher")
    distillation: str | None = _of_recipe("distillation")
    teacher_weight: float | None = _of_recipe("teacher_weight")
    temperature: float | None = _of_recipe("temperature")
    class_weights: str | None = _of_recipe("class_weights")
    tune: tuple[str, ...] = setting(
        (),
        name_list("settings", WIDTHS, _untunable),
        "NAMES",
        "Settings that are searched along with the architecture, separated by commas",
        otherwise="none",
    )
    seed: int = setting(0, whole(0, MAX_SEED), "K", "Seed of the search, and of the training of its trials")
    finalists: int | None = setting(
        None,
        whole(0, 1000),
        "K",
        "How many of the best trials are trained again at the end; 0 for none",
        otherwise="3, or fewer where --max-fte is small",
    )
    seeds: int = setting(2, whole(1, 1000), "S", "Number of fresh seeds with which every finalist is trained")

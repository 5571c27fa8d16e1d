"""What each ingredient of a recipe brings: every family of the zoo at equal size, with a base recipe and with each.

python -m benchmarks.recipes                                    both sizes of Fashion-MNIST, two seeds, all ingredients
python -m benchmarks.recipes --data fashion_mnist_14 --only base,ema --families vit,mixer
python -m benchmarks.recipes --part 1/2 & python -m benchmarks.recipes --part 2/2        on two cores

Every finished training is a line of `recipes.jsonl` in the folder of results; what is there is not trained again, so it
can be stopped at any time. The images are those of $NAS_DATA_DIR, else of ~/.cache/nas.

At the end, and with `--summarise`, `recipes.json` there compares the means over seeds on the validation split. `--test`
evaluates on the test split, too: for the comparison of recipes that have been chosen.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from benchmarks.common import RESULTS, evaluate, write
from runners.data import Dataset, DatasetInfo, Split, describe_dataset, recipe_for
from runners.data.base import find_dataset, register_dataset
from runners.protocol import DataSpec, Job
from runners.recipe import Recipe
from runners.recipe_files import list_recipes, load_recipe
from runners.training.train import train
from search_space import Architecture, Limits
from search_space.zoo.baselines import baselines

LINES = RESULTS / "recipes.jsonl"
SIZES = {"fashion_mnist_14": 50_000, "fashion_mnist_10k": 200_000, "digits": 50_000}
"""Limit on parameters by data set."""
KEY = ("data", "max_params", "family", "architecture", "ingredient", "recipe", "seed")
"""The part of a line that identifies a training."""
INGREDIENTS: dict[str, dict[str, Any]] = {
    "base": {},
    "linear": {"schedule": "linear"},
    "weight decay x 4": {"weight_decay": 0.2},
    "no label smoothing": {"label_smoothing": 0.0},
    "sgd": {"optimizer": "sgd", "lr": 0.1, "weight_decay": 5e-4},
    "lion": {"optimizer": "lion", "lr": 6e-4, "weight_decay": 0.25},
    "mixup 0.2": {"mixup": 0.2},
    "mixup 0.8": {"mixup": 0.8},
    "cutmix": {"cutmix": 1.0},
    "rand_augment 5": {"rand_augment": 5},
    "rand_augment 9": {"rand_augment": 9},
    "trivial_augment": {"trivial_augment": True},
    "erasing": {"erasing": 0.25},
    "crop 0.6": {"crop": 0.6},
    "ema": {"ema": 0.999},
    "repeats 3": {"repeats": 3},
}
"""What is changed of the base recipe, the data set's own."""


@register_dataset("fashion_mnist_14")
class Halved(Dataset):
    """`fashion_mnist_10k` at 14 x 14 pixels, each the mean of four."""

    whole = "fashion_mnist_10k"
    recipe = recipe_for(whole).to_dict()
    augmentation = replace(find_dataset(DataSpec(whole)).augmentation, shift=1)

    def describe(self, spec: DataSpec) -> DatasetInfo:
        return replace(describe_dataset(DataSpec(self.whole)), image_size=14)

    def load_development(self, spec: DataSpec) -> tuple[Split, Split]:
        train, validation = find_dataset(self._spec(spec)).load_development(self._spec(spec))
        return self._halved(train), self._halved(validation)

    def load_test(self, spec: DataSpec) -> Split:
        return self._halved(find_dataset(self._spec(spec)).load_test(self._spec(spec)))

    def _spec(self, spec: DataSpec) -> DataSpec:
        return replace(spec, name=self.whole)

    def _halved(self, split: Split) -> Split:
        pixels = functional.avg_pool2d(split.images.float(), 2).round().to(torch.uint8)
        return Split(pixels, split.labels)


@dataclass(frozen=True)
class Training:
    """One training to do."""

    data: str
    max_params: int
    family: str
    architecture: Architecture
    ingredient: str
    recipe: Recipe
    seed: int

    @property
    def key(self) -> dict[str, Any]:
        """What identifies it."""
        plain = {"architecture": self.architecture.hash, "recipe": self.recipe.to_dict()}
        return {name: plain.get(name, getattr(self, name)) for name in KEY}


def trainings(options: argparse.Namespace) -> Iterator[Training]:
    """All trainings that the options ask for, seed by seed."""
    changes = {**INGREDIENTS, **{f"recipe {name}": dict(load_recipe(name).settings) for name in list_recipes()}}
    wanted = options.only or list(INGREDIENTS)
    given = {} if options.epochs is None else {"epochs": options.epochs}
    for seed in range(options.seeds):
        for data in options.data:
            limit, info = options.max_params or SIZES[data], describe_dataset(DataSpec(data))
            models = baselines(
                Limits(max_params=limit), info.image_size, in_channels=info.in_channels, classes=info.classes
            )
            for name in wanted:
                for family in options.families or models:
                    recipe = recipe_for(data, **{**changes[name], **given})
                    yield Training(data, limit, family, models[family], name, recipe, seed)


def run(training: Training, test: bool) -> dict[str, Any]:
    """Train once; returns the line of results."""
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.safetensors"
        data = DataSpec(training.data)
        job = Job("recipes", training.architecture, data, training.recipe, training.seed, weights=weights)
        epochs, _ = evaluate(job, train)
        line = {
            **training.key,
            "params": training.architecture.params,
            "nll": epochs[-1].nll,
            "accuracy": epochs[-1].accuracy,
            "curve": [round(epoch.nll, 4) for epoch in epochs],
            "seconds": round(sum(epoch.seconds for epoch in epochs), 1),
        }
        if test:
            (tested,), _ = evaluate(replace(job, task="test"), train)
            line |= {"test_nll": tested.nll, "test_accuracy": tested.accuracy}
    return line


def finished() -> list[dict[str, Any]]:
    """All lines of results; one that was cut off by a crash is left out."""
    lines = []
    for text in LINES.read_text(encoding="utf-8").splitlines() if LINES.exists() else ():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines


def summarise() -> None:
    """Write `recipes.json`: validation NLL of the base, and the ratio of every ingredient, by family."""
    groups: dict[tuple[str, int, int], dict[str, dict[str, list[float]]]] = {}
    for line in finished():
        group = groups.setdefault((line["data"], line["max_params"], line["recipe"]["epochs"]), {})
        group.setdefault(line["ingredient"], {}).setdefault(line["family"], []).append(line["nll"])
    tables = []
    for (data, max_params, epochs), group in groups.items():
        base = {family: statistics.fmean(nlls) for family, nlls in group.get("base", {}).items()}
        rows = []
        for name, families in group.items():
            ratios = {
                family: round(statistics.fmean(nlls) / base[family], 4)
                for family, nlls in families.items()
                if family in base
            }
            if ratios:
                seeds = min(len(nlls) for nlls in families.values())
                rows.append(
                    {"ingredient": name, "seeds": seeds, "ratios": ratios, "median": statistics.median(ratios.values())}
                )
        known = {"data": data, "max_params": max_params, "epochs": epochs}
        tables.append({**known, "base": {family: round(nll, 4) for family, nll in base.items()}, "rows": rows})
    write("recipes", {"tables": tables})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = {"type": lambda text: text.split(","), "metavar": "NAMES"}
    parser.add_argument("--data", default=["fashion_mnist_14", "fashion_mnist_10k"], **names)
    parser.add_argument("--only", help="ingredients, or 'recipe NAME' for one that ships", **names)
    parser.add_argument("--families", **names)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--max-params", type=int)
    parser.add_argument("--part", default="1/1", help="such as 1/2: every second training, from the first")
    parser.add_argument("--test", action="store_true")
    parser.add_argument("--summarise", action="store_true", help="train nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    part, parts = map(int, options.part.split("/"))
    known = {json.dumps({name: line[name] for name in KEY}) for line in finished()}
    todo = [] if options.summarise else list(trainings(options))[part - 1 :: parts]
    for training in todo:
        if json.dumps(training.key) in known:
            continue
        line = run(training, options.test)
        with LINES.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{training.data} {training.ingredient} {training.family} {training.seed}: {line['nll']:.4f}", flush=True)
    summarise()


if __name__ == "__main__":
    main()

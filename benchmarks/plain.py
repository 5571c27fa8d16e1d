"""The training loop as a careful user writes it, and how much CPU time it takes over ours.

    python -m benchmarks.plain [--data digits] [--params 34000] [--epochs 3] [--pairs 5] [--threads 1] [--json]

`plain_epochs` trains what `runners.training.train` trains (architecture, initial weights, images, recipe) with what the
documentation of torch teaches: a `Dataset`, a `DataLoader` without workers, augmentation of a batch at a time, AdamW
with its defaults, a learning rate for each step, eager float32, validation after every epoch. Only the random numbers
differ, so the final losses agree over seeds.

The two loops train in turn, every pair with another seed, and which comes first alternates. A ratio is the CPU time of
the plain loop over ours; above 1, ours is faster. The first pair of an architecture warms up and does not count.

One core of an AMD EPYC (Zen 3, without AVX512), torch 2.13, digits, 4 epochs, n = 5, beside other load: 1.21 in the
median over the families; ResMLP 1.31, RepMLP 1.25, FF-only 1.23, gMLP 1.21, Mixer 1.20, ViP and ViT 1.19. After 4
epochs ours is behind by more than a standard error in four families (ViP +0.089 +- 0.038, gMLP +0.063 +- 0.036, ViT
+0.052 +- 0.040, ResMLP +0.040 +- 0.037), all with the same five seeds, and equal in the others; over 14 seeds, these
five among them, ViP and gMLP are equal (+0.017 +- 0.025 and +0.003 +- 0.027; ratios 1.25 and 1.27). ViT and ResMLP were
not repeated.

Fashion-MNIST 10k, 100,000 parameters, 1 epoch, n = 3: ViP 1.25, FF-only 1.14. Both loops share the forward and backward
passes, which are 79 % of our time (Mixer on digits); validation is 9 %, the optimizer 6 %.
`torch.compile` makes these passes 1.21 times as fast (n = 7) for 44 s of CPU time per architecture, which 57 trainings
of 20 epochs would pay back, so it is not used. Traced once and run as a graph of ATen calls, they are 1.05 to 1.1 times
as fast for 0.5 to 1.6 s of tracing.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from benchmarks.common import evaluate, machine, summary
from runners.data import Split, Splits, load_splits, recipe_for
from runners.protocol import DataSpec, Job
from runners.recipe import Recipe
from runners.training.augmentation import augment
from runners.training.optimisation import learning_rate
from runners.training.train import train
from search_space import Architecture, Limits, build, load_space
from search_space.zoo.scaled import family_points

Epoch = tuple[int, float, float]
"""Number of the epoch, validation NLL in nats, validation accuracy."""


class Images(Dataset[tuple[Tensor, Tensor]]):
    """The images of a split, one by one."""

    def __init__(self, split: Split) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.split.images[index], self.split.labels[index]


def plain_training(
    architecture: Architecture, data: DataSpec, recipe: Recipe, seed: int, device: str = "cpu"
) -> list[Epoch]:
    """Train and validate for all epochs of the recipe; returns one entry an epoch."""
    return list(plain_epochs(architecture, data, recipe, seed, device))


def plain_epochs(
    architecture: Architecture, data: DataSpec, recipe: Recipe, seed: int, device: str = "cpu"
) -> Iterator[Epoch]:
    """Train, and yield after the validation of every epoch."""
    splits = _splits(data)
    draws, order = torch.Generator(device).manual_seed(seed), torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # stochastic depth draws from the global generator
    model = build(architecture, generator=torch.Generator().manual_seed(seed), device=device)
    batch_size = min(recipe.batch_size, len(splits.train))
    training = DataLoader(Images(splits.train), batch_size, shuffle=True, drop_last=True, generator=order)
    validation = DataLoader(Images(splits.validation), 512)
    steps = recipe.epochs * len(training)
    optimizer = _optimizer(model, recipe)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate(replace(recipe, lr=1.0), step, steps)
    )
    mean, std = (torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (splits.mean, splits.std))
    for epoch in range(1, recipe.epochs + 1):
        model.train()
        for images, labels in training:
            images, labels = images.to(device), labels.to(device)
            images = (augment(images, splits.augmentation, draws).float() / 255 - mean) / std
            loss = functional.cross_entropy(model(images), labels, label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
            optimizer.step()
            schedule.step()
        model.eval()
        nll = correct = 0.0
        with torch.no_grad():
            for images, labels in validation:
                images, labels = images.to(device), labels.to(device)
                scores = model((images.float() / 255 - mean) / std)
                nll += functional.cross_entropy(scores, labels, reduction="sum").item()
                correct += (scores.argmax(dim=1) == labels).sum().item()
        yield epoch, nll / len(splits.validation), correct / len(splits.validation)


def _optimizer(model: torch.nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW with torch's default implementation, decaying what our loop decays."""
    decayed, rest = [], []
    for name, parameter in model.named_parameters():
        (rest if parameter.ndim < 2 or name in ("class_token", "position") else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.lr)


@lru_cache(maxsize=2)
def _splits(data: DataSpec) -> Splits:
    """The images, read once, as by a worker that is reused."""
    return load_splits(data)


def ours(architecture: Architecture, data: DataSpec, recipe: Recipe, seed: int) -> list[Epoch]:
    """The same training by our loop."""
    epochs, _ = evaluate(Job("ours", architecture, data, recipe, seed, device="cpu"), train)
    return [(epoch.epoch, epoch.nll, epoch.accuracy) for epoch in epochs]


def compare(architecture: Architecture, data: DataSpec, recipe: Recipe, pairs: int) -> dict[str, Any]:
    """Ratios of CPU times of interleaved pairs, and the final NLL of both loops."""
    loops: dict[str, Callable[..., list[Epoch]]] = {"plain": plain_training, "ours": ours}
    times: dict[str, list[float]] = {name: [] for name in loops}
    losses: dict[str, list[float]] = {name: [] for name in loops}
    for pair in range(pairs + 1):
        for name in sorted(loops, reverse=bool(pair % 2)):
            taken, curve = cpu_seconds(partial(loops[name], architecture, data, recipe, seed=pair))
            if pair > 0:
                times[name].append(taken)
                losses[name].append(curve[-1][1])
    ratios = [plain / own for plain, own in zip(times["plain"], times["ours"], strict=True)]
    differences = [own - plain for plain, own in zip(losses["plain"], losses["ours"], strict=True)]
    return {
        "ratio": summary(ratios, 3),
        "plain_cpu_s": summary(times["plain"], 3),
        "ours_cpu_s": summary(times["ours"], 3),
        "final_nll": {name: round(statistics.fmean(values), 4) for name, values in losses.items()},
        "nll_difference": round(statistics.fmean(differences), 4),
        "nll_standard_error": round(standard_error(differences), 4),
    }


def standard_error(values: list[float]) -> float:
    """Standard error of a mean; infinite for a single value."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf


def cpu_seconds(act: Callable[[], list[Epoch]]) -> tuple[float, list[Epoch]]:
    """CPU time of this process in a call, and what the call returns."""
    started = time.process_time()
    returned = act()
    return time.process_time() - started, returned


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--params", type=int, default=34_000, help="the limit that the families are scaled to")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--families", nargs="*", help="all by default")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    data = DataSpec(given.data)
    info = _splits(data).info
    space = load_space("mlp_family", image_size=info.image_size, in_channels=info.in_channels, classes=info.classes)
    points = family_points(space, Limits(max_params=given.params))
    recipe = recipe_for(data.name, epochs=given.epochs)
    families: dict[str, Any] = {}
    for name in given.families or points:
        families[name] = found = compare(points[name], data, recipe, given.pairs)
        if not given.json:
            ratio, loss = found["ratio"], found["final_nll"]
            print(
                f"{name:10} {ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f}, n = {ratio['n']}), "
                f"NLL {loss['plain']:.4f} plain, {loss['ours']:.4f} ours, "
                f"difference {found['nll_difference']:+.4f} +- {found['nll_standard_error']:.4f}"
            )
    medians = [found["ratio"]["median"] for found in families.values()]
    figures = {
        "machine": machine(),
        "data": data.name,
        "params": given.params,
        "epochs": given.epochs,
        "threads": given.threads,
        "plain_over_ours_cpu_time": summary(medians, 3),
        "families": families,
    }
    print(json.dumps(figures, indent=2) if given.json else f"median {statistics.median(medians):.2f} over the families")


if __name__ == "__main__":
    main()

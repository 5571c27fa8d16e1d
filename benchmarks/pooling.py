"""Global average pooling or a class token: the same ViT with each, over several learning rates, on digits.

python -m benchmarks.pooling

The two differ only in the class token and its position. Every figure is measured on the validation split after a full
training.
"""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import Any

import torch

from benchmarks.common import evaluate, write
from runners.data import recipe_for
from runners.protocol import DataSpec, Job
from runners.training.train import train
from search_space import Architecture, Limits, load_space
from search_space.zoo.scaled import family_points

LEARNING_RATES = (1e-3, 2e-3, 4e-3, 8e-3, 16e-3)
SEEDS = 5


def train_once(architecture: Architecture, lr: float, seed: int) -> tuple[float, float]:
    """Validation NLL and accuracy after the last epoch."""
    job = Job("pooling", architecture, DataSpec("digits"), recipe_for("digits", lr=lr), seed=seed)
    epochs, _ = evaluate(job, train)
    return epochs[-1].nll, epochs[-1].accuracy


def main() -> None:
    torch.set_num_threads(1)
    space = load_space("mlp_family", image_size=8, in_channels=1, classes=10)
    token = family_points(space, Limits(max_params=50_000))["vit"]
    models = {"class token": token, "gap": replace(token, class_token=False, pooling="gap")}
    figures: dict[str, Any] = {"epochs": recipe_for("digits").epochs, "seeds": SEEDS, "runs": []}
    for name, architecture in models.items():
        for lr in LEARNING_RATES:
            results = [train_once(architecture, lr, seed) for seed in range(SEEDS)]
            nlls, accuracies = zip(*results, strict=True)
            figures["runs"].append(
                {
                    "pooling": name,
                    "lr": lr,
                    "params": architecture.params,
                    "macs": architecture.macs,
                    "nll": {"mean": round(statistics.fmean(nlls), 4), "sd": round(statistics.stdev(nlls), 4)},
                    "accuracy": {
                        "mean": round(statistics.fmean(accuracies), 4),
                        "sd": round(statistics.stdev(accuracies), 4),
                    },
                }
            )
    write("pooling", figures)


if __name__ == "__main__":
    main()

"""How every architecture is trained, and how often."""

from __future__ import annotations

from dataclasses import dataclass

from nas.config.setting import setting
from nas.config.values import MAX_SEED, number, whole


@dataclass(frozen=True)
class TrainingSettings:
    """How every architecture is trained, and how often."""

    epochs: int | None = setting(
        None, whole(1, 100_000), "E", "Epochs of a full training", otherwise="by data set", unit="epochs"
    )
    batch_size: int | None = setting(
        None, whole(1, 1_000_000), "B", "Images in a training step", otherwise="by data set", unit="images"
    )
    lr: float | None = setting(None, number(0, 1e9), "LR", "Peak learning rate", otherwise="by data set")
    seed: int = setting(0, whole(0, MAX_SEED), "K", "Seed of the search, and of the training of its trials")
    finalists: int | None = setting(
        None,
        whole(0, 1000),
        "K",
        "How many of the best trials are trained again at the end; 0 for none",
        otherwise="3, or fewer where --max-fte is small",
    )
    seeds: int = setting(2, whole(1, 1000), "S", "Number of fresh seeds with which every finalist is trained")

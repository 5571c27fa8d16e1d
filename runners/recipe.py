"""How a model is trained: every number of the training loop in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Recipe:
    """Settings of the training loop.

    Attributes:
        epochs: Passes over the training split.
        batch_size: Images a step.
        lr: Peak learning rate of AdamW.
        weight_decay: Decoupled weight decay; biases, norms, positions and tokens have none.
        warmup: Share of all steps over which the learning rate grows linearly.
        final_lr: Learning rate at the end of the cosine, as a share of the peak.
        label_smoothing: Mass taken from the true class.
        clip_norm: Largest norm of the gradient.
        precision: "bf16" for autocast to bfloat16, "fp32", or "auto": bf16 where the hardware is faster with it.
    """

    epochs: int
    batch_size: int = 64
    lr: float = 3e-3
    weight_decay: float = 0.05
    warmup: float = 0.1
    final_lr: float = 0.01
    label_smoothing: float = 0.1
    clip_norm: float = 1.0
    precision: Literal["auto", "bf16", "fp32"] = "auto"


_RECIPES: dict[str, dict[str, Any]] = {
    # Tuned on validation NLL over ViT, Mixer, ResMLP, gMLP and ViP of about 34,000 parameters, two seeds and splits.
    "digits": {"epochs": 20, "lr": 8e-3, "weight_decay": 0.2, "warmup": 0.2},
    # The others are customary values, not tuned.
    "fashion_mnist": {"epochs": 16, "batch_size": 128},
    "fashion_mnist_10k": {"epochs": 16},
    "mnist": {"epochs": 12, "batch_size": 128},
    "cifar10": {"epochs": 60, "batch_size": 128, "lr": 2e-3},
    "cifar100": {"epochs": 60, "batch_size": 128, "lr": 2e-3},
    "svhn": {"epochs": 24, "batch_size": 128, "lr": 2e-3},
    "imagefolder": {"epochs": 60, "lr": 1e-3},
}
_OTHER_EPOCHS = 30
"""For a data set that a plug-in has registered."""


def recipe_for(dataset: str, **overrides: Any) -> Recipe:
    """How a data set is trained on unless a study says otherwise.

    Args:
        dataset: Its name; of ``imagefolder:PATH`` the part before the colon counts.
        overrides: Fields of Recipe that take precedence.
    """
    name = dataset.partition(":")[0]
    return Recipe(**{"epochs": _OTHER_EPOCHS, **_RECIPES.get(name, {}), **overrides})

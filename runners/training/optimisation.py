"""AdamW, its parameter groups and its learning rate over time."""

from __future__ import annotations

import math

import torch
from torch import nn

from runners.recipe import Recipe

NO_DECAY = ("class_token", "position")
"""Parameters with two or more axes that, like biases and norms, are not weights of a linear map."""


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW (https://arxiv.org/abs/1711.05101) that decays only the weights of linear maps."""
    decayed: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (rest if parameter.ndim < 2 or name in NO_DECAY else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=recipe.lr, fused=True)


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Linear warm-up to `lr`, then half a cosine down to `final_lr * lr`, reached at the last step.

    Args:
        recipe: Peak, warm-up and end.
        step: 0 for the first.
        steps: Steps of the whole training.
    """
    warmup = round(recipe.warmup * steps)
    if step < warmup:
        return recipe.lr * (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, steps - 1 - warmup)
    cosine = (1 + math.cos(math.pi * progress)) / 2
    return recipe.lr * (recipe.final_lr + (1 - recipe.final_lr) * cosine)

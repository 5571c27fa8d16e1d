"""Optimisers, their parameter groups and the learning rate over time."""

from __future__ import annotations

import math

import torch
from torch import nn

from runners.recipe import Recipe
from runners.training.lion import Lion

NO_DECAY = ("class_token", "position")
"""Parameters with two or more axes that, like biases and norms, are not weights of a linear map."""
MOMENTUM = 0.9
"""Momentum of SGD, as in nearly every published recipe."""


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimiser of a recipe; only the weights of linear maps are decayed.

    AdamW (https://arxiv.org/abs/1711.05101) and Lion (https://arxiv.org/abs/2302.06675) decay weights directly, SGD
    with Nesterov momentum adds the decay to the gradient, as in torch.
    """
    decayed: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (rest if parameter.ndim < 2 or name in NO_DECAY else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "lion":
        return Lion(groups, lr=recipe.lr)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=MOMENTUM, nesterov=True, fused=True)
    return torch.optim.AdamW(groups, lr=recipe.lr, fused=True)


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Linear warm-up to `lr`, then the schedule down to `final_lr * lr`, reached at the last step.

    The schedule is half a cosine, a straight line, or constant (at `lr`).

    Args:
        recipe: Schedule, peak, warm-up and end.
        step: 0 for the first.
        steps: Steps of the whole training.
    """
    warmup = round(recipe.warmup * steps)
    if step < warmup:
        return recipe.lr * (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, steps - 1 - warmup)
    if recipe.schedule == "constant":
        return recipe.lr
    share = 1 - progress if recipe.schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2
    return recipe.lr * (recipe.final_lr + (1 - recipe.final_lr) * share)

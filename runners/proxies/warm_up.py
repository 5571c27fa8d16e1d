"""The first steps of a training: enough to activate layers that start as the identity, such as the gates of gMLP."""

from __future__ import annotations

from itertools import chain, islice, repeat

import torch
from torch import nn
from torch.nn import functional

from runners.proxies.images import Images
from runners.recipe import Recipe
from runners.training.batches import steps_per_epoch, training_batches
from runners.training.optimisation import learning_rate, make_optimizer
from runners.training.variation import Variation
from search_space.models.model import set_generator

STEPS = 20


def warm_up(model: nn.Module, images: Images, recipe: Recipe, seed: int) -> None:
    """Train a model in place for the first `STEPS` steps of the recipe; always in float32.

    Args:
        model: The model.
        images: Its training split.
        recipe: Batch size, augmentation, optimiser, and learning rate schedule.
        seed: Seed of order, augmentation and stochastic depth.
    """
    splits = images.splits
    batch_size = min(recipe.batch_size, len(splits.train))
    steps = recipe.epochs * steps_per_epoch(splits.train, batch_size)
    draws = torch.Generator(images.device).manual_seed(seed)
    set_generator(model, draws)
    optimizer, parameters = make_optimizer(model.train(), recipe), list(model.parameters())
    variation = Variation(splits.augmentation, recipe, splits.info.classes)
    epochs = (training_batches(splits.train, batch_size, images.normalise, variation, draws) for _ in repeat(None))
    for step, (batch, labels) in enumerate(islice(chain.from_iterable(epochs), STEPS)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, min(step, steps - 1), steps)
        loss = functional.cross_entropy(model(batch), labels, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        if recipe.clip_norm:
            torch.nn.utils.clip_grad_norm_(parameters, recipe.clip_norm)
        optimizer.step()
    optimizer.zero_grad()

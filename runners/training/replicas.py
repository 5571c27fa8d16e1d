"""A model on several devices, for trials that reserve more than one GPU: each computes a part of every gradient.

The first device holds the main model and takes the optimizer's steps; before each step, the others receive its weights.
So a step equals that of one device up to rounding, with the two exceptions of `runners.training.memory`: batch norm
normalises by the images of its device, and its running statistics are those of the first device.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch

from search_space.models.model import VisionModel, set_generator


class Replicas:
    """Copies of a model that share the work.

    Args:
        model: The main model, on the first device.
        devices: One or more devices; with a single one there are no copies.

    Attributes:
        models: The main model and its copies, in the order of the devices.
        draws: The generators that they draw from.
    """

    def __init__(self, model: VisionModel, devices: Sequence[torch.device]) -> None:
        self.devices = tuple(devices)
        self.models = (model, *(copy.deepcopy(model).to(device) for device in self.devices[1:]))
        self.draws = [torch.Generator(device) for device in self.devices]
        for each, draws in zip(self.models, self.draws, strict=True):
            set_generator(each, draws)

    def seed(self, seeds: Sequence[int]) -> None:
        """Seed stochastic depth, with a different seed on each device."""
        for draws, seed in zip(self.draws, seeds, strict=True):
            draws.manual_seed(seed)

    @torch.no_grad()
    def spread(self) -> None:
        """Copy the weights and statistics of the main model to the copies, and clear their gradients."""
        proper = list(self.models[0].state_dict().values())
        for replica in self.models[1:]:
            replica.train(self.models[0].training)
            replica.zero_grad()
            for there, here in zip(replica.state_dict().values(), proper, strict=True):
                there.copy_(here, non_blocking=True)

    @torch.no_grad()
    def gather(self) -> None:
        """Add the gradients of the copies to those of the main model."""
        for replica in self.models[1:]:
            for here, there in zip(self.models[0].parameters(), replica.parameters(), strict=True):
                if there.grad is None:
                    continue
                moved = there.grad.to(here.device, non_blocking=True)
                here.grad = moved.clone() if here.grad is None else here.grad.add_(moved)

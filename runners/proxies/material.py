"""The inputs of proxies: a model at initialisation, training images, gradients, and a model after a few steps.

Every part is computed on first use, once, and from the seed alone. Proxies do not modify any of it.

B images, C channels, H and W pixels.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional

from runners.proxies.images import Images
from runners.proxies.warm_up import warm_up
from runners.recipe import Recipe
from runners.training.optimisation import NO_DECAY
from search_space.architecture import Architecture
from search_space.models.building import build
from search_space.models.layers.common import DropPath
from search_space.models.model import VisionModel

Tensors = dict[str, Tensor]
"""Tensors by the name of their parameter."""


class Material:
    """Everything that a proxy may use.

    Args:
        architecture: The architecture to score; RepMLP in its training form.
        images: Training images, as batches to measure on and as a split to train on.
        recipe: How it would be trained.
        seed: Seed of its weights.
    """

    def __init__(self, architecture: Architecture, images: Images, recipe: Recipe, seed: int) -> None:
        self.architecture, self.recipe, self.seed = architecture, recipe, seed
        self._images = images

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """The weights of the linear maps of `model`; see `weights`."""
        return weights(self.model)

    @property
    def mean_gradients(self) -> Tensors:
        """`gradients`, averaged over the batches."""
        return mean(self.gradients)

    @property
    def images(self) -> Tensor:
        """(B, C, H, W) float32: normalised, not augmented."""
        return self._images.whole[0]

    @cached_property
    def model(self) -> VisionModel:
        """The model as it would start a training."""
        return settled(self._build())

    @cached_property
    def gradients(self) -> tuple[Tensors, ...]:
        """Gradients of the mean cross-entropy with respect to the weights, one dictionary per batch of images."""
        return tuple(loss_gradients(self.model, images, labels) for images, labels in self._images.batches)

    @cached_property
    def trained(self) -> VisionModel:
        """The model after the first steps of a training; see `warm_up`."""
        model = self._build()
        warm_up(model, self._images, self.recipe, self.seed)
        return settled(model)

    def _build(self) -> VisionModel:
        generator = torch.Generator().manual_seed(self.seed)
        return build(self.architecture, generator=generator, device=self._images.device)


def settled(model: VisionModel) -> VisionModel:
    """The model itself, prepared for measuring: as in training, but deterministic and unchanged by a forward pass.

    BatchNorm uses the statistics of the batch, since its running statistics mean nothing yet, and stores none.
    Stochastic depth drops nothing.
    """
    model.train()
    for module in model.modules():
        if isinstance(module, DropPath):
            module.eval()
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.track_running_stats = False
    return model


def weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of linear maps, without biases, norms, layer scales, positions and class token."""
    return {name: value for name, value in model.named_parameters() if value.ndim >= 2 and name not in NO_DECAY}


def loss_gradients(model: nn.Module, images: Tensor, labels: Tensor) -> Tensors:
    """Gradients of the mean cross-entropy with respect to the weights; the model keeps none of them."""
    own = weights(model)
    loss = functional.cross_entropy(model(images), labels)
    return dict(zip(own, torch.autograd.grad(loss, list(own.values()), materialize_grads=True), strict=True))


def mean(gradients: tuple[Tensors, ...]) -> Tensors:
    """The mean of the gradients over the batches."""
    return {name: torch.stack([one[name] for one in gradients]).mean(dim=0) for name in gradients[0]}

"""`synflow`: how much flows through all paths of a network, independent of data (https://arxiv.org/abs/2006.05467).

With every parameter replaced by its absolute value, R is the sum of the outputs for an image of ones, and the score is
sum |weight * dR / dweight|. For a chain of linear maps that is the number of maps times their product.

Norms would undo the flow to be measured, so they are removed; so are rectifiers, which pass positive values unchanged.
Without norms the flow grows so fast that it is computed in float64; the score is its logarithm, which keeps the
ranking.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

from runners.proxies.base import register_proxy

if TYPE_CHECKING:
    from torch import Tensor, nn

    from runners.proxies.material import Material


@register_proxy("synflow", "model")
def synflow(material: Material) -> float:
    """Logarithm of the flow through a copy of the model."""
    return log_flow(copy.deepcopy(material.model), material.images[:1])


def log_flow(model: nn.Module, image: Tensor) -> float:
    """Logarithm of the synaptic flow of a model, which is modified in place.

    Args:
        model: The model.
        image: (1, ...); only its shape is used.

    Returns:
        The logarithm; not finite if the flow is 0 or too large for a float64.
    """
    import torch

    from runners.proxies.activations import RECTIFIERS, Activations
    from runners.proxies.material import weights

    model = _without_norms(model).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()
    own = list(weights(model).values())
    with Activations(RECTIFIERS, lambda x, rectifier: x):
        flow = model(torch.ones_like(image, dtype=torch.float64)).sum()
    gradients = torch.autograd.grad(flow, own, materialize_grads=True)
    with torch.no_grad():
        total = float(sum((weight * gradient).abs().sum() for weight, gradient in zip(own, gradients, strict=True)))
    return math.log(total) if total > 0 else float("nan")


def _without_norms(model: nn.Module) -> nn.Module:
    from torch import nn

    from search_space.models.layers.common import Affine

    norms = (nn.LayerNorm, nn.modules.batchnorm._BatchNorm, Affine)
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, norms):
                setattr(parent, name, nn.Identity())
    return model

"""`l2`: the norm of the weights, layer by layer (https://arxiv.org/abs/2101.08134, where it is ``l2_norm``)."""

from __future__ import annotations

import torch

from runners.measuring.proxies.base import register_proxy
from runners.measuring.proxies.material import Material, weights


@register_proxy("l2", "model")
@torch.no_grad()
def l2(material: Material) -> float:
    """Sum over the layers of the L2 norm of their weights."""
    return float(sum(weight.norm() for weight in weights(material.model).values()))

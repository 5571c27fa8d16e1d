"""`l2`: the norm of the weights, layer by layer (https://arxiv.org/abs/2101.08134, where it is ``l2_norm``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runners.proxies.base import register_proxy

if TYPE_CHECKING:
    from runners.proxies.material import Material


@register_proxy("l2", "model")
def l2(material: Material) -> float:
    """Sum over the layers of the L2 norm of their weights."""
    return float(sum(weight.detach().norm() for weight in material.weights.values()))

"""`grad_norm`: the norm of the gradients, layer by layer (https://arxiv.org/abs/2101.08134, section 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runners.proxies.base import register_proxy

if TYPE_CHECKING:
    from runners.proxies.material import Material, Tensors


@register_proxy("grad_norm", "model", "gradients")
def grad_norm(material: Material) -> float:
    """Sum over the layers of the L2 norm of the gradient of their weights."""
    return sum_of_norms(material.mean_gradients)


def sum_of_norms(tensors: Tensors) -> float:
    """Sum of the L2 norms."""
    return float(sum(tensor.norm() for tensor in tensors.values()))

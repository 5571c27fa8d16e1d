"""`snip`: how sensitive the loss is to every weight (https://arxiv.org/abs/1810.02340; as a proxy in arXiv
2101.08134).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from runners.proxies.base import register_proxy

if TYPE_CHECKING:
    from torch import Tensor

    from runners.proxies.material import Material


@register_proxy("snip", "model", "gradients")
def snip(material: Material) -> float:
    """Sum of |weight * gradient| over all weights."""
    return connection_sensitivity(material.weights, material.mean_gradients)


def connection_sensitivity(own: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> float:
    """Sum of |weight * gradient|, not normalised, so that models can be compared."""
    return float(sum((weight.detach() * gradients[name]).abs().sum() for name, weight in own.items()))

"""`snip`: how much the loss feels every weight (https://arxiv.org/abs/1810.02340; as a proxy in arXiv 2101.08134)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from runners.measuring.proxies.base import register_proxy
from runners.measuring.proxies.material import Material, mean, weights


@register_proxy("snip", "model", "gradients")
def snip(material: Material) -> float:
    """Sum of |weight * gradient| over all weights."""
    return connection_sensitivity(weights(material.model), mean(material.gradients))


@torch.no_grad()
def connection_sensitivity(own: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> float:
    """Sum of |weight * gradient|, not normalised, so that models can be compared."""
    return float(sum((weight * gradients[name]).abs().sum() for name, weight in own.items()))

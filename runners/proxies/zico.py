"""`zico`: gradients that agree between batches (https://arxiv.org/abs/2301.11300, equation 14)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from runners.proxies.base import register_proxy

if TYPE_CHECKING:
    from runners.proxies.material import Material, Tensors


@register_proxy("zico", "model", "gradients")
def zico(material: Material) -> float:
    """Sum over the layers of log(sum over their weights of mean |gradient| / std of the gradient)."""
    return log_inverse_variation(material.gradients)


def log_inverse_variation(gradients: Sequence[Tensors]) -> float:
    """ZiCo of gradients, given as one dictionary per batch.

    The std is that of the signed gradients with n in the denominator, as in the authors' code, which produced the
    published results; the paper uses the std of their absolute values. As in that code, weights whose gradients do not
    differ are left out, and so are layers with only such weights.
    """
    import torch

    total = 0.0
    for name in gradients[0]:
        of_layer = torch.stack([one[name] for one in gradients]).double()
        size, deviation = of_layer.abs().mean(dim=0), of_layer.std(dim=0, correction=0)
        differs = deviation != 0
        ratio = float((size[differs] / deviation[differs]).sum())
        total += math.log(ratio) if ratio > 0 else ratio
    return total

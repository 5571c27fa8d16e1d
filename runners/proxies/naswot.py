"""`naswot`: how differently the units of a model respond to different images (https://arxiv.org/abs/2006.04647, section
3).

The binary code of an image has a bit for every unit of every activation. With ReLU it says which units are passed on.
GELU and SiLU do not output exact zeros, so a unit's bit is the sign of its input: passed on, or nearly suppressed. The
bit of a sigmoid gate says whether it is more than half open. Softmax is a weighting and has no bits.

B images, U units.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from runners.proxies.base import register_proxy

if TYPE_CHECKING:
    from torch import Tensor

    from runners.proxies.material import Material


@register_proxy("naswot", "model")
def naswot(material: Material) -> float:
    """Log-determinant of the B x B matrix of numbers of units on which two images agree; NaN without activations."""
    import torch

    from runners.proxies.activations import GATES, RECTIFIERS, Activations

    images = material.images
    agreements = torch.zeros(len(images), len(images), dtype=torch.float64, device=images.device)

    def look(x: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
        agreements.add_(agreement(x.reshape(len(images), -1)))
        return activation(x)

    with torch.no_grad(), Activations(RECTIFIERS | GATES, look):
        material.model(images)
    return log_determinant(agreements)


def agreement(inputs: Tensor) -> Tensor:
    """Number of units on which each two images agree: (B, U) -> (B, B)."""
    code = (inputs > 0).float()
    return code @ code.T + (1 - code) @ (1 - code).T


def log_determinant(agreements: Tensor) -> float:
    """Logarithm of the determinant; NaN if it is 0, for example if two images have the same code."""
    import torch

    sign, logarithm = torch.linalg.slogdet(agreements)
    return float(logarithm) if sign > 0 else float("nan")

"""`entropy` and `entropy_20`: how evenly a block's output spreads over its channels.

After AZ-NAS's expressivity (https://arxiv.org/abs/2403.19232, section 3.2), which is the entropy of the eigenvalues of
the covariance of a block's features. Deviations: the mean over the blocks, since their sum measures depth; and training
images instead of noise.

B images, N tokens, D channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runners.proxies.base import register_proxy

if TYPE_CHECKING:
    from torch import Tensor, nn

    from runners.proxies.material import Material
    from search_space.models.model import VisionModel


@register_proxy("entropy", "model")
def entropy(material: Material) -> float:
    """Mean spectral entropy of the blocks at initialisation, in nats."""
    return mean_block_entropy(material.model, material.images)


@register_proxy("entropy_20", "trained")
def entropy_20(material: Material) -> float:
    """The same after 20 steps of training."""
    return mean_block_entropy(material.trained, material.images)


def mean_block_entropy(model: VisionModel, images: Tensor) -> float:
    """Mean over the blocks of `spectral_entropy` of their outputs."""
    import torch

    from search_space.models.model import Downsample

    found: list[float] = []

    def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found.append(spectral_entropy(output.flatten(0, 1)))

    blocks = [block for stage in model.stages for block in stage.children() if not isinstance(block, Downsample)]
    hooks = [block.register_forward_hook(look) for block in blocks]
    try:
        with torch.no_grad():
            model.features(images)
    finally:
        for hook in hooks:
            hook.remove()
    return sum(found) / len(found)


def spectral_entropy(features: Tensor) -> float:
    """Entropy of the eigenvalues of a covariance, normalised to sum 1: 0 on a line, log D on a ball.

    Args:
        features: (B * N, D).

    Returns:
        In nats; NaN if the features are all equal or not finite.
    """
    import torch

    centred = features - features.mean(dim=0)
    covariance = (centred.T @ centred).double()
    trace = covariance.trace()
    if not (torch.isfinite(trace) and trace > 0):
        return float("nan")
    shares = torch.linalg.eigvalsh(covariance / trace).clamp(min=0)
    return float(torch.special.entr(shares).sum())

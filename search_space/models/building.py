"""`build`: from an Architecture to an initialised `nn.Module` that classifies images."""

from __future__ import annotations

import torch

from search_space.architecture import Architecture
from search_space.models.initialisation import Scheme, initialise
from search_space.models.model import VisionModel


def build(
    architecture: Architecture,
    *,
    generator: torch.Generator | None = None,
    device: str | torch.device = "cpu",
    scheme: Scheme = "adaptive",
) -> VisionModel:
    """Build and initialise the model of an architecture. Memory for the weights is allocated once.

    Example:
        >>> build(zoo.get("mixer_s16"), device="cuda")

    Args:
        architecture: What to build.
        generator: Source of all randomness, on the CPU; the same seed gives the same weights on every device. By
            default a new one with seed 0. The global generator is never used.
        device: The device of the model.
        scheme: How its weights are initialised; see `search_space.models.initialisation`.
            ``zoo.entry(name).family.initialisation`` is the scheme that the authors of a family used.

    Raises:
        ArchitectureError: If an op has no layer.
    """
    with torch.device("meta"):
        model = VisionModel(architecture)
    # `to_empty` is this with `torch.empty_like`, which for tensors without memory imports sympy: half a second.
    model._apply(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype))  # type: ignore[no-untyped-call]
    initialise(model, generator or torch.Generator().manual_seed(0), scheme)
    return model.to(device)

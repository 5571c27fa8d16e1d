"""Files of weights: converted to the deployed form, and compared with a model that was loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from search_space.architecture import Architecture
from search_space.models import deployment
from search_space.models.building import build

IMAGES = 4
"""Number of random images on which two models are compared."""


def deploy_file(architecture: Architecture, weights: Path, output: Path) -> None:
    """Write the weights of the deployed form of a trained model, with the metadata of its file.

    Args:
        architecture: The architecture in its training form.
        weights: Its safetensors file.
        output: The file to write.
    """
    model = build(architecture)
    model.load_state_dict(load_file(weights))
    merged = deployment.reparameterize(model)
    with safe_open(weights, framework="pt") as file:
        save_file(merged.state_dict(), output, file.metadata())


def compare_outputs(
    architecture: Architecture, weights: Path, load: Callable[[], tuple[Any, Any, Any]]
) -> tuple[float, float]:
    """Compare the outputs of a trained model with those of one that was loaded from elsewhere.

    Args:
        architecture: The architecture in its training form.
        weights: Its safetensors file.
        load: Returns the other model, and the mean and standard deviation of its images.

    Returns:
        The largest difference between outputs, NaN if some are not finite; and the largest output.
    """
    original = build(architecture).eval()
    shape = (IMAGES, *architecture.input_shape)
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    loaded, mean, std = load()
    original.load_state_dict(load_file(weights))
    with torch.inference_mode():
        expected = original((images - mean) / std)
        difference = (loaded((images - mean) / std) - expected).abs().max().item()
    return float(difference), float(expected.abs().max().item())

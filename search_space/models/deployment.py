"""From the training form of a model to its deployed form (RepMLP's locality injection, arXiv 2112.11081)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from search_space.architecture import Stage
from search_space.errors import WeightsError
from search_space.models.model import VisionModel

TOLERANCE = 1e-10
"""Relative to the largest value, in float64: far above rounding errors, far below the effect of a wrong merge
(arbitrary)."""


@torch.no_grad()
def reparameterize(model: VisionModel) -> VisionModel:
    """The deployed model that computes the same function as `model` does in eval mode.

    The result is checked: both models run on the same images in float64, and their features and outputs must agree
    to 1e-10 of the largest value.

    Args:
        model: A model in training form; it is not changed.

    Returns:
        A model of `model.architecture.deployed` in eval mode, with the same device and dtype; a copy of `model` if the
        architecture is its own deployed form.

    Raises:
        WeightsError: If the outputs differ, as they do when weights are not finite.
    """
    architecture = model.architecture
    if architecture.deployed == architecture:
        return copy.deepcopy(model).eval()
    wide = copy.deepcopy(model).double().eval()
    with torch.device("meta"):
        deployed = VisionModel(architecture.deployed).double().eval()
    deployed.load_state_dict(_deployed_state(wide, deployed), assign=True)
    shape = (2, *architecture.input_shape)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    images = images.to(next(wide.parameters()).device)
    for what in ("features", "forward"):  # compare the features too, since a head of zeros would hide any difference
        expected = getattr(wide, what)(images)
        difference = (getattr(deployed, what)(images) - expected).abs().max().item()
        if not difference <= TOLERANCE * expected.abs().max().item():
            raise WeightsError(f"the merged model's outputs differ by {difference:.1e} in its {what}")
    return deployed.to(next(model.parameters()).dtype)


def _deployed_state(model: VisionModel, deployed: VisionModel) -> dict[str, Tensor]:
    """The state dict of the deployed model; layers with a different deployed form are merged."""
    state: dict[str, Tensor] = model.state_dict()
    for name, module in model.named_modules():
        deployed_state = getattr(module, "deployed_state", None)
        if deployed_state is not None:
            merged = {f"{name}.{key}": value for key, value in deployed_state().items()}
            state = {key: value for key, value in state.items() if not key.startswith(f"{name}.")} | merged
    # Stages that differ only in training branches become one stage; the order of all blocks stays the same.
    renamed = dict(zip(_places(model), _places(deployed), strict=True))

    def rename(key: str) -> str:
        parts = key.split(".", 3)
        place = ".".join(parts[:3])
        return ".".join([renamed[place], *parts[3:]]) if place in renamed else key

    return {rename(key): value for key, value in state.items()}


def _places(model: VisionModel) -> list[str]:
    """The names of all blocks and downsamplings in order: ``stages.0.0``, ..."""
    return [f"stages.{i}.{j}" for i, stage in enumerate(model.architecture.stages) for j in range(_layers(stage))]


def _layers(stage: Stage) -> int:
    return stage.depth + (stage.downsample != "none")

"""Trained weights on disk: safetensors, with the normalisation of the images they were trained on."""

from __future__ import annotations

import json
from pathlib import Path

import safetensors
import safetensors.torch
from torch import nn

from runners.files import write_atomically
from search_space.errors import DataError


def save_weights(model: nn.Module, path: Path, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """Write all parameters and buffers; `mean` and `std` (per channel, pixels in 0..1) go into the metadata."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    # One key, as safetensors does not keep the order of several, and equal weights are to give equal files.
    metadata = {"normalisation": json.dumps({"mean": mean, "std": std})}
    write_atomically(path, safetensors.torch.save(state, metadata))


def load_weights(model: nn.Module, path: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Fill a model with the weights that `save_weights` wrote.

    Returns:
        Mean and standard deviation by which its images are normalised.

    Raises:
        DataError: If the file is missing or damaged, or was written for another architecture.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        model.load_state_dict(state)
        normalisation = json.loads(metadata["normalisation"])
        return tuple(normalisation["mean"]), tuple(normalisation["std"])
    except FileNotFoundError:
        raise DataError(f"there are no weights at {path}; a training that is given this path writes them") from None
    except (safetensors.SafetensorError, RuntimeError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} does not hold weights of this architecture: {reason}") from error

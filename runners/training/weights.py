"""Trained weights on disk: safetensors, with the normalisation of their training images."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor, nn

from runners.files import FileFailure, local_copy, write_atomically
from runners.remote import Location
from search_space.errors import WeightsError, brief, printable
from search_space.models.model import VisionModel

_LONGEST = 200
"""Maximum length of a reason in a message."""


def save_weights(model: nn.Module, path: Location, mean: tuple[float, ...], std: tuple[float, ...]) -> str:
    """Write all parameters and buffers; `mean` and `std` (per channel, pixels in 0..1) go into the metadata.

    Returns:
        SHA-256 of the file as hexadecimal digits.

    Raises:
        FileFailure: If they cannot be written.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    # A single key: safetensors does not keep the order of several, and equal weights must give equal files.
    metadata = {"normalisation": json.dumps({"mean": mean, "std": std})}
    content = safetensors.torch.save(state, metadata)
    write_atomically(path, content)
    return hashlib.sha256(content).hexdigest()


def load_weights(
    model: VisionModel, path: Location, sha256: str | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Load weights that `save_weights` wrote into a model, or leave it unchanged.

    Args:
        model: The model to load into.
        path: The file.
        sha256: The digest that `save_weights` returned; None if unknown.

    Returns:
        Mean and standard deviation for normalising images.

    Raises:
        WeightsError: If the file is missing or damaged, or was written for another architecture.
        FileFailure: If the file cannot be read.
    """
    try:
        with local_copy(path) as here:
            _check_digest(path, here, sha256)
            with safetensors.safe_open(here, framework="pt") as file:
                metadata = file.metadata() or {}
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except FileNotFoundError:
        raise WeightsError(f"there are no weights at {path}; a training that is given this path writes them") from None
    except OSError as error:
        raise FileFailure(f"{path} cannot be read: {error.strerror or error}") from error
    except (safetensors.SafetensorError, RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        # the last four: number types that this version of torch or safetensors does not know
        raise _not_ours(path, str(error).partition("\n")[0]) from error
    problem = _misfit(model, state)
    if problem:
        raise _not_ours(path, problem)
    mean, std = _normalisation(path, metadata, model.architecture.in_channels)
    model.load_state_dict(state)
    return mean, std


def _check_digest(path: Location, here: Path, expected: str | None) -> None:
    if expected is None:
        return
    with here.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise WeightsError(f"{path} is damaged: its SHA-256 is {found}, and was {expected} when it was written")


def _misfit(model: VisionModel, state: dict[str, Tensor]) -> str | None:
    """Why this is not the state of the model, or None."""
    expected = model.state_dict()
    for name, tensor in expected.items():
        if name not in state:
            return f"{name} is missing"
        found = state[name]
        if found.shape != tensor.shape:
            return f"{name} is {brief(tuple(found.shape))} where this model needs {tuple(tensor.shape)}"
        if found.is_floating_point() != tensor.is_floating_point() or found.is_complex():
            return f"{name} is of {found.dtype}, not {tensor.dtype}"
    unknown = [name for name in state if name not in expected]
    return f"{brief(unknown[0])} is not needed" if unknown else None


def _normalisation(
    path: Location, metadata: Mapping[str, str], channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation for each channel."""
    try:
        found = json.loads(metadata["normalisation"])
        mean, std = (tuple(map(float, found[key])) for key in ("mean", "std"))
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        raise _not_ours(path, "it does not say how its images are normalised") from None
    whole = len(mean) == len(std) == channels and all(map(math.isfinite, (*mean, *std))) and all(s > 0 for s in std)
    if not whole:
        reason = f"its images are normalised by {brief(mean)} and {brief(std)}, which is not for {channels} channels"
        raise _not_ours(path, reason)
    return mean, std


def _not_ours(path: Location, reason: str) -> WeightsError:
    return WeightsError(f"{path} does not hold weights of this architecture: {printable(reason, _LONGEST)}")

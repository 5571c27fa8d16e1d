"""Teachers: exported bundles whose models a training learns from. Nothing here loads torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

from runners.data.base import DatasetInfo
from runners.recipe import Teacher
from search_space.architecture import Architecture
from search_space.errors import WeightsError, brief
from search_space.paths import user_path

ARCHITECTURE, WEIGHTS = "architecture.yaml", "model.safetensors"
"""The files of a bundle that are read."""


def find_teacher(folder: str, info: DatasetInfo, source: str = "the teacher") -> Teacher:
    """The teacher in a folder, after checking that it is for such images.

    Args:
        folder: The folder of an exported bundle.
        info: The images that it will see.
        source: Where it was given, for messages.

    Raises:
        WeightsError: If there is no bundle, or its model is for other images or classes.
    """
    path = user_path(folder, source, WeightsError).resolve()
    architecture = read_architecture(path, source)
    for name in ("classes", "in_channels", "image_size"):
        theirs, ours = getattr(architecture, name), getattr(info, name)
        if theirs != ours:
            raise WeightsError(
                f"{source} is {brief(folder, 200)}, a model with {name} {theirs}; the images have {ours}"
            )
    return Teacher(str(path), digest(path, source))


def read_architecture(folder: Path, source: str = "the teacher") -> Architecture:
    """The architecture of a bundle.

    Raises:
        WeightsError: If the folder is not a bundle.
        ArchitectureError: If its architecture is malformed, or needs a plug-in that was not imported.
    """
    for name in (ARCHITECTURE, WEIGHTS):
        if not (folder / name).is_file():
            raise WeightsError(
                f"{source} is {brief(str(folder), 200)}, which has no {name}; allowed: a folder that `nas export` wrote"
            )
    return Architecture.from_yaml_file(folder / ARCHITECTURE)


def digest(folder: Path, source: str = "the teacher") -> str:
    """SHA-256 of a bundle's architecture and weights, as hexadecimal digits.

    Raises:
        WeightsError: If a file cannot be read.
    """
    total = hashlib.sha256()
    try:
        for name in (ARCHITECTURE, WEIGHTS):
            with (folder / name).open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise WeightsError(f"{source} cannot be read: {folder}: {error.strerror or error}") from None
    return total.hexdigest()

"""Factories for jobs, small architectures and files of images."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from runners.base import DataSpec, Job
from runners.recipe import Recipe
from search_space import Architecture, Branch, Dense, Stage


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def make_architecture() -> Callable[..., Architecture]:
    """A mixer of one block for digits; keywords change the architecture."""

    def make(norm: str = "layernorm", **changes: Any) -> Architecture:
        block = (Branch(Dense("token", 4), norm=norm), Branch(Dense("channel", 8), norm=norm))
        settings = {"image_size": 8, "patch": 2, "in_channels": 1, "classes": 10, **changes}
        return Architecture(stages=(Stage(2, 8, block),), **settings)

    return make


@pytest.fixture
def make_job(make_architecture: Callable[..., Architecture]) -> Callable[..., Job]:
    """A job of a few epochs on digits; keywords change the job."""

    def make(**changes: Any) -> Job:
        settings = {
            "key": "trial-0001",
            "architecture": make_architecture(),
            "data": DataSpec("digits"),
            "recipe": Recipe(epochs=3),
            "seed": 0,
            "device": "cpu",
        }
        return Job(**{**settings, **changes})

    return make


@pytest.fixture
def write_idx() -> Callable[[Path, torch.Tensor], None]:
    """Write an array of bytes as an IDX file, compressed if the name ends with .gz."""

    def write(path: Path, array: torch.Tensor) -> None:
        header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
        data = header + array.numpy().tobytes()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)

    return write


@pytest.fixture
def write_images(tmp_path: Path) -> Callable[..., Path]:
    """Write PNGs of one colour each: `{"train/red": [(255, 0, 0), ...]}`; returns the folder."""
    from PIL import Image

    def write(classes: dict[str, list[tuple[int, int, int]]], size: tuple[int, int] = (12, 10)) -> Path:
        root = tmp_path / "images"
        for folder, colours in classes.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            for number, colour in enumerate(colours):
                Image.new("RGB", size, colour).save(root / folder / f"{number:03}.png")
        return root

    return write

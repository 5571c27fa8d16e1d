"""Factories for jobs, small architectures and files of images."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from runners.protocol import DataSpec, Decision, EpochResult, Job, Outcome
from runners.recipe import Recipe
from search_space import Architecture, Branch, Dense, Stage

# Ray reads it once in a process, and nodes in homes of their own would not find the token of this one.
os.environ["RAY_AUTH_MODE"] = "disabled"


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


class PausingSource:
    """Stops every job at each of its rungs, hands it out again under the same key, and keeps what it is told.

    Attributes:
        epochs: What was reported of each key, without times.
        endings: How each key ended, time after time.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = {job.key: job for job in jobs}
        self.waiting, self.running = list(self.jobs), set[str]()
        self.epochs: dict[str, list[EpochResult]] = {key: [] for key in self.jobs}
        self.endings: dict[str, list[str]] = {key: [] for key in self.jobs}

    @property
    def done(self) -> bool:
        return not self.waiting and not self.running

    def ask(self) -> Job | None:
        if not self.waiting:
            return None
        key = self.waiting.pop(0)
        self.running.add(key)
        return replace(self.jobs[key], reported=len(self.epochs[key]))

    def report(self, key: str, epochs: Sequence[EpochResult]) -> Decision:
        self.epochs[key] += [replace(epoch, seconds=0.0, measured=None) for epoch in epochs]
        return Decision.STOP if epochs[-1].epoch in self.jobs[key].rungs else Decision.CONTINUE

    def tell(self, key: str, outcome: Outcome) -> None:
        self.running.remove(key)
        self.endings[key].append(outcome.status)
        if outcome.status == "stopped":
            self.waiting.append(key)

    def idle(self) -> None:
        pass


@pytest.fixture
def pausing_source() -> type[PausingSource]:
    """A source that resumes its jobs after every rung."""
    return PausingSource


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

"""What needs a CUDA device: `pytest -m gpu`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nas import search
from runners.base import DataSpec, EpochResult, Job
from runners.recipe import Recipe
from runners.training import train
from search_space import load_space
from search_space.families import family_points

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore"),
]
FAMILIES = family_points(space := load_space("mlp_family", image_size=8, in_channels=1, classes=10), space.limits)


def curve(name: str, device: str) -> list[EpochResult]:
    recipe = Recipe(epochs=3, precision="fp32")
    return list(train(Job(name, FAMILIES[name], DataSpec("digits"), recipe, seed=0, device=device)))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_gpu_learns_what_a_cpu_learns(name: str) -> None:
    # Not bit by bit: order and augmentation are drawn on the device.
    assert curve(name, "cuda")[-1].nll == pytest.approx(curve(name, "cpu")[-1].nll, rel=0.35)


@pytest.mark.parametrize("name", FAMILIES)
def test_bf16_trains(name: str) -> None:
    recipe = Recipe(epochs=3, precision="bf16")
    epochs = list(train(Job(name, FAMILIES[name], DataSpec("digits"), recipe, seed=0, device="cuda")))
    assert epochs[-1].nll < epochs[0].nll


def test_four_trials_share_a_gpu(tmp_path: Path) -> None:
    report = search(budget=8, epochs=2, gpus_per_trial=0.25, finalists=1, seeds=1, out=tmp_path)
    assert report.evaluated == 8
    assert report.counts["failed"] == 0
    assert report.winner is not None

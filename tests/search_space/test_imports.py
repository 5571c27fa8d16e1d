"""Describing, counting, costing and drawing architectures answers at once: it does not load torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import search_space

ROOT = Path(__file__).parents[2]


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return ran.stdout.strip()


def test_everything_but_models_works_without_torch() -> None:
    code = """
import random, sys
from search_space import Architecture, Attention, Branch, Cost, Dense, Gating, Limits, Permute, SearchSpace, Stage
from search_space import list_spaces, load_space
from search_space.families import family_points
for name in list_spaces():
    space = load_space(name, image_size=8, in_channels=1, classes=10)
    assert space.size > 0 and space.hash
    space.check_limits(Limits(10**6))
    low, high = space.cost_range()
    rng = random.Random(0)
    architecture = space.sample(rng, space.limits)
    assert low.params <= architecture.params <= high.params
    assert space.mutate(architecture, rng) in space
    assert Architecture.from_yaml(architecture.to_yaml()) == architecture
    family_points(space, space.limits)
print([name for name in ("torch", "torchvision", "numpy", "ray", "optuna") if name in sys.modules])
"""
    assert run(code) == "[]"


def test_models_load_torch_only_when_they_are_asked_for() -> None:
    code = "import sys, search_space; print('torch' in sys.modules); search_space.build; print('torch' in sys.modules)"
    assert run(code).split() == ["False", "True"]


@pytest.mark.parametrize("name", search_space.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(search_space, name).__name__ == name


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="'search_space' has no attribute 'Architectures'"):
        _ = search_space.Architectures

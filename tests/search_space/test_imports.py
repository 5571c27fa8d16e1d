"""Describing, counting, costing and sampling architectures is fast: it does not load torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import search_space

ROOT = Path(__file__).parents[2]


def run(code: str) -> str:
    """The output of a fresh interpreter."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return ran.stdout.strip()


def test_everything_but_models_works_without_torch() -> None:
    code = """
import random, sys
from search_space import Architecture, Attention, Branch, Cost, Dense, Gating, Limits, Permute, RepMLP
from search_space import SearchSpace, Stage, list_spaces, load_space
from search_space.zoo.scaled import family_points
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
repmlp = Architecture(8, 2, (Stage(1, 8, (Branch(RepMLP(2), "batchnorm"),)),))
assert repmlp.deployed.at(16).params > repmlp.params and repmlp.stages[0].block[0].op.steps
print([name for name in ("torch", "torchvision", "numpy", "ray", "optuna") if name in sys.modules])
"""
    assert run(code) == "[]"


def test_models_load_torch_only_when_they_are_asked_for() -> None:
    code = "import sys, search_space; print('torch' in sys.modules); search_space.build; print('torch' in sys.modules)"
    assert run(code).split() == ["False", "True"]


def test_every_public_name_is_there_however_it_is_imported() -> None:
    """Once its module is imported too, which the package then has as an attribute; zoo alone is a module."""
    code = """
import types, search_space
for name in search_space.__all__ * 2:
    found = {}
    exec(f"from search_space import {name}", found)
    value = found[name]
    assert value is getattr(search_space, name), name
    assert isinstance(value, types.ModuleType) == (name == "zoo"), f"{name} is {value}"
    assert value.__name__ == ("search_space.zoo" if name == "zoo" else name), name
print(len(search_space.__all__))
"""
    assert int(run(code)) == len(set(search_space.__all__))


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="'search_space' has no attribute 'Architectures'"):
        _ = search_space.Architectures

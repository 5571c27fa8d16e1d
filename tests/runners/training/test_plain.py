"""The plain training loop of `benchmarks.plain`, with which ours is compared."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.plain import compare, plain_training
from runners.protocol import DataSpec
from runners.recipe import Recipe
from search_space import Architecture

DATA = DataSpec("digits")


def test_the_plain_loop_learns_and_its_seed_decides(make_architecture: Callable[..., Architecture]) -> None:
    recipe = Recipe(epochs=3, lr=1e-2)
    curve = plain_training(make_architecture(drop_path=0.2), DATA, recipe, seed=1)

    assert [epoch for epoch, _, _ in curve] == [1, 2, 3]
    assert curve[-1][1] < curve[0][1]
    assert 0.2 < curve[-1][2] <= 1
    assert plain_training(make_architecture(drop_path=0.2), DATA, recipe, seed=1) == curve


def test_with_learning_rate_0_both_loops_validate_the_same_model(
    make_architecture: Callable[..., Architecture],
) -> None:
    found = compare(make_architecture(), DATA, Recipe(epochs=1, lr=0.0), pairs=2)

    assert found["nll_difference"] == pytest.approx(0, abs=1e-4)
    assert found["ratio"]["n"] == 2

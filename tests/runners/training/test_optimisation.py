from __future__ import annotations

from collections.abc import Callable

import pytest

from runners.recipe import Recipe
from runners.training.optimisation import learning_rate, make_optimizer
from search_space import Architecture, build


def test_learning_rates_by_hand() -> None:
    # 10 steps, 3 of warm-up: quarters of the peak, then half a cosine over the 6 steps to the last.
    recipe = Recipe(epochs=1, lr=4.0, warmup=0.3, final_lr=0.1)

    rates = [learning_rate(recipe, step, 10) for step in range(10)]

    assert rates[:4] == pytest.approx([1.0, 2.0, 3.0, 4.0])
    assert rates[6] == pytest.approx(4.0 * (0.1 + 0.9 / 2))  # half-way: cos(pi / 2) = 0
    assert rates[5] == pytest.approx(4.0 * (0.1 + 0.9 * 0.75))  # a third: (1 + cos(pi / 3)) / 2 = 3/4
    assert rates[9] == pytest.approx(0.4)


def test_without_warm_up_the_first_step_has_the_peak() -> None:
    assert learning_rate(Recipe(epochs=1, lr=0.5, warmup=0.0), 0, 10) == 0.5


def test_a_single_step_has_a_finite_rate() -> None:
    assert 0 < learning_rate(Recipe(epochs=1, lr=0.5), 0, 1) <= 0.5


def test_only_weights_of_linear_maps_decay(make_architecture: Callable[..., Architecture]) -> None:
    model = build(make_architecture(position="learned", class_token=True))
    names = {id(parameter): name for name, parameter in model.named_parameters()}

    decayed, rest = make_optimizer(model, Recipe(epochs=1, weight_decay=0.2)).param_groups

    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.2, 0.0)
    assert len(decayed["params"]) + len(rest["params"]) == len(names)
    kept = {names[id(parameter)].rpartition(".")[2] for parameter in rest["params"]}
    assert kept == {"bias", "weight", "position", "class_token"}
    assert all(parameter.ndim == 1 for parameter in rest["params"] if "weight" in names[id(parameter)])
    assert {names[id(parameter)].rpartition(".")[2] for parameter in decayed["params"]} == {"weight"}

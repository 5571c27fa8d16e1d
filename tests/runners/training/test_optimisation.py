from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch

from runners.recipe import Recipe
from runners.training.lion import Lion
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


def test_a_line_and_a_constant_by_hand() -> None:
    line, constant = (
        [
            learning_rate(Recipe(epochs=1, lr=4.0, warmup=0.3, final_lr=0.1, schedule=schedule), step, 10)
            for step in range(10)
        ]
        for schedule in ("linear", "constant")
    )

    assert line[:4] == constant[:4] == pytest.approx([1.0, 2.0, 3.0, 4.0])
    assert line[6] == pytest.approx(4.0 * (0.1 + 0.9 / 2))
    assert line[9] == pytest.approx(0.4)
    assert constant[4:] == [4.0] * 6


def test_two_steps_of_lion_by_hand() -> None:
    """Program 1 of the paper, with a learning rate of 0.1 and a decay of 0.5."""
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    lion = Lion([weight], lr=0.1, weight_decay=0.5)
    expected, momentum = [1.0, -2.0], [0.0, 0.0]

    for gradients in ([0.5, -3.0], [-2.0, 1.0]):
        weight.grad = torch.tensor(gradients)
        lion.step()
        for index, gradient in enumerate(gradients):
            step = math.copysign(1.0, 0.9 * momentum[index] + 0.1 * gradient)
            expected[index] -= 0.1 * (step + 0.5 * expected[index])
            momentum[index] = 0.99 * momentum[index] + 0.01 * gradient
        assert weight.tolist() == pytest.approx(expected)


def test_the_second_step_of_sgd_has_nesterov_momentum(make_architecture: Callable[..., Architecture]) -> None:
    """With a constant gradient of 1 the steps are 1 + 0.9 and 1 + 0.9 * 1.9 times the learning rate."""
    model = build(make_architecture())
    sgd = make_optimizer(model, Recipe(epochs=1, lr=0.5, weight_decay=0.0, optimizer="sgd"))
    before = model.head.bias.detach().clone()

    for moved in (1.9, 1.9 + 2.71):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        sgd.step()
        torch.testing.assert_close(model.head.bias.detach(), before - 0.5 * moved)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "lion"])
def test_an_optimiser_continues_from_its_state(make_architecture: Callable[..., Architecture], optimizer: str) -> None:
    recipe = Recipe(epochs=1, optimizer=optimizer)  # type: ignore[arg-type]
    models = [build(make_architecture()) for _ in range(2)]
    optimizers = [make_optimizer(model, recipe) for model in models]

    def step(index: int, gradient: float) -> None:
        for parameter in models[index].parameters():
            parameter.grad = torch.full_like(parameter, gradient)
        optimizers[index].step()

    step(0, 1.0)
    models[1].load_state_dict(models[0].state_dict())
    optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))
    for index in range(2):
        step(index, -0.5)

    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert one.equal(other)


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

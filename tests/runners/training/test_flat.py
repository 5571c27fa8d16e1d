"""Flat buffers hold the same numbers as single parameters; a step of theirs is the same step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from runners.recipe import Recipe
from runners.training.flat import ALIGNMENT, FlatOptimizer
from runners.training.optimisation import NO_DECAY, make_optimizer
from runners.training.replicas import Replicas
from runners.training.step import EagerStep, make_step
from search_space import Architecture, build
from search_space.models.model import VisionModel

MakeArchitecture = Callable[..., Architecture]
CPU = torch.device("cpu")
RECIPE = Recipe(epochs=1, lr=1e-2, weight_decay=0.2, clip_norm=0.1)
OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]]], torch.optim.Optimizer]] = {
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=1e-2),
    "sgd": lambda groups: torch.optim.SGD(groups, lr=1e-2, momentum=0.9, nesterov=True),
}


@pytest.fixture
def model(make_architecture: MakeArchitecture) -> VisionModel:
    """In double precision, with a class token, positions, and parameters of odd sizes."""
    architecture = make_architecture(position="learned", class_token=True)
    return build(architecture, generator=torch.Generator().manual_seed(1)).double()


@pytest.fixture
def batches() -> list[tuple[Tensor, Tensor]]:
    draws = torch.Generator().manual_seed(2)
    return [
        (
            torch.randn(16, 1, 8, 8, dtype=torch.float64, generator=draws),
            torch.randint(10, (16,), generator=draws),
        )
        for _ in range(5)
    ]


def loss_of(model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda images, labels: functional.cross_entropy(model(images), labels, label_smoothing=0.1)


def groups_of(model: nn.Module) -> list[dict[str, Any]]:
    """Two groups; only weights of linear maps and convolutions decay."""
    decayed = [each for name, each in model.named_parameters() if each.ndim > 1 and name not in NO_DECAY]
    known = {id(each) for each in decayed}
    rest = [each for each in model.parameters() if id(each) not in known]
    return [{"params": decayed, "weight_decay": 0.2}, {"params": rest, "weight_decay": 0.0}]


def test_parameters_become_aligned_views_with_the_same_values(model: VisionModel) -> None:
    before = copy.deepcopy(model.state_dict())

    flat = FlatOptimizer(OPTIMIZERS["adamw"](groups_of(model)))

    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    start, size = flat.weights.data_ptr(), flat.weights.element_size()
    places = sorted((parameter.data_ptr() - start) // size for parameter in model.parameters())
    assert all(place % ALIGNMENT == 0 for place in places)
    assert places[0] == 0
    assert places[-1] < flat.weights.numel()
    with torch.no_grad():
        flat.weights.fill_(7)
    assert all((parameter == 7).all() for parameter in model.parameters())


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("micro_batch", [16, 5])
def test_steps_are_those_of_a_plain_loop(
    model: VisionModel, batches: list[tuple[Tensor, Tensor]], name: str, micro_batch: int
) -> None:
    """In double precision the weights agree to the last digits, although every gradient is clipped."""
    plain = copy.deepcopy(model)
    optimizer, losses = OPTIMIZERS[name](groups_of(plain)), []
    for index, (images, labels) in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * (index + 1)
        loss = loss_of(plain)(images, labels)
        optimizer.zero_grad()
        loss.backward()
        assert torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.1) > 0.1
        optimizer.step()
        losses.append(loss.item())

    flat = FlatOptimizer(OPTIMIZERS[name](groups_of(model)), 0.1)
    step = EagerStep([loss_of(model)], Replicas(model, [CPU]), flat, micro_batch)
    ours = [step(*batch, 0.01 * (index + 1)).item() for index, batch in enumerate(batches)]

    assert ours == pytest.approx(losses, rel=1e-12)
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


def test_steps_in_single_precision_are_the_plain_ones_up_to_rounding(
    model: VisionModel, batches: list[tuple[Tensor, Tensor]]
) -> None:
    """By the loss: AdamW divides gradients that are 0 but for rounding by their own size."""
    model = model.float()
    plain, losses = copy.deepcopy(model), []
    optimizer = torch.optim.AdamW(groups_of(plain), lr=1e-2)
    flat = FlatOptimizer(make_optimizer(model, RECIPE), RECIPE.clip_norm)
    step = make_step([loss_of(model)], Replicas(model, [CPU]), flat, 16)
    for images, labels in batches:
        optimizer.zero_grad()
        loss = loss_of(plain)(images.float(), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), RECIPE.clip_norm)
        optimizer.step()
        losses.append((loss.item(), step(images.float(), labels, 1e-2).item()))

    assert [own for _, own in losses] == pytest.approx([expected for expected, _ in losses], rel=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("old", [True, False], ids=["from single parameters", "from flat ones"])
def test_a_state_dict_has_one_form(
    model: VisionModel, batches: list[tuple[Tensor, Tensor]], name: str, old: bool
) -> None:
    """What single parameters have stored, a flat optimizer restores, and the reverse; then both step alike."""
    single = copy.deepcopy(model)
    optimizer, flat = OPTIMIZERS[name](groups_of(single)), FlatOptimizer(OPTIMIZERS[name](groups_of(model)))

    def step_single(batch: tuple[Tensor, Tensor]) -> None:
        optimizer.zero_grad()
        loss_of(single)(*batch).backward()
        optimizer.step()

    def step_flat(batch: tuple[Tensor, Tensor]) -> None:
        loss_of(model)(*batch).backward()
        flat.step()

    for batch in batches[:3]:
        (step_single if old else step_flat)(batch)
    if old:
        model.load_state_dict(copy.deepcopy(single.state_dict()))
        flat.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    else:
        single.load_state_dict(copy.deepcopy(model.state_dict()))
        optimizer.load_state_dict(copy.deepcopy(flat.state_dict()))
    step_single(batches[3])
    step_flat(batches[3])

    for one, other in zip(model.parameters(), single.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    assert flat.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]


def test_a_parameter_without_a_gradient_stays(model: VisionModel) -> None:
    flat = FlatOptimizer(torch.optim.SGD([{"params": list(model.parameters())}], lr=0.1))
    before = copy.deepcopy(model.state_dict())
    model.head.bias.grad = torch.ones_like(model.head.bias)

    flat.step()

    assert (model.head.bias == before["head.bias"] - 0.1).all()
    assert all(value.equal(before[name]) for name, value in model.state_dict().items() if name != "head.bias")
    assert all(parameter.grad is None for parameter in model.parameters())


@contextmanager
def no_reading() -> Iterator[None]:
    """Fails where a number is read back, for which a GPU has to finish everything before it."""

    class Mode(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            assert func not in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
            return func(*args, **(kwargs or {}))

    with Mode():
        yield


def test_a_step_reads_nothing_back(make_architecture: MakeArchitecture, batches: list[tuple[Tensor, Tensor]]) -> None:
    model = build(make_architecture(drop_path=0.2, norm="batchnorm")).train()
    flat = FlatOptimizer(make_optimizer(model, RECIPE), RECIPE.clip_norm)
    step = make_step([loss_of(model)], Replicas(model, [CPU]), flat, 16)
    with no_reading():
        for images, labels in batches[:2]:
            step(images.float(), labels, 1e-2)
        with pytest.raises(AssertionError):
            batches[0][0].sum().item()

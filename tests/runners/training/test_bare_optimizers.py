"""The optimisers do what torch's do, without loading its compiler."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from runners.training import bare_optimizers

MAKE = {
    "AdamW": {"lr": 0.1, "weight_decay": 0.2, "fused": True},
    "SGD": {"lr": 0.1, "weight_decay": 0.2, "momentum": 0.9, "nesterov": True, "fused": True},
}


@pytest.mark.parametrize("name", MAKE)
def test_steps_and_states_are_torchs(name: str) -> None:
    start, draws = torch.randn(50, generator=torch.Generator().manual_seed(1)), torch.Generator().manual_seed(2)
    parameters = [torch.nn.Parameter(start.clone()) for _ in range(2)]
    ours, theirs = (
        getattr(module, name)([parameter], **MAKE[name])
        for module, parameter in zip((bare_optimizers, torch.optim), parameters, strict=True)
    )
    for _ in range(3):
        gradient = torch.randn(50, generator=draws)
        for optimizer, parameter in zip((ours, theirs), parameters, strict=True):
            optimizer.zero_grad()
            parameter.grad = gradient.clone()
            optimizer.step()
        ours.load_state_dict(ours.state_dict())
    assert parameters[0].equal(parameters[1])
    assert not parameters[0].equal(start)
    for key, value in theirs.state_dict()["state"][0].items():
        torch.testing.assert_close(ours.state_dict()["state"][0][key], value, rtol=0, atol=0)


def test_a_training_loads_no_compiler() -> None:
    code = (
        "import sys, torch\n"
        "from runners.recipe import Recipe\n"
        "from runners.training.flat import FlatOptimizer\n"
        "from runners.training.optimisation import make_optimizer\n"
        "for name in ('adamw', 'sgd', 'lion'):\n"
        "    model = torch.nn.Linear(4, 4)\n"
        "    optimizer = FlatOptimizer(make_optimizer(model, Recipe(epochs=1, optimizer=name)), 1.0)\n"
        "    model(torch.ones(4)).sum().backward()\n"
        "    optimizer.step()\n"
        "print('torch._dynamo' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"

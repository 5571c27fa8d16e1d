"""Several devices sharing a batch; for the arithmetic, a CPU taken twice is two devices."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from runners.execution import Execution
from runners.measuring.device import pick_devices
from runners.protocol import Job
from runners.recipe import Recipe
from runners.training import train as training
from runners.training.memory import gradients
from runners.training.replicas import Replicas
from runners.training.train import train
from search_space import Architecture, VisionModel, build
from search_space.errors import RunnerError

CPU = torch.device("cpu")
MakeJob = Callable[..., Job]


@pytest.mark.parametrize("devices", [2, 3])
@pytest.mark.parametrize("micro_batch", [32, 7])
def test_a_shared_step_is_the_step_of_one_device(
    make_architecture: Callable[..., Architecture], devices: int, micro_batch: int
) -> None:
    """In double precision, over two steps: the second one sees the weights that the first one left."""
    images = torch.randn(32, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    labels = torch.randint(10, (32,), generator=torch.Generator().manual_seed(2))
    steps, seen = {}, set[int]()
    for count in (1, devices):
        model = build(make_architecture(), generator=torch.Generator().manual_seed(0)).double()
        replicas = Replicas(model, [CPU] * count)

        def loss_of(each: VisionModel) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
            def loss(some: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
                seen.add(id(each))
                return functional.cross_entropy(each(some), wanted)

            return loss

        optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.1), []
        for _ in range(2):
            optimizer.zero_grad()
            replicas.spread()
            parts = [loss_of(each) for each in replicas.models]
            losses.append(gradients(parts, images, labels, micro_batch if count > 1 else 32).item())
            replicas.gather()
            optimizer.step()
        steps[count] = losses, [parameter.detach() for parameter in model.parameters()]

    assert len(seen) == 1 + devices
    assert steps[devices][0] == pytest.approx(steps[1][0], rel=1e-12)
    for alone, shared in zip(steps[1][1], steps[devices][1], strict=True):
        torch.testing.assert_close(shared, alone, rtol=0, atol=1e-12)


def test_a_training_on_two_devices_learns_what_one_learns(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(recipe=Recipe(epochs=2), gpus=2)
    alone = list(train(job))  # a CPU works alone, whatever was asked for
    monkeypatch.setattr(training, "pick_devices", lambda name, gpus: (CPU,) * gpus)
    execution, shared, outcome = Execution(job, train), [], None
    while outcome is None:
        epochs, outcome = execution.advance()
        shared += epochs

    assert [epoch.nll for epoch in shared] == pytest.approx([epoch.nll for epoch in alone], rel=1e-3)
    assert outcome.measured.device.startswith("2 x CPU")


def test_stochastic_depth_draws_on_each_device_by_its_own_seed(make_architecture: Callable[..., Architecture]) -> None:
    replicas = Replicas(build(make_architecture(drop_path=0.5, drop_path_schedule="constant")), [CPU] * 2)
    images = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    replicas.spread()
    for each in replicas.models:
        each.train()

    def outputs(*seeds: int) -> list[torch.Tensor]:
        replicas.seed(seeds)
        return [each(images) for each in replicas.models]

    first, again, same = outputs(1, 2), outputs(1, 2), outputs(3, 3)
    assert all(map(torch.equal, first, again))
    assert not first[0].equal(first[1])
    assert same[0].equal(same[1])


def test_more_gpus_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert pick_devices("auto", 2) == (torch.device("cuda", 0), torch.device("cuda", 1))
    assert pick_devices("cuda:1", 2) == (torch.device("cuda", 1), torch.device("cuda", 2))
    with pytest.raises(RunnerError, match="--gpus-per-trial is 3, but there are only 2 GPUs from 'cuda:1' on"):
        pick_devices("cuda:1", 3)

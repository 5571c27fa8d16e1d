from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from runners.training.averaging import WeightAverage
from search_space import Architecture, build


@pytest.fixture
def model(make_architecture: Callable[..., Architecture]) -> torch.nn.Module:
    return build(make_architecture(norm="batchnorm"))


def head(model: torch.nn.Module) -> torch.Tensor:
    return model.head.bias.detach().clone()


def test_the_average_by_hand(model):
    """After steps 0 and 1 the decays are 0 and 1 - 2^(-2/3); from step 99 on, 0.9 is less than the warm-up's 0.95."""
    average = WeightAverage(model, 0.9)
    expected = head(model)
    for step, decay in ((0, 0.0), (1, 1 - 2 ** (-2 / 3)), (99, 0.9)):
        model.head.bias.data += 1.0
        average.update(step)
        expected = decay * expected + (1 - decay) * head(model)
        torch.testing.assert_close(head(average.model), expected)


def test_statistics_are_averaged_and_counters_copied(model):
    average = WeightAverage(model, 0.5)
    model.train()(torch.rand(4, 1, 8, 8))
    average.update(10**6)

    for name, value in average.model.state_dict().items():
        trained = model.state_dict()[name]
        if name.endswith("running_mean"):
            torch.testing.assert_close(value, trained / 2)  # it began at 0
        elif name.endswith("num_batches_tracked"):
            assert value == trained == 1


def test_without_a_decay_there_is_no_copy(model):
    average = WeightAverage(model, 0.0)
    average.update(0)

    assert average.model is model
    assert average.state() is None


def test_what_is_remembered_comes_back(model):
    average = WeightAverage(model, 0.5)
    average.remember()
    before = head(average.model)
    model.head.bias.data += 1.0
    average.update(5)
    assert not head(average.model).equal(before)

    average.return_()

    assert head(average.model).equal(before)

"""Memory predicted from shapes alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from runners.measuring.profile import activation_bytes
from runners.recipe import Recipe
from runners.training import memory_prediction as prediction
from runners.training.memory_prediction import check_fraction, predicted_memory, reserved_memory, trials_per_gpu
from search_space import Architecture, Limits, build, load_space
from search_space.errors import RunnerError
from search_space.models.model import VisionModel
from search_space.zoo.scaled import family_points

SPACE = load_space("mlp_family", image_size=28, in_channels=1, classes=10)
FAMILIES = family_points(SPACE, Limits(max_params=200_000))
GIB = 2**30


def test_what_is_alive_at_the_same_time_counts() -> None:
    """By hand: 4,000 and 8,000 bytes, then the first is freed and 4,000 are added; views take nothing."""

    def act() -> None:
        first = torch.empty(1000, device="meta")
        second = torch.cat([first, first])
        assert first.view(10, 100).t().shape == (100, 10)
        del first
        _ = second[:1000] + 1

    assert prediction._peak(act) == 12_000


@pytest.mark.parametrize("name", FAMILIES)
def test_a_prediction_covers_what_autograd_keeps(name: str) -> None:
    """And not more than twice as much for the step itself."""
    architecture, batch = FAMILIES[name], 64
    kept = batch * sum(activation_bytes(build(architecture)).values())
    with torch.device("meta"):
        model = VisionModel(architecture)

    step = prediction._peak(lambda: prediction._train(model, architecture, Recipe(epochs=1, batch_size=batch)))

    assert kept < step < 2 * kept
    assert predicted_memory(architecture, Recipe(epochs=1, batch_size=batch)) > step + 16 * architecture.params


def test_twice_the_batch_takes_twice_the_memory_of_a_step(make_architecture: Callable[..., Architecture]) -> None:
    architecture = make_architecture()
    small, large, huge = (
        predicted_memory(architecture, Recipe(epochs=1, batch_size=size)) for size in (4096, 8192, 16384)
    )
    assert huge - large == pytest.approx(2 * (large - small), rel=0.01)


def test_as_many_trials_share_a_gpu_as_fit(make_architecture: Callable[..., Architecture]) -> None:
    architecture, recipe = make_architecture(), Recipe(epochs=1)
    one = reserved_memory(architecture, recipe)

    assert [trials_per_gpu(architecture, recipe, total) for total in (one - 1, one, 4 * one)] == [0, 1, 4]
    check_fraction({"mixer": architecture}, recipe, 0.25, 4 * one)
    with pytest.raises(RunnerError, match=r"^--gpus-per-trial is 0.2, which leaves a trial .*; allowed: 0.25 and more"):
        check_fraction({"mixer": architecture}, recipe, 0.2, 4 * one)
    with pytest.raises(RunnerError, match=r"but mixer with batches of 64 is predicted .* a smaller --batch-size"):
        check_fraction({"mixer": architecture}, recipe, 0.5, one - 1)

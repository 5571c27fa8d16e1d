from __future__ import annotations

import math

import pytest
import torch

from runners.measuring.device import describe_device, pick_device, versions
from runners.training.precision import autocast_for, pays
from search_space import Architecture, Attention, Branch, Dense, Stage
from search_space.errors import RunnerError


def test_the_cpu_is_always_there() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert describe_device(pick_device("cpu")).endswith("1 thread")


def test_auto_takes_a_gpu_if_there_is_one() -> None:
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(RunnerError, match=name):
        pick_device(name)


def test_versions_name_python_and_torch() -> None:
    assert versions()["torch"] == torch.__version__
    assert versions()["python"].startswith("3.")


def wide(dim: int) -> Architecture:
    return Architecture(image_size=8, patch=2, stages=(Stage(1, dim, (Branch(Dense("channel", dim)),)),))


def test_narrow_architectures_stay_in_float32_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runners.training.precision._is_native", lambda device: True)
    cpu = torch.device("cpu")

    assert not autocast_for("auto", wide(64), cpu)._enabled
    assert autocast_for("auto", wide(1024), cpu)._enabled
    assert autocast_for("bf16", wide(64), cpu)._enabled
    assert not autocast_for("fp32", wide(1024), cpu)._enabled


def test_hardware_without_bfloat16_stays_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runners.training.precision._is_native", lambda device: False)

    assert not autocast_for("auto", wide(1024), torch.device("cpu"))._enabled


@pytest.mark.parametrize(
    ("dim", "tokens", "attention", "pays_on_cpu"),
    [
        (96, 16, False, True),
        (64, 16, False, False),
        (64, 64, False, True),
        (40, 256, False, False),
        (128, 64, True, False),
        (192, 64, True, True),
    ],
)
def test_bfloat16_pays_where_it_was_measured_to_be_faster(
    dim: int, tokens: int, attention: bool, pays_on_cpu: bool
) -> None:
    op = Attention(heads=2) if attention else Dense("channel", dim)
    side = math.isqrt(tokens)
    architecture = Architecture(image_size=2 * side, patch=2, stages=(Stage(1, dim, (Branch(op),)),))

    assert pays(architecture, torch.device("cpu")) == pays_on_cpu
    assert pays(architecture, torch.device("cuda")) == (dim >= 128)

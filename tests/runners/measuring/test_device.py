from __future__ import annotations

import pytest
import torch

from runners.measuring.device import describe_device, pick_device, versions
from runners.training.precision import autocast_for
from search_space import Architecture, Branch, Dense, Stage
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

"""Weights on disk: unsuitable files are refused in one sentence, and the model stays unchanged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from runners.files import FileFailure
from runners.training.weights import load_weights, save_weights
from search_space.architecture import Architecture, Branch, Stage
from search_space.errors import WeightsError
from search_space.models.building import build
from search_space.models.model import VisionModel
from search_space.ops import Dense

ARCHITECTURE = Architecture(8, 4, (Stage(1, 8, (Branch(Dense("channel", 16)),)),), in_channels=1, classes=5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_weights(build(ARCHITECTURE, generator=torch.Generator().manual_seed(1)), tmp_path / "weights", (0.25,), (0.5,))
    return tmp_path / "weights"


@pytest.fixture
def model() -> VisionModel:
    return build(ARCHITECTURE, generator=torch.Generator().manual_seed(2))


def refusal(model: VisionModel, path: Path) -> str:
    """The message, once it is clear that the model was left alone."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises((WeightsError, FileFailure)) as caught:
        load_weights(model, path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 700
    return str(caught.value)


def test_what_is_saved_is_loaded(model, path):
    assert load_weights(model, path) == ((0.25,), (0.5,))
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in load_file(path).items())


@pytest.mark.parametrize(
    ("name", "tensor", "words"),
    [
        ("head.bias", None, "head.bias is missing"),
        ("head.bias", torch.zeros(6), r"head.bias is (6,) where this model needs (5,)"),
        ("head.bias", torch.zeros([1] * 300), "head.bias is (1, 1, 1"),
        ("head.bias", torch.zeros(5, dtype=torch.int32), "head.bias is of torch.int32, not torch.float32"),
        ("head.bias", torch.zeros(5, dtype=torch.complex64), "head.bias is of torch.complex64, not torch.float32"),
        ("\x1b[2J" + "x" * 3000, torch.zeros(5), "is not needed"),
    ],
)
def test_one_tensor_that_does_not_fit_leaves_all_others_out(model, path, name, tensor, words):
    state = {**load_file(path), name: tensor}
    metadata = {"normalisation": '{"mean": [0.25], "std": [0.5]}'}
    save_file({key: value for key, value in state.items() if value is not None}, path, metadata)
    assert words in refusal(model, path)


@pytest.mark.parametrize(
    "said",
    [
        *("", "{", "null", "[]", "{}", '{"mean": 1, "std": 1}', '{"mean": [1]}', '{"mean": ["a"], "std": [1]}'),
        *('{"mean": [0], "std": [0]}', '{"mean": [0], "std": [-1]}', '{"mean": [NaN], "std": [1]}', "[" * 10_000),
        *('{"mean": [0, 0], "std": [1, 1]}', '{"mean": [], "std": []}', json.dumps({"mean": [10**400], "std": [1]})),
    ],
)
def test_images_cannot_be_normalised_by_anything(model, path, said: str):
    save_file(load_file(path), path, {"normalisation": said})
    assert "normalised" in refusal(model, path)


def test_a_folder_is_no_file_of_weights(model, tmp_path: Path):
    assert "cannot be read" in refusal(model, tmp_path) or "does not hold weights" in refusal(model, tmp_path)


@pytest.mark.parametrize("length", [0, 1, 2**20, 2**63, 2**64 - 1])
def test_a_header_of_any_length(model, path, length: Any):
    path.write_bytes(length.to_bytes(8, "little") + path.read_bytes()[8:])
    assert "does not hold weights of this architecture" in refusal(model, path)

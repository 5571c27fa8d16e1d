"""Published ways to start weights, measured on what they give."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from search_space import build, zoo
from search_space.models.initialisation import Scheme, start

# Deviation of a 192 x 192 linear layer: 0.7 / sqrt(192); as is; Xavier sqrt(2 / (192 + 192)); uniform in 1 / sqrt(192).
DEVIATIONS = {"adaptive": 0.0505, "truncated_normal": 0.02, "xavier": 0.0722, "pytorch": 0.0417}


@pytest.mark.parametrize("scheme", get_args(Scheme))
def test_deviation_of_a_linear_layer(scheme: Scheme) -> None:
    model = build(zoo.get("vit_ti16"), scheme=scheme)
    proj = model.stages[0][0][0].op.proj
    assert proj.weight.std().item() == pytest.approx(DEVIATIONS[scheme], rel=0.02)
    assert abs(proj.weight.mean().item()) < 0.001
    assert model.position is not None
    assert model.position.std().item() == pytest.approx(0.4 if scheme == "adaptive" else 0.02, rel=0.02)


@pytest.mark.parametrize(("scheme", "largest"), [("adaptive", 0), ("truncated_normal", 0), ("xavier", 1e-5)])
def test_biases(scheme: Scheme, largest: float) -> None:
    model = build(zoo.get("vit_ti16"), scheme=scheme)
    biases = [m.bias.abs().max().item() for m in model.modules() if isinstance(m, nn.Linear)]
    assert max(biases) <= largest
    assert largest == 0 or max(biases) > 0


def test_xavier_is_timms_start_of_mixer() -> None:
    """Head 0, stem from LeCun's normal (768 inputs) with bias 0."""
    model = build(zoo.get("mixer_s16"), scheme="xavier")
    assert not model.head.weight.any()
    assert not model.head.bias.any()
    assert model.stem.weight.std().item() == pytest.approx(768**-0.5, rel=0.02)
    assert not model.stem.bias.any()


@pytest.mark.parametrize("name", [next(iter(family.variants)) for family in zoo.FAMILIES.values()])
def test_an_op_with_its_own_initialisation_keeps_it_in_every_scheme(name: str) -> None:
    entry = zoo.entry(name)
    model = build(entry.architecture, scheme=entry.family.initialisation)
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    if entry.family.name == "gmlp":
        spatial = model.stages[0][0][0].op.spatial
        assert (spatial.bias == 1).all()
        assert spatial.weight.abs().max() < 1e-5
    if entry.family.name == "resmlp":
        assert (model.stages[0][0][0].gamma == 0.1).all()


def test_the_same_generator_gives_the_same_weights() -> None:
    first, second = (
        build(zoo.get("vit_ti16", image_size=32), generator=torch.Generator().manual_seed(5), scheme="xavier")
        for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_wide_layer_keeps_the_published_deviation() -> None:
    """Of 2500 inputs 0.7 / sqrt(2500) is 0.014, less than 0.02."""
    layer = nn.Linear(2500, 40)
    start(layer, torch.Generator().manual_seed(0), "adaptive")
    assert layer.weight.std().item() == pytest.approx(0.02, rel=0.02)

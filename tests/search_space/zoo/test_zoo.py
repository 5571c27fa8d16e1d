"""Every published system against measured counts of its reference code, and against what was published."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from search_space import zoo
from search_space.architecture import Architecture
from search_space.diagram import diagram
from search_space.errors import ArchitectureError
from search_space.models.model import VisionModel

with (Path(__file__).parents[1] / "published.csv").open(encoding="utf-8") as _file:
    ROWS = {row["name"]: row for row in csv.DictReader(_file)}
MEASURED = [name for name, row in ROWS.items() if row["params"]]


def test_the_zoo_has_every_variant() -> None:
    assert set(zoo.names()) == set(ROWS)
    assert len(zoo.names()) == len(ROWS) == 45
    assert list(zoo.FAMILIES) == ["vit", "mixer", "ff_only", "resmlp", "gmlp", "vip", "repmlp"]


@pytest.mark.parametrize("name", MEASURED)
def test_closed_form_counts_are_those_of_the_reference_code(name: str) -> None:
    architecture = zoo.get(name)
    row = ROWS[name]
    assert (architecture.params, architecture.macs) == (int(row["params"]), int(row["macs"]))


@pytest.mark.parametrize("name", ROWS)
def test_closed_form_counts_are_those_of_the_model(name: str) -> None:
    """Parameters counted one by one; MACs by torch's counter, which counts 2 FLOPs for each, in the unfused form."""
    architecture = zoo.get(name)
    with torch.device("meta"):
        model = VisionModel(architecture).eval()
        images = torch.empty(1, 3, architecture.image_size, architecture.image_size)
    assert architecture.params == sum(parameter.numel() for parameter in model.parameters())
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        assert model(images).shape == (1, 1000)
    assert 2 * architecture.macs == counter.get_total_flops()


@pytest.mark.parametrize("name", ROWS)
def test_published_figures_and_what_differs_from_them(name: str) -> None:
    entry, row = zoo.entry(name), ROWS[name]
    assert entry.architecture.image_size == int(row["input"])
    figures = [float(row[key]) if row[key] else None for key in ("published_params_M", "published_GFLOPs")]
    assert [entry.published.params_m, entry.published.gflops] == figures
    assert entry.published.top1 == (float(row["published_top1"]) if row["published_top1"] else None)
    assert bool(entry.published.source) == any(row[key] for key in ("published_params_M", "published_top1"))
    assert entry.note or not entry.differences()


def test_differences_are_told_from_rounding() -> None:
    """ResMLP-S12 has 15.35M parameters, published as 15.4; gMLP-B 73.08M, published as 73.4."""
    assert zoo.entry("resmlp_s12").differences() == []
    assert zoo.entry("mixer_b16").params_as_published == 59_880_472 - 769 * 1000  # without the head
    assert zoo.entry("gmlp_b16").flops_as_published == 2 * 15_720_452_096
    assert zoo.entry("gmlp_b16").differences() == [
        "73.08M parameters, published 73.4",
        "31.44 GFLOPs, published 31.6",
    ]
    assert [name for name in zoo.names() if zoo.entry(name).differences()] == [
        "vit_l16",
        "mixer_l16",
        "gmlp_b16",
        "repmlpnet_b224 (deploy)",
        "repmlpnet_l256",
        "repmlpnet_l256 (deploy)",
    ]


def test_macs_per_parameter() -> None:
    """From the measured counts: ViP-S/7 275, ViP-S/14 229, ViT-S/16 209, ViT-B/16 203."""
    found = {name: round(zoo.entry(name).macs_per_param) for name in ("vip_s7", "vip_s14", "vit_s16", "vit_b16")}
    assert found == {"vip_s7": 275, "vip_s14": 229, "vit_s16": 209, "vit_b16": 203}


@pytest.mark.parametrize(("name", "growth"), [("mixer_b16", 4.000), ("vit_b16", 4.469), ("ff_only_b16", 6.393)])
def test_growth_of_macs_from_224_to_448(name: str, growth: float) -> None:
    """Mixer is linear in tokens at a fixed D_S; FF-only's hidden width grows with the tokens."""
    assert zoo.get(name, image_size=448).macs / zoo.get(name).macs == pytest.approx(growth, abs=5e-4)


@pytest.mark.parametrize("name", ROWS)
def test_every_model_is_a_point_of_the_space_like_any_other(name: str) -> None:
    architecture = zoo.get(name)
    assert Architecture.from_yaml(architecture.to_yaml()) == architecture
    assert architecture.deployed.deployed == architecture.deployed
    assert (architecture.deployed == architecture) == (not name.startswith("repmlpnet") or name.endswith("(deploy)"))
    assert f"x {architecture.stages[0].depth}\n" in diagram(architecture)
    assert max(map(len, diagram(architecture).splitlines())) <= 80


def test_no_two_models_are_the_same() -> None:
    assert len({zoo.get(name).hash for name in zoo.names()}) == 45


def test_deployed_forms() -> None:
    for name in zoo.names():
        if name.endswith(" (deploy)"):
            assert zoo.get(name.removesuffix(" (deploy)")).deployed == zoo.get(name)


def test_other_images_and_classes() -> None:
    other = zoo.get("vip_s7", image_size=112, in_channels=1, classes=10)
    assert (other.image_size, other.in_channels, other.classes) == (112, 1, 10)
    assert [stage.block[0].op.segments for stage in other.stages] == [16, 8]
    assert zoo.get("vip_s7", image_size=224) == zoo.get("vip_s7")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "mixerb16"}, "there is no model 'mixerb16' in the zoo; allowed: "),
        ({"name": "mixerb16"}, "did you mean 'mixer_b16'?"),
        ({"name": "vit_s16", "image_size": 200}, "image_size is 200, patch is 16"),
        ({"name": "vip_s14", "image_size": 238}, "permute needs C divisible by its segments; C is 384, segments is 17"),
        ({"name": "repmlpnet_t224", "image_size": 36}, "a grid of 9 x 9 tokens cannot be halved"),
        ({"name": "vit_s16", "classes": 0}, "classes must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused_with_the_rule(arguments: dict, words: str) -> None:
    with pytest.raises(ArchitectureError) as caught:
        zoo.get(**arguments)
    assert words in str(caught.value)


EPS = {"vit": 1e-6, "mixer": 1e-6, "ff_only": 1e-6, "gmlp": 1e-6, "vip": 1e-5, "repmlp": 1e-5}
GAMMA = {"resmlp_s12": 0.1, "resmlp_s24": 1e-5, "resmlp_s36": 1e-6, "resmlp_b24_16": 1e-6, "resmlp_b24_8": 1e-6}


@pytest.mark.parametrize("name", ROWS)
def test_what_no_count_shows_is_that_of_the_reference_code(name: str) -> None:
    """PyTorch's epsilon of 1e-5, or 1e-6 as in timm; Affine has none. Layer scales stand in resmlp_models.py."""
    family, architecture = zoo.entry(name).family.name, zoo.get(name)
    branches = [branch for stage in architecture.stages for branch in stage.block]
    if family != "resmlp":
        assert {branch.eps for branch in branches} | {architecture.final_eps} == {EPS[family]}
    assert {branch.layer_scale for branch in branches} == {GAMMA.get(name)}


def test_every_family_starts_as_its_authors_start_it() -> None:
    assert {family.name: family.initialisation for family in zoo.FAMILIES.values()} == {
        **dict.fromkeys(("vit", "ff_only", "resmlp", "vip"), "truncated_normal"),
        **dict.fromkeys(("mixer", "gmlp"), "xavier"),
        "repmlp": "pytorch",
    }

"""Models filled with timm's weights compute what timm computes: outputs and gradients, in float64."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from runners.data.torchvision_import import import_torchvision
from search_space import zoo
from search_space.architecture import Architecture, Branch, Stage
from search_space.models.building import build
from search_space.models.model import VisionModel
from search_space.models.published import load_published
from search_space.ops import Attention, Dense

Reference = Callable[..., nn.Module]


@dataclass(frozen=True)
class Case:
    """A model of timm with the settings that make it small, and the same architecture of ours."""

    name: str
    architecture: Architecture
    settings: dict[str, Any] = field(default_factory=dict)


def vit(*, layer_scale: float | None = None, qkv_bias: bool = True, **changes: Any) -> Architecture:
    """ViT-Ti/16 of two blocks for images of 64 x 64."""
    ops = (Attention(3, qkv_bias), Dense("channel", 768))
    stage = Stage(2, 192, tuple(Branch(op, layer_scale=layer_scale) for op in ops))
    token = {"class_token": True, "pooling": "class_token"}
    return Architecture(64, 16, (stage,), **{"position": "learned", "classes": 10, **token, **changes})


GMIXER = replace(
    zoo.get("mixer_s16"),
    stages=(
        Stage(
            12,
            384,
            (
                Branch(Dense("token", 384, activation="silu", glu=True)),
                Branch(Dense("channel", 1536, activation="silu", glu=True)),
            ),
        ),
    ),
)
TIMM_NAMES = {
    "vit_ti16": "vit_tiny_patch16_224",
    "vit_s16": "vit_small_patch16_224",
    "vit_s32": "vit_small_patch32_224",
    "vit_b16": "vit_base_patch16_224",
    "vit_b32": "vit_base_patch32_224",
    "vit_l16": "vit_large_patch16_224",
    "vit_l32": "vit_large_patch32_224",
    "vit_h14": "vit_huge_patch14_224",
    **{name: f"{name}_224" for name in ("mixer_s32", "mixer_s16", "mixer_b32", "mixer_b16", "mixer_l32", "mixer_l16")},
    "resmlp_s12": "resmlp_12_224",
    "resmlp_s24": "resmlp_24_224",
    "resmlp_s36": "resmlp_36_224",
    "resmlp_b24_8": "resmlp_big_24_224",
    **{name: f"{name}_224" for name in ("gmlp_ti16", "gmlp_s16", "gmlp_b16")},
}
"""Every model of the zoo that timm has."""
PUBLISHED = {
    "vit": Case("vit_tiny_patch16_224", zoo.get("vit_ti16")),
    "deit": Case("deit_small_patch16_224", zoo.get("vit_s16")),
    "mixer 32": Case("mixer_s32_224", zoo.get("mixer_s32")),
    "mixer 16": Case("mixer_s16_224", zoo.get("mixer_s16")),
    "resmlp": Case("resmlp_12_224", zoo.get("resmlp_s12")),
    "gmlp": Case("gmlp_ti16_224", zoo.get("gmlp_ti16")),
    "gmixer": Case("gmixer_12_224", GMIXER),
}
TINY = {"img_size": 64, "num_classes": 10}
SMALL = {
    "vit": Case("vit_tiny_patch16_224", vit(), {**TINY, "depth": 2}),
    "vit, grey": Case("vit_tiny_patch16_224", vit(in_channels=1), {**TINY, "depth": 2, "in_chans": 1}),
    "vit, layer scale, no bias": Case(
        "vit_tiny_patch16_224",
        vit(layer_scale=0.1, qkv_bias=False),
        {**TINY, "depth": 2, "init_values": 0.1, "qkv_bias": False},
    ),
    "vit, norm after pooling": Case(
        "vit_tiny_patch16_224",
        vit(class_token=False, pooling="gap", norm_after_pooling=True),
        {**TINY, "depth": 2, "class_token": False, "global_pool": "avg"},
    ),
    "vit, norm before pooling": Case(
        "vit_tiny_patch16_224",
        vit(class_token=False, pooling="gap"),
        {**TINY, "depth": 2, "class_token": False, "global_pool": "avg", "fc_norm": False},
    ),
    "deit": Case("deit_tiny_patch16_224", vit(), {**TINY, "depth": 2}),
    **{
        name: Case(PUBLISHED[name].name, replace(PUBLISHED[name].architecture.at(64), classes=10), TINY)
        for name in ("mixer 32", "mixer 16", "resmlp", "gmlp", "gmixer")
    },
}


@pytest.fixture(scope="module")
def timm() -> ModuleType:
    import_torchvision()  # timm imports it, which fails next to a torch without CUDA
    return importlib.import_module("timm")


@pytest.fixture
def reference(timm: ModuleType) -> Reference:
    """A model of timm in float64, every parameter drawn, as its heads and layer scales start near 0."""

    def make(case: Case) -> nn.Module:
        model = timm.create_model(case.name, pretrained=False, **case.settings).double().eval()
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0, 0.1, generator=generator)
        return model

    return make


def draw(architecture: Architecture, count: int) -> Tensor:
    shape = (count, architecture.in_channels, architecture.image_size, architecture.image_size)
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def close(actual: Tensor, expected: Tensor, least: float = 0.0) -> None:
    """Assert equality to 1e-10 of the largest value, or of `least` if that is larger."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10 * max(expected.abs().max().item(), least))


@torch.no_grad()
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_are_timms(name: str, reference: Reference) -> None:
    case = PUBLISHED[name]
    theirs, ours = reference(case), build(case.architecture).double().eval()
    report = load_published(ours, theirs.state_dict())
    assert sorted(report.loaded) == sorted(theirs.state_dict())
    assert (report.missing, report.unexpected, report.mismatched, report.notes) == ((), (), (), ())
    assert case.architecture.params == sum(parameter.numel() for parameter in theirs.parameters())
    images = draw(case.architecture, 1)
    close(ours(images), theirs(images))


@pytest.mark.parametrize("name", SMALL)
def test_losses_and_gradients_are_timms(name: str, reference: Reference) -> None:
    case = SMALL[name]
    theirs, ours = reference(case).train(), build(case.architecture).double().train()
    load_published(ours, theirs.state_dict())
    images, labels = draw(case.architecture, 2), torch.tensor([3, 7])
    losses = [functional.cross_entropy(model(images), labels) for model in (theirs, ours)]
    for loss in losses:
        loss.backward()
    close(losses[1], losses[0])
    expected = build(case.architecture).double()  # gradients have the names and shapes of their parameters
    load_published(expected, {key: parameter.grad for key, parameter in theirs.named_parameters()})
    # A shift of a token in all channels is undone by the next LayerNorm, so some gradients are 0 but for rounding.
    rounding = 1e-6 * max(gradient.abs().max().item() for gradient in expected.parameters())
    for parameter, gradient in zip(ours.parameters(), expected.parameters(), strict=True):
        assert gradient.abs().max() > 0
        close(parameter.grad, gradient.detach(), least=rounding)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("image_size", [32, 96, 384])
def test_positions_are_interpolated_as_in_timm(
    timm: ModuleType, reference: Reference, image_size: int, dtype: torch.dtype
) -> None:
    from timm.layers import resample_abs_pos_embed

    theirs, side = reference(SMALL["vit"]).to(dtype), image_size // 16
    ours = build(vit().at(image_size)).to(dtype)
    report = load_published(ours, theirs.state_dict())
    assert report.notes == (f"positions were interpolated from 4 x 4 to {side} x {side}",)
    assert "pos_embed" in report.loaded
    assert ours.position is not None
    assert torch.equal(ours.position, resample_abs_pos_embed(theirs.pos_embed, [side, side]))


@torch.no_grad()
def test_a_vit_for_other_images_is_timms(timm: ModuleType, reference: Reference) -> None:
    from timm.models.vision_transformer import checkpoint_filter_fn

    case = SMALL["vit, norm after pooling"]
    state = reference(case).state_dict()
    larger = Case(case.name, case.architecture.at(96), {**case.settings, "img_size": 96})
    theirs, ours = reference(larger), build(larger.architecture).double().eval()
    theirs.load_state_dict(checkpoint_filter_fn(dict(state), theirs))
    load_published(ours, state)
    images = draw(larger.architecture, 2)
    close(ours(images), theirs(images))


@pytest.mark.parametrize("name", TIMM_NAMES)
def test_every_model_that_timm_has_is_as_large_as_timms(name: str, timm: ModuleType) -> None:
    with torch.device("meta"):
        theirs = timm.create_model(TIMM_NAMES[name], pretrained=False, num_classes=1000)
        ours = VisionModel(zoo.get(name))
    sizes = [sorted(parameter.numel() for parameter in model.parameters()) for model in (theirs, ours)]
    assert sizes[0] == sizes[1]
    assert zoo.get(name).params == sum(sizes[0])

"""Weights published elsewhere: every key map against names and shapes written by hand, and every refusal."""

from __future__ import annotations

import argparse
import itertools
import pickle
import tarfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from search_space.architecture import Architecture, Branch, Stage
from search_space.errors import WeightsError
from search_space.models.building import build
from search_space.models.model import VisionModel
from search_space.models.published import LoadReport, Mismatch, MismatchError, load_published
from search_space.ops import Attention, Dense, Gating, Op, Permute, RepMLP

Shapes = dict[str, tuple[int, ...]]
State = dict[str, Tensor]


def linear(name: str, inputs: int, outputs: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), **({f"{name}.bias": (outputs,)} if bias else {})}


def conv(name: str, inputs: int, outputs: int, side: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (outputs, inputs, side, side), **({f"{name}.bias": (outputs,)} if bias else {})}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def batchnorm(name: str, width: int) -> Shapes:
    buffers = {f"{name}.{buffer}": (width,) for buffer in ("running_mean", "running_var")}
    return {**norm(name, width), **buffers, f"{name}.num_batches_tracked": ()}


def affine(name: str, *shape: int) -> Shapes:
    return {f"{name}.alpha": shape, f"{name}.beta": shape}


def net(*ops: Op, dim: int = 8, depth: int = 2, branch: dict[str, Any] | None = None, **changes: Any) -> Architecture:
    """8 x 8 images in 16 patches, 5 classes; a ViT-like start where there is a class token."""
    stages = (Stage(depth, dim, tuple(Branch(op, **(branch or {})) for op in ops)),)
    if changes.get("class_token"):
        changes = {"position": "learned", "pooling": "class_token", **changes}
    return Architecture(**{"image_size": 8, "patch": 2, "stages": stages, "classes": 5, **changes})


def each_block(*shapes: Callable[[str], Shapes], blocks: tuple[str, ...] = ("blocks.0", "blocks.1")) -> Shapes:
    return {name: shape for block in blocks for make in shapes for name, shape in make(block).items()}


VIT = net(Attention(2), Dense("channel", 24), class_token=True)
VIT_SHAPES = {
    **{"cls_token": (1, 1, 8), "pos_embed": (1, 17, 8), **conv("patch_embed.proj", 3, 8, 2)},
    **each_block(
        lambda block: norm(f"{block}.norm1", 8),
        lambda block: linear(f"{block}.attn.qkv", 8, 24) | linear(f"{block}.attn.proj", 8, 8),
        lambda block: norm(f"{block}.norm2", 8),
        lambda block: linear(f"{block}.mlp.fc1", 8, 24) | linear(f"{block}.mlp.fc2", 24, 8),
    ),
    **{**norm("norm", 8), **linear("head", 8, 5)},
}
MIXER = net(Dense("token", 12), Dense("channel", 24))
MIXER_SHAPES = {
    **conv("stem.proj", 3, 8, 2),
    **each_block(
        lambda block: norm(f"{block}.norm1", 8),
        lambda block: linear(f"{block}.mlp_tokens.fc1", 16, 12) | linear(f"{block}.mlp_tokens.fc2", 12, 16),
        lambda block: norm(f"{block}.norm2", 8),
        lambda block: linear(f"{block}.mlp_channels.fc1", 8, 24) | linear(f"{block}.mlp_channels.fc2", 24, 8),
    ),
    **{**norm("norm", 8), **linear("head", 8, 5)},
}
RESMLP = net(Dense("token"), Dense("channel", 32), branch={"norm": "affine", "layer_scale": 0.1}, final_norm="affine")
TIMM_RESMLP_SHAPES = {
    **conv("stem.proj", 3, 8, 2),
    **each_block(
        lambda block: {f"{block}.ls1": (8,), f"{block}.ls2": (8,)},
        lambda block: affine(f"{block}.norm1", 1, 1, 8) | linear(f"{block}.linear_tokens", 16, 16),
        lambda block: affine(f"{block}.norm2", 1, 1, 8),
        lambda block: linear(f"{block}.mlp_channels.fc1", 8, 32) | linear(f"{block}.mlp_channels.fc2", 32, 8),
    ),
    **{**affine("norm", 1, 1, 8), **linear("head", 8, 5)},
}
OFFICIAL_RESMLP_SHAPES = {
    **conv("patch_embed.proj", 3, 8, 2),
    **each_block(
        lambda block: {f"{block}.gamma_1": (8,), f"{block}.gamma_2": (8,)},
        lambda block: affine(f"{block}.norm1", 8) | linear(f"{block}.attn", 16, 16),
        lambda block: affine(f"{block}.norm2", 8),
        lambda block: linear(f"{block}.mlp.fc1", 8, 32) | linear(f"{block}.mlp.fc2", 32, 8),
    ),
    **{**affine("norm", 8), **linear("head", 8, 5)},
}
GMLP = net(Gating(24))
GMLP_SHAPES = {
    **conv("stem.proj", 3, 8, 2),
    **each_block(
        lambda block: norm(f"{block}.norm", 8) | linear(f"{block}.mlp_channels.fc1", 8, 24),
        lambda block: norm(f"{block}.mlp_channels.gate.norm", 12) | linear(f"{block}.mlp_channels.gate.proj", 16, 16),
        lambda block: linear(f"{block}.mlp_channels.fc2", 12, 8),
    ),
    **{**norm("norm", 8), **linear("head", 8, 5)},
}
FF_ONLY = Architecture(
    image_size=8,
    patch=2,
    classes=5,
    class_token=True,
    position="learned",
    pooling="class_token",
    stages=(Stage(2, 8, (Branch(Dense("channel", 32)), Branch(Dense("token", 68), norm_axis="token"))),),
)
FF_ONLY_SHAPES = {
    **{"cls_token": (1, 1, 8), "pos_encoding.pos_embed": (1, 8, 4, 4), "pos_encoding.cls_pos_embed": (1, 1, 8)},
    **conv("patch_embed.proj", 3, 8, 2),
    **each_block(
        lambda block: linear(f"{block}.mlp1.fc1", 8, 32) | linear(f"{block}.mlp1.fc2", 32, 8),
        lambda block: norm(f"{block}.norm1", 8),
        lambda block: linear(f"{block}.mlp2.fc1", 17, 68) | linear(f"{block}.mlp2.fc2", 68, 17),
        lambda block: norm(f"{block}.norm2", 17),
    ),
    **{**norm("norm", 8), **linear("head", 8, 5)},
}


def vip(*stages: tuple[int, int, int, str]) -> Architecture:
    """Stages of (depth, dim, segments, downsample)."""
    made = [
        Stage(depth, dim, (Branch(Permute(side), eps=1e-5), Branch(Dense("channel", 3 * dim), eps=1e-5)), down)
        for depth, dim, side, down in stages
    ]
    return Architecture(image_size=8, patch=2, classes=5, stages=tuple(made), final_eps=1e-5)


def vip_block(block: str, dim: int) -> Shapes:
    return {
        **{**norm(f"{block}.norm1", dim), **linear(f"{block}.attn.mlp_c", dim, dim, bias=False)},
        **linear(f"{block}.attn.mlp_h", dim, dim, bias=False),
        **linear(f"{block}.attn.mlp_w", dim, dim, bias=False),
        **linear(f"{block}.attn.reweight.fc1", dim, dim // 4),
        **linear(f"{block}.attn.reweight.fc2", dim // 4, 3 * dim),
        **{**linear(f"{block}.attn.proj", dim, dim), **norm(f"{block}.norm2", dim)},
        **{**linear(f"{block}.mlp.fc1", dim, 3 * dim), **linear(f"{block}.mlp.fc2", 3 * dim, dim)},
    }


VIP = vip((1, 8, 4, "none"), (2, 8, 4, "none"), (3, 16, 2, "conv2"))
VIP_SHAPES = {  # stages of 2, 1, then halved, 1, 2 blocks: the cuts are not ours
    **conv("patch_embed.proj", 3, 8, 2),
    **vip_block("network.0.0", 8),
    **vip_block("network.0.1", 8),
    **vip_block("network.1.0", 8),
    **conv("network.2.proj", 8, 16, 2),
    **vip_block("network.3.0", 16),
    **vip_block("network.4.0", 16),
    **vip_block("network.4.1", 16),
    **{**norm("norm", 16), **linear("head", 16, 5)},
}


def repmlpnet(deploy: bool) -> Architecture:
    def block(dim: int, sets: int) -> tuple[Branch, ...]:
        ops = (RepMLP(sets, deploy=deploy), Dense("channel", 4 * dim, batchnorm=True))
        return tuple(Branch(op, "batchnorm", eps=1e-5) for op in ops)

    stages = (Stage(1, 8, block(8, 2)), Stage(2, 16, block(16, 4), "conv2_bn_relu"))
    return Architecture(8, 2, stages, classes=5, stem="conv_bn_relu", final_norm="batchnorm", final_eps=1e-5)


def repmlpnet_shapes(deploy: bool) -> Shapes:
    def block(name: str, dim: int, sets: int, tokens: int) -> Shapes:
        mix, ffn = f"{name}.repmlp_block", f"{name}.ffn_block"
        shapes = {
            **{**conv(f"{mix}.gp.fc1", dim, dim // 4, 1), **conv(f"{mix}.gp.fc2", dim // 4, dim, 1)},
            f"{mix}.fc3.weight": (sets * tokens, tokens, 1, 1),
            **{**conv(f"{ffn}.ffn_fc1.conv", dim, 4 * dim, 1, bias=False), **batchnorm(f"{ffn}.ffn_fc1.bn", 4 * dim)},
            **{**conv(f"{ffn}.ffn_fc2.conv", 4 * dim, dim, 1, bias=False), **batchnorm(f"{ffn}.ffn_fc2.bn", dim)},
            **{**batchnorm(f"{name}.prebn1", dim), **batchnorm(f"{name}.prebn2", dim)},
        }
        if deploy:
            return shapes | {f"{mix}.fc3.bias": (sets * tokens,)}
        for side in (1, 3):
            shapes |= conv(f"{mix}.repconv{side}.conv", 1, sets, side, bias=False)
            shapes |= batchnorm(f"{mix}.repconv{side}.bn", sets)
        return shapes | batchnorm(f"{mix}.fc3_bn", sets)

    return {
        **{**conv("conv_embedding.conv", 3, 8, 2, bias=False), **batchnorm("conv_embedding.bn", 8)},
        **block("stages.0.0", 8, 2, 16),
        **{**block("stages.1.0", 16, 4, 4), **block("stages.1.1", 16, 4, 4)},
        **{**conv("embeds.0.conv", 8, 16, 2, bias=False), **batchnorm("embeds.0.bn", 16)},
        **{**batchnorm("head_norm", 16), **linear("head", 16, 5)},
    }


CASES: dict[str, tuple[Architecture, str, Shapes]] = {
    "vit": (VIT, "timm", VIT_SHAPES),
    "mixer": (MIXER, "timm", MIXER_SHAPES),
    "resmlp": (RESMLP, "timm", TIMM_RESMLP_SHAPES),
    "gmlp": (GMLP, "timm", GMLP_SHAPES),
    "official resmlp": (RESMLP, "official", OFFICIAL_RESMLP_SHAPES),
    "ff-only": (FF_ONLY, "official", FF_ONLY_SHAPES),
    "vip": (VIP, "official", VIP_SHAPES),
    "repmlpnet": (repmlpnet(deploy=False), "official", repmlpnet_shapes(deploy=False)),
    "repmlpnet, deployed": (repmlpnet(deploy=True), "official", repmlpnet_shapes(deploy=True)),
}
PLACES: dict[str, dict[str, tuple[str, tuple[int, ...]]]] = {
    "vit": {
        "class_token": ("cls_token", (1, 1, 8)),
        "position": ("pos_embed", (1, 17, 8)),
        "stages.0.1.0.op.qkv.weight": ("blocks.1.attn.qkv.weight", (24, 8)),
        "stages.0.1.0.op.proj.bias": ("blocks.1.attn.proj.bias", (8,)),
        "stages.0.1.1.op.fc2.weight": ("blocks.1.mlp.fc2.weight", (8, 24)),
    },
    "mixer": {
        "stem.weight": ("stem.proj.weight", (8, 3, 2, 2)),
        "stages.0.0.0.norm.bias": ("blocks.0.norm1.bias", (8,)),
        "stages.0.1.0.op.fc1.weight": ("blocks.1.mlp_tokens.fc1.weight", (12, 16)),
        "stages.0.1.1.op.fc2.bias": ("blocks.1.mlp_channels.fc2.bias", (8,)),
    },
    "resmlp": {
        "stages.0.1.0.norm.weight": ("blocks.1.norm1.alpha", (8,)),
        "stages.0.1.1.norm.bias": ("blocks.1.norm2.beta", (8,)),
        "stages.0.1.0.op.fc1.weight": ("blocks.1.linear_tokens.weight", (16, 16)),
        "stages.0.1.1.gamma": ("blocks.1.ls2", (8,)),
        "norm.weight": ("norm.alpha", (8,)),
    },
    "gmlp": {
        "stages.0.0.0.norm.weight": ("blocks.0.norm.weight", (8,)),
        "stages.0.0.0.op.fc1.weight": ("blocks.0.mlp_channels.fc1.weight", (24, 8)),
        "stages.0.0.0.op.norm.bias": ("blocks.0.mlp_channels.gate.norm.bias", (12,)),
        "stages.0.0.0.op.spatial.weight": ("blocks.0.mlp_channels.gate.proj.weight", (16, 16)),
        "stages.0.0.0.op.fc2.weight": ("blocks.0.mlp_channels.fc2.weight", (8, 12)),
    },
    "official resmlp": {
        "stages.0.0.0.op.fc1.bias": ("blocks.0.attn.bias", (16,)),
        "stages.0.1.0.gamma": ("blocks.1.gamma_1", (8,)),
        "stages.0.1.1.op.fc1.weight": ("blocks.1.mlp.fc1.weight", (32, 8)),
        "norm.bias": ("norm.beta", (8,)),
    },
    "ff-only": {
        "stages.0.1.0.norm.weight": ("blocks.1.norm1.weight", (8,)),
        "stages.0.1.0.op.fc1.weight": ("blocks.1.mlp1.fc1.weight", (32, 8)),
        "stages.0.1.1.norm.weight": ("blocks.1.norm2.weight", (17,)),
        "stages.0.1.1.op.fc2.weight": ("blocks.1.mlp2.fc2.weight", (17, 68)),
    },
    "vip": {
        "stages.0.0.0.op.height.weight": ("network.0.0.attn.mlp_h.weight", (8, 8)),
        "stages.0.1.0.op.width.weight": ("network.0.1.attn.mlp_w.weight", (8, 8)),
        "stages.0.2.0.op.channel.weight": ("network.1.0.attn.mlp_c.weight", (8, 8)),
        "stages.1.0.conv.weight": ("network.2.proj.weight", (16, 8, 2, 2)),
        "stages.1.1.0.op.reweight1.weight": ("network.3.0.attn.reweight.fc1.weight", (4, 16)),
        "stages.1.2.0.op.reweight2.bias": ("network.4.0.attn.reweight.fc2.bias", (48,)),
        "stages.1.3.0.op.proj.weight": ("network.4.1.attn.proj.weight", (16, 16)),
        "stages.1.3.1.op.fc1.weight": ("network.4.1.mlp.fc1.weight", (48, 16)),
    },
    "repmlpnet": {
        "stem.conv.weight": ("conv_embedding.conv.weight", (8, 3, 2, 2)),
        "stem.norm.running_mean": ("conv_embedding.bn.running_mean", (8,)),
        "stages.0.0.0.norm.running_var": ("stages.0.0.prebn1.running_var", (8,)),
        "stages.0.0.0.op.weight": ("stages.0.0.repmlp_block.fc3.weight", (2, 16, 16)),
        "stages.0.0.0.op.norm.weight": ("stages.0.0.repmlp_block.fc3_bn.weight", (2,)),
        "stages.0.0.0.op.gate1.weight": ("stages.0.0.repmlp_block.gp.fc1.weight", (2, 8)),
        "stages.0.0.0.op.gate2.bias": ("stages.0.0.repmlp_block.gp.fc2.bias", (8,)),
        "stages.0.0.0.op.local.conv3.conv.weight": ("stages.0.0.repmlp_block.repconv3.conv.weight", (2, 1, 3, 3)),
        "stages.0.0.0.op.local.conv1.norm.bias": ("stages.0.0.repmlp_block.repconv1.bn.bias", (2,)),
        "stages.1.0.conv.conv.weight": ("embeds.0.conv.weight", (16, 8, 2, 2)),
        "stages.1.0.conv.norm.num_batches_tracked": ("embeds.0.bn.num_batches_tracked", ()),
        "stages.1.1.1.op.fc2.weight": ("stages.1.0.ffn_block.ffn_fc2.conv.weight", (16, 64)),
        "stages.1.2.1.op.norm1.weight": ("stages.1.1.ffn_block.ffn_fc1.bn.weight", (64,)),
        "stages.1.2.1.norm.weight": ("stages.1.1.prebn2.weight", (16,)),
        "norm.weight": ("head_norm.weight", (16,)),
    },
    "repmlpnet, deployed": {
        "stages.1.2.0.op.weight": ("stages.1.1.repmlp_block.fc3.weight", (4, 4, 4)),
        "stages.1.2.0.op.bias": ("stages.1.1.repmlp_block.fc3.bias", (4, 4)),
    },
}
"""Where published tensors are found: by our name, the published one and our shape."""


def draw(shapes: Shapes) -> State:
    """Values that are all different."""
    numbers = itertools.count(1)
    state: State = {}
    for name, shape in shapes.items():
        count = torch.Size(shape).numel()
        values = torch.tensor([float(next(numbers)) for _ in range(count)]).view(shape)
        state[name] = values.long() if name.endswith("num_batches_tracked") else values
    return state


def weights_of(model: VisionModel) -> State:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def refused(model: VisionModel, weights: Any, source: Any = "timm", **settings: Any) -> WeightsError:
    """The error, which is one sentence and leaves the model unchanged."""
    before = weights_of(model)
    with pytest.raises(WeightsError) as caught:
        load_published(model, weights, source, **settings)
    assert same(weights_of(model), before)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 700
    return caught.value


@pytest.fixture
def mixer() -> VisionModel:
    return build(MIXER)


@pytest.fixture
def mixer_state() -> State:
    return draw(MIXER_SHAPES)


# Key maps.


@pytest.mark.parametrize("name", CASES)
def test_every_published_tensor_lands_once(name: str) -> None:
    architecture, source, shapes = CASES[name]
    model, state = build(architecture).double(), draw(shapes)
    report = load_published(model, state, source)
    assert sorted(report.loaded) == sorted(shapes)
    assert (report.source, report.missing, report.unexpected, report.mismatched) == (source, (), (), ())
    landed = torch.cat([tensor.double().flatten() for tensor in model.state_dict().values()])
    assert sorted(landed.tolist()) == [float(number) for number in range(1, len(landed) + 1)]


@pytest.mark.parametrize("name", PLACES)
def test_it_lands_where_it_belongs(name: str) -> None:
    architecture, source, shapes = CASES[name]
    model, state = build(architecture), draw(shapes)
    load_published(model, state, source)
    for ours, (theirs, shape) in PLACES[name].items():
        assert torch.equal(model.state_dict()[ours], state[theirs].view(shape)), ours


def test_positions_of_ff_only_are_two_tensors() -> None:
    model, state = build(FF_ONLY), draw(FF_ONLY_SHAPES)
    load_published(model, state, "official")
    assert model.position is not None
    assert torch.equal(model.position[0, 0], state["pos_encoding.cls_pos_embed"][0, 0])
    for row, column in itertools.product(range(4), range(4)):
        expected = state["pos_encoding.pos_embed"][0, :, row, column]
        assert torch.equal(model.position[0, 1 + 4 * row + column], expected)


def test_positions_of_ff_only_may_have_a_grid_of_their_own() -> None:
    architecture = replace(FF_ONLY, position_grid=3)
    model, state = build(architecture), draw(FF_ONLY_SHAPES | {"pos_encoding.pos_embed": (1, 8, 3, 3)})
    load_published(model, state, "official")
    assert model.position is not None
    assert torch.equal(model.position[0, 1:].T.reshape(1, 8, 3, 3), state["pos_encoding.pos_embed"])


def test_vip_may_be_cut_as_the_file_likes() -> None:
    one_part = {name.replace("network.1.0", "network.0.2"): shape for name, shape in VIP_SHAPES.items()}
    one_part = {name.replace("network.2.proj", "network.1.proj"): shape for name, shape in one_part.items()}
    model, state = build(VIP), draw(one_part)
    load_published(model, state, "official")
    assert torch.equal(model.state_dict()["stages.0.2.0.op.proj.bias"], state["network.0.2.attn.proj.bias"])
    assert torch.equal(model.state_dict()["stages.1.0.conv.bias"], state["network.1.proj.bias"])


def test_vip_of_other_depths_names_the_blocks() -> None:
    shallow = {name: shape for name, shape in VIP_SHAPES.items() if not name.startswith("network.4.1")}
    error = refused(build(VIP), draw(shallow), "official")
    assert isinstance(error, MismatchError)
    assert set(error.missing) == set(vip_block("network.4.1", 16))
    assert (error.unexpected, error.mismatched) == ((), ())
    error = refused(build(VIP), draw(VIP_SHAPES | vip_block("network.1.1", 8)), "official")
    assert isinstance(error, MismatchError)
    assert (set(error.missing), set(error.unexpected)) == (set(), set(vip_block("network.1.1", 8)))


def test_permute_layers_come_with_a_note_for_images_of_another_size() -> None:
    note = "permute layers fit only the image size they were trained for, 224 as published"
    assert load_published(build(VIP), draw(VIP_SHAPES), "official").notes == (note,)


# Reports.


def test_the_dtype_is_the_models_own() -> None:
    model = build(repmlpnet(deploy=False)).to(torch.bfloat16)
    load_published(model, draw(repmlpnet_shapes(deploy=False)), "official")
    kinds = {name.endswith("num_batches_tracked"): tensor.dtype for name, tensor in model.state_dict().items()}
    assert kinds == {True: torch.int64, False: torch.bfloat16}


def test_the_models_own_memory_is_filled(mixer: VisionModel, mixer_state: State) -> None:
    before = [parameter.data_ptr() for parameter in mixer.parameters()]
    load_published(mixer, mixer_state)
    assert [parameter.data_ptr() for parameter in mixer.parameters()] == before
    assert all(parameter.requires_grad and parameter.grad_fn is None for parameter in mixer.parameters())


@pytest.fixture
def damaged(mixer_state: State) -> State:
    """One tensor of another shape, two missing, one too many."""
    del mixer_state["norm.bias"], mixer_state["blocks.0.norm1.weight"]
    return {**mixer_state, "head_dist.weight": torch.zeros(5, 8), "stem.proj.weight": torch.zeros(8, 1, 2, 2)}


def test_strict_names_everything_that_is_wrong(mixer: VisionModel, damaged: State) -> None:
    error = refused(mixer, damaged)
    assert str(error) == (
        "the mapping given does not fit this Mixer (names of timm): stem.proj.weight is (8, 1, 2, 2) where this "
        "model needs (8, 3, 2, 2); missing: blocks.0.norm1.weight, norm.bias; not needed: head_dist.weight"
    )
    assert isinstance(error, MismatchError)
    assert error.missing == ("blocks.0.norm1.weight", "norm.bias")
    assert error.unexpected == ("head_dist.weight",)
    reason = "is (8, 1, 2, 2) where this model needs (8, 3, 2, 2)"
    assert error.mismatched == (Mismatch("stem.proj.weight", (8, 1, 2, 2), (8, 3, 2, 2), reason),)


def test_otherwise_all_that_fits_is_loaded(mixer: VisionModel, damaged: State) -> None:
    before = weights_of(mixer)
    report = load_published(mixer, damaged, strict=False)
    assert isinstance(report, LoadReport)
    absent = {"blocks.0.norm1.weight", "norm.bias", "stem.proj.weight"}
    assert sorted(report.loaded) == sorted(MIXER_SHAPES.keys() - absent)
    assert (report.missing, report.unexpected) == (("blocks.0.norm1.weight", "norm.bias"), ("head_dist.weight",))
    assert [mismatch.name for mismatch in report.mismatched] == ["stem.proj.weight"]
    after = weights_of(mixer)
    kept = {name for name in before if torch.equal(before[name], after[name])}
    assert kept == {"stem.weight", "stages.0.0.0.norm.weight", "norm.bias"}


def test_weights_of_another_family_name_the_first_of_many(mixer: VisionModel) -> None:
    error = refused(mixer, draw(VIT_SHAPES))
    assert str(error) == (
        "the mapping given does not fit this Mixer (names of timm): missing: stem.proj.weight, stem.proj.bias, "
        "blocks.0.mlp_tokens.fc1.weight and 15 more; not needed: cls_token, pos_embed, patch_embed.proj.weight and 17 "
        "more"
    )
    assert isinstance(error, MismatchError)
    assert (len(error.missing), len(error.unexpected)) == (18, 20)


def test_weights_of_another_width_name_both_shapes() -> None:
    error = refused(build(net(Dense("token", 12), Dense("channel", 24), dim=16)), draw(MIXER_SHAPES))
    assert "stem.proj.weight is (8, 3, 2, 2) where this model needs (16, 3, 2, 2), stem.proj.bias is (8,)" in str(error)
    assert "more" in str(error)


def test_what_is_not_a_tensor_of_numbers_is_named(mixer: VisionModel, mixer_state: State) -> None:
    mixer_state["norm.bias"] = mixer_state["norm.bias"].long()
    wrong: dict[str, Any] = {**mixer_state, "norm.weight": [1.0] * 8, "head.bias": torch.empty(5, device="meta")}
    assert str(refused(mixer, wrong)).endswith(
        "norm.weight is of type list, not a tensor, norm.bias is of torch.int64, not torch.float32, "
        "head.bias has no values"
    )


# Another number of classes, another image size.


def test_another_number_of_classes_initialises_a_new_head(mixer_state: State) -> None:
    def head(**settings: Any) -> tuple[Tensor, LoadReport]:
        model = build(replace(MIXER, classes=7))
        report = load_published(model, mixer_state, **settings)
        assert torch.equal(model.head.bias, torch.zeros(7))
        return model.head.weight.detach(), report

    weight, report = head()
    assert report.notes == ("the head was initialised from scratch: the weights have 5 classes, the model 7",)
    assert sorted(report.loaded) == sorted(MIXER_SHAPES.keys() - {"head.weight", "head.bias"})
    assert (report.missing, report.unexpected, report.mismatched) == ((), (), ())
    assert torch.equal(weight, head(generator=torch.Generator().manual_seed(0))[0])
    assert not torch.equal(weight, head(generator=torch.Generator().manual_seed(1))[0])
    assert weight.std() > 0.1  # 0.7 / sqrt(8), as in `initialise`


def test_a_head_of_another_width_is_an_error(mixer: VisionModel, mixer_state: State) -> None:
    text = str(refused(mixer, {**mixer_state, "head.weight": torch.zeros(7, 9), "head.bias": torch.zeros(7)}))
    assert "head.weight is (7, 9) where this model needs (5, 8), head.bias is (7,) where this model needs (5,)" in text
    text = str(refused(mixer, {**mixer_state, "head.weight": torch.zeros(7, 8)}))
    assert "head.weight is (7, 8) where this model needs (5, 8)" in text


def test_positions_of_a_vit_are_resized_to_another_image_size() -> None:
    model, state = build(VIT.at(16)), draw(VIT_SHAPES)
    report = load_published(model, state)
    assert report.notes == ("positions were interpolated from 4 x 4 to 8 x 8",)
    assert sorted(report.loaded) == sorted(VIT_SHAPES)
    assert model.position is not None
    assert torch.equal(model.position[:, :1], state["pos_embed"][:, :1])
    means = [tensor[:, 1:].mean(dim=1) for tensor in (model.position, state["pos_embed"])]
    torch.testing.assert_close(means[0], means[1])  # by symmetry


@pytest.mark.parametrize("shape", [(1, 16, 8), (1, 17, 9), (17, 8), (2, 17, 8)])
def test_positions_that_are_no_grid_are_refused(shape: tuple[int, ...]) -> None:
    text = str(refused(build(VIT.at(16)), draw(VIT_SHAPES | {"pos_embed": shape})))
    assert f"pos_embed is {shape} where this model needs (1, 65, 8)" in text


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("mixer", "blocks.0.mlp_tokens.fc1.weight"),
        ("resmlp", "blocks.0.linear_tokens.weight"),
        ("gmlp", "blocks.0.mlp_channels.gate.proj.weight"),
        ("official resmlp", "blocks.0.attn.weight"),
        ("ff-only", "blocks.0.mlp2.fc1.weight"),
        ("repmlpnet", "stages.0.0.repmlp_block.fc3.weight"),
    ],
)
def test_token_mixing_weights_fit_one_image_size(name: str, tensor: str) -> None:
    architecture, source, shapes = CASES[name]
    error = refused(build(architecture.at(16)), draw(shapes), source)
    assert isinstance(error, MismatchError)
    reasons = {mismatch.name: mismatch.reason for mismatch in error.mismatched}
    tokens = (17, 65) if name == "ff-only" else (16, 64)
    assert reasons[tensor] == f"mixes {tokens[0]} tokens, this model has {tokens[1]}: it fits one image size only"
    assert "tokens, this model has" in str(error)


# Families.


def test_sources_without_a_key_map_are_refused() -> None:
    def text(architecture: Architecture, source: str) -> str:
        return str(refused(build(architecture), {"x": torch.zeros(1)}, source))

    assert text(VIT, "official") == "there is no key map for weights of ViT from 'official'; allowed: from 'timm'"
    assert text(VIP, "timm") == "there is no key map for weights of ViP from 'timm'; allowed: from 'official'"
    amlp = net(Gating(24, attention_dim=4))
    assert text(amlp, "timm") == "there is no key map for weights of aMLP from 'timm'; allowed: none"
    assert "weights from 'tim'; allowed: timm, official; did you mean 'timm'?" in text(VIT, "tim")


def test_blocks_of_no_family_are_refused() -> None:
    blocks = [(Branch(Attention(2)), Branch(Dense("channel", 8))), (Branch(Gating(8)),)]
    two = Architecture(8, 2, tuple(Stage(1, 8, block) for block in blocks), classes=5)
    text = str(refused(build(two), {"x": torch.zeros(1)}))
    assert text.startswith("there is no key map for blocks of attention + channel MLP and gating; allowed: ")
    assert "token MLP + channel MLP (Mixer)" in text


def test_norms_of_another_kind_are_refused() -> None:
    architecture = net(Dense("token", 12), Dense("channel", 24), branch={"norm": "affine"})
    text = str(refused(build(architecture), draw(MIXER_SHAPES)))
    assert text == "the norms of Mixer are layernorm; this model has affine"


def test_what_a_family_never_has_is_refused_or_stays() -> None:
    architecture = net(Dense("token", 12), Dense("channel", 24), branch={"layer_scale": 0.5})
    text = str(refused(build(architecture), draw(MIXER_SHAPES)))
    assert "stages.0.0.0.gamma, stages.0.0.1.gamma, stages.0.1.0.gamma and 1 more" in text
    model = build(architecture)
    report = load_published(model, draw(MIXER_SHAPES), strict=False)
    assert sorted(report.loaded) == sorted(MIXER_SHAPES)
    assert report.notes[0] == "stages.0.0.0.gamma is unknown to Mixer from timm and stays as it was"
    assert torch.equal(model.state_dict()["stages.0.0.0.gamma"], torch.full((8,), 0.5))


# Files.


@pytest.fixture
def files(tmp_path: Path, mixer_state: State) -> dict[str, Path]:
    """The same weights in every format that is read."""
    paths = {name: tmp_path / name for name in ("new.pth", "old.bin", "weights.safetensors")}
    torch.save(mixer_state, paths["new.pth"])
    torch.save(mixer_state, paths["old.bin"], _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(mixer_state, paths["weights.safetensors"])
    return paths


@pytest.mark.parametrize("name", ["new.pth", "old.bin", "weights.safetensors"])
def test_files(mixer: VisionModel, files: dict[str, Path], name: str) -> None:
    expected = build(MIXER)
    load_published(expected, torch.load(files["new.pth"], weights_only=True))
    report = load_published(mixer, str(files[name]))
    assert sorted(report.loaded) == sorted(MIXER_SHAPES)
    assert same(weights_of(mixer), weights_of(expected))


@pytest.mark.parametrize("name", ["new.pth", "old.bin", "weights.safetensors"])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.999])
def test_truncated_files(mixer: VisionModel, files: dict[str, Path], name: str, share: float) -> None:
    content = files[name].read_bytes()
    files[name].write_bytes(content[: int(len(content) * share)])
    assert str(refused(mixer, files[name])).startswith(f"{files[name]} is damaged, or not a ")


def test_paths_that_are_no_weights(mixer: VisionModel, tmp_path: Path) -> None:
    def text(name: str, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        return str(refused(mixer, tmp_path / name))

    missing = tmp_path / "none.pth"
    assert str(refused(mixer, missing)) == f"there are no weights at {missing}"
    assert str(refused(mixer, tmp_path)) == f"{tmp_path} is a folder, not a file of weights"
    assert text("empty.pth", b"") == f"{tmp_path / 'empty.pth'} is empty"
    assert text("empty.safetensors", b"") == f"{tmp_path / 'empty.safetensors'} is empty"
    assert "page.pth is damaged, or not a file of weights" in text("page.pth", b"<!doctype html><title>404</title>")
    assert "page.safetensors is damaged, or not a safetensors" in text("page.safetensors", b"<!doctype html><title>")
    for error in (text("text.pth", b"\x80\x02}."), text("list.pth", pickle.dumps([1, 2], protocol=2))):
        assert "not a file of weights" in error or "does not hold weights" in error


class _Code:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("written", ["new", "old", "pickle 2", "pickle 4"])
def test_code_in_a_file_does_not_run(mixer: VisionModel, mixer_state: State, tmp_path: Path, written: str) -> None:
    path, traces = tmp_path / "weights.pth", tmp_path / "it ran"
    content = {**mixer_state, "norm.bias": _Code(traces)}
    if written.startswith("pickle"):
        path.write_bytes(pickle.dumps(content, protocol=int(written[-1])))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=written == "new")
    assert str(refused(mixer, path)).startswith(str(path))
    assert not traces.exists()
    pickle.loads(pickle.dumps(_Code(traces)))  # noqa: S301 - it would have
    assert traces.exists()


def test_objects_in_a_file_are_named(mixer: VisionModel, mixer_state: State, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": mixer_state, "args": argparse.Namespace(lr=0.1)}, path)
    reason = "it holds Python objects (argparse.Namespace), which could run code; only tensors are read"
    assert str(refused(mixer, path)) == f"{path} was not loaded: {reason}"


def archives(folder: Path, state: State) -> Iterator[tuple[Path, str]]:
    """Files that torch itself would read only with weights_only=False, and the messages about them."""
    torchscript = folder / "scripted.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch is about to remove it
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), torchscript)
    yield torchscript, "was not loaded: it is a TorchScript archive"
    legacy = folder / "legacy.pt"
    with tarfile.open(legacy, "w") as tar:
        for name in ("storages", "tensors", "pickle"):
            (folder / name).write_bytes(pickle.dumps(0))
            tar.add(folder / name, name)
    yield legacy, "is damaged, or not a file of weights: not what torch.save writes"
    whole = folder / "whole.pt"
    torch.save(torch.nn.Linear(2, 2), whole)
    yield whole, "was not loaded: it holds Python objects (torch.nn.modules.linear.Linear)"
    protocol_4 = folder / "protocol 4.pt"
    protocol_4.write_bytes(pickle.dumps(dict(state), protocol=4))
    yield protocol_4, "is damaged, or not a file of weights"


def test_the_advice_to_let_a_file_run_code_is_not_passed_on(
    mixer: VisionModel, mixer_state: State, tmp_path: Path
) -> None:
    for path, what in archives(tmp_path, mixer_state):
        error = refused(mixer, path)
        assert str(error).startswith(f"{path} {what}")
        assert "weights_only" not in "".join(traceback.format_exception(error))


def nestings(state: State) -> Iterator[dict[str, Any]]:
    for name in ("model", "state_dict", "model_state_dict", "state_dict_ema", "model_ema"):
        yield {name: state, "epoch": 300}
    yield {f"module.{name}": value for name, value in state.items()}
    yield {f"_orig_mod.{name}": value for name, value in state.items()}
    yield {"epoch": 3, "model": {"state_dict": {f"module.{name}": value for name, value in state.items()}}}


def test_checkpoints_are_unwrapped(mixer_state: State, tmp_path: Path) -> None:
    expected = build(MIXER)
    load_published(expected, mixer_state)
    for index, checkpoint in enumerate(nestings(mixer_state)):
        path = tmp_path / f"{index}.pth"
        torch.save(checkpoint, path)
        for weights in (checkpoint, path):
            model = build(MIXER)
            assert load_published(model, weights).notes == ()
            assert same(weights_of(model), weights_of(expected))


def test_the_averaged_weights_come_first(mixer: VisionModel, mixer_state: State) -> None:
    zeros = {name: torch.zeros_like(value) for name, value in mixer_state.items()}
    report = load_published(mixer, {"state_dict": zeros, "state_dict_ema": mixer_state})  # type: ignore[dict-item]
    assert report.notes == ("of state_dict_ema and state_dict, state_dict_ema was loaded",)
    assert torch.equal(mixer.norm.weight, mixer_state["norm.weight"])


def test_what_holds_no_tensors_is_refused(mixer: VisionModel, tmp_path: Path) -> None:
    for content in ({}, {"epoch": 3}, {"model": {}}):
        assert "does not hold weights: there is no tensor among its" in str(refused(mixer, content))
    path = tmp_path / "list.pth"
    torch.save([torch.zeros(3)], path)
    assert str(refused(mixer, path)) == f"{path} does not hold weights: a list, not tensors by name"
    itself: dict[str, Any] = {}
    itself["model"] = itself
    assert "there is no tensor" in str(refused(mixer, itself))


def test_the_order_of_names_in_a_file_does_not_matter() -> None:
    state, models = draw(VIP_SHAPES), [build(VIP), build(VIP)]
    for model, names in zip(models, (state, reversed(state)), strict=True):
        load_published(model, {name: state[name] for name in names}, "official")
    assert same(weights_of(models[0]), weights_of(models[1]))


def test_permute_layers_need_no_note_at_the_published_image_size() -> None:
    shapes = VIP_SHAPES | conv("patch_embed.proj", 3, 8, 56)
    assert load_published(build(replace(VIP, image_size=224, patch=56)), draw(shapes), "official").notes == ()


def test_a_prefix_that_not_all_names_have_is_part_of_them(mixer: VisionModel, mixer_state: State) -> None:
    state = {f"module.{name}" if name == "norm.bias" else name: value for name, value in mixer_state.items()}
    error = refused(mixer, state)
    assert isinstance(error, MismatchError)
    assert (error.missing, error.unexpected) == (("norm.bias",), ("module.norm.bias",))


# Files that look right but are not.


@pytest.mark.parametrize("make", [torch.Tensor.to_sparse, lambda value: torch.nested.nested_tensor([value])])
def test_sparse_and_nested_tensors_are_refused(mixer: VisionModel, mixer_state: State, make) -> None:
    before = weights_of(mixer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nested tensors are a prototype
        error = refused(mixer, {**mixer_state, "head.weight": make(mixer_state["head.weight"])})
    assert "head.weight is a sparse or nested tensor" in str(error)
    assert same(weights_of(mixer), before)


def test_a_mean_over_the_class_token_is_not_timms() -> None:
    """timm's global pooling averages the patch tokens alone."""
    stage = Stage(1, 8, (Branch(Attention(2)), Branch(Dense("channel", 32))))
    model = build(Architecture(8, 4, (stage,), class_token=True, position="learned", classes=5))
    assert "leaves out the class token" in str(refused(model, {}))


def test_prefixes_in_any_order(mixer: VisionModel, mixer_state: State) -> None:
    report = load_published(mixer, {f"_orig_mod.module.{name}": value for name, value in mixer_state.items()})
    assert set(report.loaded) == set(mixer_state)


def test_a_report_in_words(mixer: VisionModel, mixer_state: State) -> None:
    whole = load_published(mixer, mixer_state)
    assert str(whole) == f"Mixer from timm: {len(mixer_state)} tensors loaded"
    partial = load_published(mixer, {"head.bias": mixer_state["head.bias"], "other": torch.ones(2)}, strict=False)
    lines = str(partial).splitlines()
    assert lines[1] == f"1 of {len(mixer_state)} tensors were loaded; the others stay as they were"
    assert lines[2].startswith("missing: stem.proj.weight, ")
    assert lines[3] == "not needed: other"

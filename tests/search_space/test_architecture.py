"""Published systems to the last parameter, canonical form, hashes, YAML, and every rule of the block space."""

from __future__ import annotations

import csv
import hashlib
import json
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from search_space.architecture import Architecture, Branch, Stage
from search_space.errors import ArchitectureError
from search_space.models.building import build
from search_space.models.model import VisionModel
from search_space.ops import Attention, Dense, Gating, Op, Permute, RepMLP, TokenShape

Make = Callable[..., Architecture]
PUBLISHED = Path(__file__).with_name("published.csv")
WITH_TOKEN = {"class_token": True, "pooling": "class_token", "position": "learned"}


# Published systems, at 224 x 224 and 1,000 classes.


def vit(patch: int, dim: int, depth: int, heads: int) -> Architecture:
    block = (Branch(Attention(heads)), Branch(Dense("channel", 4 * dim)))
    return Architecture(224, patch, (Stage(depth, dim, block),), **WITH_TOKEN)


def mixer(patch: int, dim: int, depth: int) -> Architecture:
    block = (Branch(Dense("token", dim // 2)), Branch(Dense("channel", 4 * dim)))
    return Architecture(224, patch, (Stage(depth, dim, block),))


def resmlp(patch: int, dim: int, depth: int) -> Architecture:
    ops = (Dense("token"), Dense("channel", 4 * dim))
    block = tuple(Branch(op, "affine", layer_scale=0.1) for op in ops)
    return Architecture(224, patch, (Stage(depth, dim, block),), final_norm="affine")


def gmlp(dim: int, attention_dim: int = 0) -> Architecture:
    block = (Branch(Gating(6 * dim, attention_dim=attention_dim)),)
    return Architecture(224, 16, (Stage(30, dim, block),))


def ff_only(patch: int, dim: int, depth: int, position_grid: int | None = None) -> Architecture:
    tokens = (224 // patch) ** 2 + 1
    block = (Branch(Dense("channel", 4 * dim)), Branch(Dense("token", 4 * tokens), norm_axis="token"))
    return Architecture(224, patch, (Stage(depth, dim, block),), position_grid=position_grid, **WITH_TOKEN)


def vip(patch: int, depths: tuple[int, ...], dims: tuple[int, ...], segments: tuple[int, ...]) -> Architecture:
    stages: list[Stage] = []
    for depth, dim, side in zip(depths, dims, segments, strict=True):
        ops = (Permute(side), Dense("channel", 3 * dim))
        before = stages[-1] if stages else None
        entry = "none" if before is None or before.dim == dim else "conv1"
        if before is not None and before.block[0].op.segments != side:
            entry = "conv2"
        stages.append(Stage(depth, dim, tuple(Branch(op, eps=1e-5) for op in ops), entry))
    return Architecture(224, patch, tuple(stages), final_eps=1e-5)


def repmlpnet(image_size: int, dim: int, depths: tuple[int, ...], sets: tuple[int, ...]) -> Architecture:
    stages: list[Stage] = []
    for index, (depth, sharesets) in enumerate(zip(depths, sets, strict=True)):
        ops = (RepMLP(sharesets), Dense("channel", 4 * dim * 2**index, batchnorm=True))
        block = tuple(Branch(op, "batchnorm", eps=1e-5) for op in ops)
        stages.append(Stage(depth, dim * 2**index, block, "conv2_bn_relu" if index else "none"))
    return Architecture(image_size, 4, tuple(stages), stem="conv_bn_relu", final_norm="batchnorm", final_eps=1e-5)


SYSTEMS: dict[str, Callable[[], Architecture]] = {
    "vit_ti16": lambda: vit(16, 192, 12, 3),
    "vit_s16": lambda: vit(16, 384, 12, 6),
    "vit_b16": lambda: vit(16, 768, 12, 12),
    "vit_b32": lambda: vit(32, 768, 12, 12),
    "vit_l16": lambda: vit(16, 1024, 24, 16),
    "vit_l32": lambda: vit(32, 1024, 24, 16),
    "vit_h14": lambda: vit(14, 1280, 32, 16),
    "mixer_s32": lambda: mixer(32, 512, 8),
    "mixer_s16": lambda: mixer(16, 512, 8),
    "mixer_b32": lambda: mixer(32, 768, 12),
    "mixer_b16": lambda: mixer(16, 768, 12),
    "mixer_l32": lambda: mixer(32, 1024, 24),
    "mixer_l16": lambda: mixer(16, 1024, 24),
    "mixer_h14": lambda: mixer(14, 1280, 32),
    "resmlp_s12": lambda: resmlp(16, 384, 12),
    "resmlp_s24": lambda: resmlp(16, 384, 24),
    "resmlp_s36": lambda: resmlp(16, 384, 36),
    "resmlp_b24_16": lambda: resmlp(16, 768, 24),
    "resmlp_b24_8": lambda: resmlp(8, 768, 24),
    "gmlp_ti16": lambda: gmlp(128),
    "gmlp_s16": lambda: gmlp(256),
    "gmlp_b16": lambda: gmlp(512),
    "amlp64_ti16": lambda: gmlp(128, 64),
    "amlp64_b16": lambda: gmlp(512, 64),
    "ff_only_ti16": lambda: ff_only(16, 192, 12),
    "ff_only_b16": lambda: ff_only(16, 768, 12),
    "ff_only_l32": lambda: ff_only(32, 1024, 24, position_grid=14),
    "vip_s7": lambda: vip(7, (4, 3, 8, 3), (192, 384, 384, 384), (32, 16, 16, 16)),
    "vip_m7": lambda: vip(7, (4, 3, 14, 3), (256, 256, 512, 512), (32, 32, 16, 16)),
    "vip_l7": lambda: vip(7, (8, 8, 16, 4), (256, 512, 512, 512), (32, 16, 16, 16)),
    "repmlpnet_t224": lambda: repmlpnet(224, 64, (2, 2, 6, 2), (1, 4, 16, 128)),
    "repmlpnet_t256": lambda: repmlpnet(256, 64, (2, 2, 6, 2), (1, 4, 16, 128)),
    "repmlpnet_b224": lambda: repmlpnet(224, 96, (2, 2, 12, 2), (1, 4, 32, 128)),
    "repmlpnet_b256": lambda: repmlpnet(256, 96, (2, 2, 12, 2), (1, 4, 32, 128)),
    "repmlpnet_d256": lambda: repmlpnet(256, 80, (2, 2, 18, 2), (1, 4, 16, 128)),
    "repmlpnet_l256": lambda: repmlpnet(256, 96, (2, 2, 18, 2), (1, 4, 32, 256)),
}
"""Settings from the papers."""
SYSTEMS |= {f"{name} (deploy)": lambda make=make: make().deployed for name, make in SYSTEMS.items() if "repmlp" in name}


def rows(*needed: str) -> list[Any]:
    """Rows of the reference figures that can be expressed and have these columns."""
    with PUBLISHED.open(newline="", encoding="utf-8") as file:
        found = [row for row in csv.DictReader(file) if row["name"] in SYSTEMS and all(row[key] for key in needed)]
    return [pytest.param(row, id=row["name"]) for row in found]


@pytest.mark.parametrize("row", rows("params", "macs"))
def test_published_systems_have_the_measured_cost(row: dict[str, str]) -> None:
    """Exact figures of the reference implementations."""
    architecture = SYSTEMS[row["name"]]()
    assert architecture.cost == (int(row["params"]), int(row["macs"]))
    assert (architecture.params, architecture.macs) == architecture.cost


@pytest.mark.parametrize("row", rows("published_params_M"))
def test_published_systems_have_the_published_size(row: dict[str, str]) -> None:
    """To a unit of the last digit or 1 % (some are quoted second-hand); Mixer's figures leave out the head."""
    figure = row["published_params_M"]
    architecture = SYSTEMS[row["name"]]()
    head = 1000 * (architecture.stages[-1].dim + 1) if row["name"].startswith("mixer") else 0
    unit = 10.0 ** -len(figure.partition(".")[2])
    assert (architecture.params - head) / 1e6 == pytest.approx(float(figure), abs=unit, rel=0.01)


@pytest.mark.parametrize("row", rows("published_GFLOPs"))
def test_published_systems_have_the_published_macs(row: dict[str, str]) -> None:
    """To a unit of the last digit or 1 %; gMLP counts a multiply-accumulate as two."""
    figure = row["published_GFLOPs"]
    factor = 2 if row["name"].startswith("gmlp") else 1
    unit = 10.0 ** -len(figure.partition(".")[2])
    assert factor * SYSTEMS[row["name"]]().macs / 1e9 == pytest.approx(float(figure), abs=unit, rel=0.01)


def test_enough_published_systems_are_checked() -> None:
    assert len(rows("params", "macs")) >= 27


@pytest.mark.parametrize(
    "name",
    [
        "vit_ti16",
        "mixer_s16",
        "resmlp_s12",
        "gmlp_ti16",
        "amlp64_ti16",
        "ff_only_ti16",
        "ff_only_l32",
        "vip_s7",
        "repmlpnet_t224",
        "repmlpnet_b256 (deploy)",
    ],
)
def test_models_of_published_systems_have_as_many_parameters(name: str) -> None:
    architecture = SYSTEMS[name]()
    with torch.device("meta"):
        model = VisionModel(architecture)
    assert sum(parameter.numel() for parameter in model.parameters()) == architecture.params


def test_a_published_system_can_be_built() -> None:
    model = build(SYSTEMS["vit_ti16"]())
    assert sum(parameter.numel() for parameter in model.parameters()) == 5_717_416
    with torch.no_grad():
        assert torch.isfinite(model.eval()(torch.zeros(1, 3, 224, 224))).all()


@pytest.mark.parametrize(
    ("name", "growth"), [("mixer_b16", 4.000), ("vit_b16", 4.469), ("ff_only_b16", 6.393)], ids=lambda value: str(value)
)
def test_growth_of_macs_from_224_to_448(name: str, growth: float) -> None:
    """Reference ratios; only Mixer is linear in the tokens, at a fixed hidden width."""
    small = SYSTEMS[name]()
    large = small.at(448)
    assert large.macs / small.macs == pytest.approx(growth, abs=0.0006)


def test_cost_worked_by_hand(one_block: Make) -> None:
    """Two stages on 4 x 4 and 2 x 2 tokens of 8 and 12 channels; 3 channels in, 5 classes out."""
    stages = (
        Stage(2, 8, (Branch(Dense("channel", 16), layer_scale=0.1),)),
        Stage(1, 12, (Branch(Dense("token"), "affine", "token"),), "conv2"),
    )
    architecture = one_block(stages=stages, position="learned", final_norm="none")
    stem, position = 2 * 2 * 3 * 8 + 8, 16 * 8
    mlp = 2 * 8 + 8 * 16 + 16 + 16 * 8 + 8 + 8
    entry, linear, head = 4 * 8 * 12 + 12, 2 * 4 + 4 * 4 + 4, 12 * 5 + 5
    assert architecture.params == stem + position + 2 * mlp + entry + linear + head
    assert architecture.macs == 16 * 96 + 2 * 16 * 256 + 4 * 4 * 8 * 12 + 4 * 4 * 12 + 60
    assert architecture.depth == 3
    assert [shape for _, shape in architecture.shapes()] == [TokenShape(4, 8), TokenShape(2, 12)]


# Canonical form.

MLP, LINEAR = Dense("channel", 8), Dense("token")
TOKEN = {"class_token": True, "pooling": "class_token"}


def branch(**changes: Any) -> dict[str, Any]:
    return {"stage": {"block": (Branch(LINEAR, **changes),)}}


def of(*ops: Op) -> dict[str, Any]:
    return {"stage": {"block": tuple(Branch(op) for op in ops)}}


SAME: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "an epsilon without a norm": (branch(norm="none"), branch(norm="none", eps=0.01)),
    "an epsilon of an affine": (branch(norm="affine"), branch(norm="affine", eps=0.01)),
    "an axis without a norm": (branch(norm="none"), branch(norm="none", norm_axis="token")),
    "a final epsilon without a norm": ({"final_norm": "none"}, {"final_norm": "none", "final_eps": 0.01}),
    "a final epsilon of an affine": ({"final_norm": "affine"}, {"final_norm": "affine", "final_eps": 0.01}),
    "an affine before or after the mean": (
        {"final_norm": "affine"},
        {"final_norm": "affine", "norm_after_pooling": True},
    ),
    "a norm before or after taking the class token": (TOKEN, {**TOKEN, "norm_after_pooling": True}),
    "no norm before or after the mean": (
        {"final_norm": "none"},
        {"final_norm": "none", "norm_after_pooling": True},
    ),
    "a schedule of no stochastic depth": ({}, {"drop_path_schedule": "constant"}),
    "a linear schedule over one block, which starts at 0": ({}, {"drop_path": 0.1}),
    "a stage in two pieces": (
        {"stages": (Stage(3, 8, (Branch(MLP),)),)},
        {"stages": (Stage(1, 8, (Branch(MLP),)), Stage(2, 8, (Branch(MLP),)))},
    ),
    "a stage in three pieces": (
        {"stages": (Stage(3, 8, (Branch(MLP),)),)},
        {"stages": [Stage(1, 8, [Branch(MLP)])] * 3},
    ),
    "pieces alike but for an epsilon without effect": (
        {"stages": (Stage(2, 8, (Branch(MLP, "affine"),)),)},
        {"stages": (Stage(1, 8, (Branch(MLP, "affine", eps=0.1),)), Stage(1, 8, (Branch(MLP, "affine"),)))},
    ),
    "a position grid that is the grid": (
        {"position": "learned"},
        {"position": "learned", "position_grid": 4},
    ),
    "a position grid without positions": ({}, {"position_grid": 7}),
    "kernels in another order": (of(RepMLP(2, (1, 3, 5))), of(RepMLP(2, (5, 1, 3)))),
    "kernels as a list": (of(RepMLP(2, (1, 3))), of(RepMLP(2, [3, 1]))),
    "kernels of a deployed form": (of(RepMLP(2, (), deploy=True)), of(RepMLP(2, (3, 5), deploy=True))),
    "a bias before a batchnorm": (
        of(Dense("channel", 6, batchnorm=True, bias=False)),
        of(Dense("channel", 6, batchnorm=True, bias=True)),
    ),
    "an activation of one linear layer": (of(Dense("token")), of(Dense("token", activation="silu"))),
    "a gate of one linear layer": (of(Dense("token")), of(Dense("token", glu=True))),
    "a whole number for a rate": ({"drop_path": 0.0}, {"drop_path": 0}),
    "a whole number for a layer scale": (branch(layer_scale=1.0), branch(layer_scale=1)),
}


@pytest.mark.parametrize("name", SAME)
def test_descriptions_of_one_network_are_equal(one_block: Make, name: str) -> None:
    one, other = (one_block(**changes) for changes in SAME[name])
    assert one == other
    assert hash(one) == hash(other)
    assert one.hash == other.hash
    assert one.to_yaml() == other.to_yaml()
    assert one.cost == other.cost


DIFFERENT: dict[str, dict[str, Any]] = {
    "base": {},
    "patch": {"patch": 1},
    "image_size": {"image_size": 16, "patch": 4},
    "in_channels": {"in_channels": 1},
    "classes": {"classes": 6},
    "class token, averaged": {"class_token": True},
    "class token, taken": TOKEN,
    "position": {"position": "learned"},
    "final_norm": {"final_norm": "affine"},
    "final batchnorm": {"final_norm": "batchnorm"},
    "no final norm": {"final_norm": "none"},
    "final_eps": {"final_eps": 1e-5},
    "norm_after_pooling": {"norm_after_pooling": True},
    "final batchnorm after the mean": {"final_norm": "batchnorm", "norm_after_pooling": True},
    "depth": {"stage": {"depth": 2}},
    "drop_path": {"stage": {"depth": 2}, "drop_path": 0.1},
    "more drop_path": {"stage": {"depth": 2}, "drop_path": 0.2},
    "constant drop_path": {"stage": {"depth": 2}, "drop_path": 0.1, "drop_path_schedule": "constant"},
    "constant drop_path on one block": {"drop_path": 0.1, "drop_path_schedule": "constant"},
    "dim": {"stage": {"dim": 12}},
    "heads": {"stage": {"block": (Branch(Attention(4)),)}},
    "no qkv_bias": {"stage": {"block": (Branch(Attention(2, qkv_bias=False)),)}},
    "norm": {"stage": {"block": (Branch(Attention(2), "batchnorm"),)}},
    "no norm": {"stage": {"block": (Branch(Attention(2), "none"),)}},
    "norm_axis": {"stage": {"block": (Branch(Attention(2), norm_axis="token"),)}},
    "eps": {"stage": {"block": (Branch(Attention(2), eps=1e-5),)}},
    "layer_scale": {"stage": {"block": (Branch(Attention(2), layer_scale=0.1),)}},
    "smaller layer_scale": {"stage": {"block": (Branch(Attention(2), layer_scale=0.01),)}},
    "token first": {"stage": {"block": (Branch(Attention(2)), Branch(MLP))}},
    "channel first": {"stage": {"block": (Branch(MLP), Branch(Attention(2)))}},
    "linear": {"stage": {"block": (Branch(LINEAR),)}},
    "mlp as wide as a linear": {"stage": {"block": (Branch(Dense("token", 16)),)}},
    "along the channels": {"stage": {"block": (Branch(Dense("channel")),)}},
    "gate": {"stage": {"block": (Branch(Gating(16)),)}},
    "gate_eps": {"stage": {"block": (Branch(Gating(16, 1e-6)),)}},
    "permute": {"stage": {"block": (Branch(Permute(4)),)}},
    "unweighted": {"stage": {"block": (Branch(Permute(4, weighted=False)),)}},
    "alternating": {"stages": (Stage(1, 8, (Branch(MLP),)), Stage(1, 8, (Branch(Attention(2)),)))},
    "entered by conv1": {"stages": (Stage(1, 8, (Branch(MLP),)), Stage(1, 8, (Branch(MLP),), "conv1"))},
    "entered by conv2": {"stages": (Stage(1, 8, (Branch(MLP),)), Stage(1, 8, (Branch(MLP),), "conv2"))},
    "entered by conv2_bn_relu": {"stages": (Stage(1, 8, (Branch(MLP),)), Stage(1, 8, (Branch(MLP),), "conv2_bn_relu"))},
    "stem": {"stem": "conv_bn_relu"},
    "larger position grid": {"position": "learned", "position_grid": 5},
    "smaller position grid": {"position": "learned", "position_grid": 1},
    "mlp": of(Dense("channel", 16)),
    "silu": of(Dense("channel", 16, activation="silu")),
    "glu": of(Dense("channel", 16, glu=True)),
    "silu glu": of(Dense("channel", 16, glu=True, activation="silu")),
    "no bias": of(Dense("channel", 16, bias=False)),
    "batchnorm": of(Dense("channel", 16, batchnorm=True)),
    "tiny attention": of(Gating(16, attention_dim=4)),
    "wider tiny attention": of(Gating(16, attention_dim=8)),
    "repmlp": of(RepMLP(2)),
    "repmlp without kernels": of(RepMLP(2, ())),
    "repmlp with one kernel": of(RepMLP(2, (3,))),
    "repmlp with larger kernels": of(RepMLP(2, (3, 5))),
    "sharesets": of(RepMLP(4)),
    "reduction": of(RepMLP(2, reduction=2)),
    "deploy": of(RepMLP(2, deploy=True)),
}


def test_different_networks_differ(one_block: Make) -> None:
    made = {name: one_block(**changes) for name, changes in DIFFERENT.items()}
    assert len(set(made.values())) == len(made)
    assert len({architecture.hash for architecture in made.values()}) == len(made)
    assert len({architecture.to_yaml() for architecture in made.values()}) == len(made)


@pytest.mark.parametrize("name", DIFFERENT)
def test_written_and_read_it_is_the_same(one_block: Make, name: str, tmp_path: Path) -> None:
    architecture = one_block(**DIFFERENT[name])
    path = tmp_path / "architecture.yaml"
    path.write_text(architecture.to_yaml(), encoding="utf-8")
    again = Architecture.from_yaml_file(path)
    assert again == architecture
    assert again.hash == architecture.hash


@pytest.mark.parametrize("name", DIFFERENT)
def test_it_is_the_same_after_json(one_block: Make, name: str) -> None:
    architecture = one_block(**DIFFERENT[name])
    assert Architecture.from_dict(architecture.to_dict()) == architecture
    assert Architecture.from_dict(json.loads(json.dumps(architecture.to_dict()))) == architecture


def test_every_op_is_the_same_after_yaml(one_block: Make, example_op: Op) -> None:
    architecture = one_block(example_op, branch={"layer_scale": 0.5})
    assert Architecture.from_yaml(architecture.to_yaml()) == architecture


@pytest.mark.parametrize("image_size", [8, 28, 224])
def test_sampled_architectures_are_the_same_after_yaml(space_at, image_size: int) -> None:
    rng = random.Random(image_size)
    for _ in range(10):
        architecture = space_at(image_size).sample(rng)
        again = Architecture.from_yaml(architecture.to_yaml())
        assert again == architecture
        assert again.hash == architecture.hash


def test_the_hash_does_not_depend_on_the_process(one_block: Make) -> None:
    architecture = one_block(Attention(2), Gating(16), branch={"layer_scale": 1e-4})
    code = "import sys; from search_space import Architecture; print(Architecture.from_yaml(sys.stdin.read()).hash)"
    for seed in ("1", "2"):
        ran = subprocess.run(
            [sys.executable, "-c", code],
            input=architecture.to_yaml(),
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert ran.stdout.strip() == architecture.hash
    assert re.fullmatch("[0-9a-f]{16}", architecture.hash)


PLAIN = (
    '{"class_token":false,"classes":10,"drop_path":0.0,"final_eps":1e-06,"final_norm":"layernorm","image_size":8,'
    '"in_channels":1,"norm_after_pooling":false,"patch":2,"pooling":"gap","position":"none","stages":[{"block":['
    '{"axis":"token","eps":1e-06,"hidden":4,"layer_scale":null,"norm":"layernorm","norm_axis":"channel","op":"dense"},'
    '{"axis":"channel","eps":1e-06,"hidden":32,"layer_scale":null,"norm":"layernorm","norm_axis":"channel","op":"dense"}'
    '],"depth":2,"dim":8,"downsample":"none"}]}'
)
REPMLP = (
    '{"class_token":false,"classes":5,"drop_path":0.1,"drop_path_schedule":"linear","final_norm":"affine",'
    '"image_size":8,"in_channels":3,"norm_after_pooling":false,"patch":2,"pooling":"gap","position":"learned",'
    '"position_grid":7,"stages":[{"block":[{"eps":1e-05,"kernels":[3,5],"layer_scale":0.5,"norm":"batchnorm",'
    '"norm_axis":"channel","op":"repmlp","sharesets":2}],"depth":2,"dim":8,"downsample":"none"},{"block":[{"attention'
    '_dim":4,"hidden":6,"layer_scale":null,"norm":"none","op":"gating"}],"depth":1,"dim":12,"downsample":'
    '"conv2_bn_relu"}],"stem":"conv_bn_relu"}'
)
"""What the hash is made of, written by hand: studies keep it in their databases, so it may not change."""


def test_the_hash_is_that_of_its_settings_in_order() -> None:
    plain = Architecture(8, 2, (Stage(2, 8, (Branch(Dense("token", 4)), Branch(Dense("channel", 32)))),), 1, 10)
    stages = (
        Stage(2, 8, (Branch(RepMLP(2, (5, 3)), "batchnorm", eps=1e-5, layer_scale=0.5),)),
        Stage(1, 12, (Branch(Gating(6, attention_dim=4), "none"),), "conv2_bn_relu"),
    )
    net = {"stem": "conv_bn_relu", "position": "learned", "position_grid": 7, "final_norm": "affine", "drop_path": 0.1}
    repmlp = Architecture(8, 2, stages, classes=5, **net)
    for architecture, text in ((plain, PLAIN), (repmlp, REPMLP)):
        assert json.loads(text) == architecture.to_dict()
        assert architecture.hash == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_it_is_immutable(one_block: Make) -> None:
    architecture = one_block()
    for value, name in ((architecture, "patch"), (architecture.stages[0], "dim"), (Branch(MLP), "eps")):
        with pytest.raises(AttributeError):
            setattr(value, name, 4)
    assert isinstance(one_block(stages=[Stage(1, 8, [Branch(MLP)])]).stages[0].block, tuple)


@pytest.mark.parametrize(
    ("changes", "fixed"),
    [
        ({"stage": {"block": (Branch(Attention(2)), Branch(MLP))}}, False),
        ({"stage": {"block": (Branch(MLP, norm_axis="token"),)}}, True),
        ({"stage": {"block": (Branch(MLP, "none", norm_axis="token"),)}}, False),
        ({"position": "learned"}, False),  # positions can be interpolated
        ({"stage": {"block": (Branch(LINEAR),)}}, True),
        ({"stage": {"block": (Branch(Gating(16)),)}}, True),
        ({"stage": {"block": (Branch(Permute(4)),)}}, True),
        ({"stage": {"block": (Branch(RepMLP(2)),)}}, True),
        ({"stage": {"block": (Branch(RepMLP(2, deploy=True)),)}}, True),
        ({"stage": {"block": (Branch(Dense("channel", 8, batchnorm=True, glu=True)),)}, "stem": "conv_bn_relu"}, False),
    ],
)
def test_fixed_input_size(one_block: Make, changes: dict[str, Any], fixed: bool) -> None:
    architecture = one_block(**changes)
    assert architecture.fixed_input_size == fixed
    words = (
        "this one only" if fixed else "once the positions" if "position" in changes else "any that the patch divides"
    )
    assert words in architecture.image_sizes


# Rules.

RULES: dict[str, tuple[dict[str, Any], str]] = {
    "image_size": ({"image_size": 0}, "image_size must be at least 1; it is 0"),
    "patch": ({"patch": 0}, "patch must be at least 1; it is 0"),
    "in_channels": ({"in_channels": 0}, "in_channels must be at least 1"),
    "classes": ({"classes": 0}, "classes must be at least 1"),
    "patch not dividing": ({"patch": 3}, "patch must divide the image; image_size is 8, patch is 3"),
    "patch too large": ({"patch": 16}, "patch must divide the image"),
    "pooling a missing token": ({"pooling": "class_token"}, "pooling: class_token needs class_token: true"),
    "drop_path of 1": ({"drop_path": 1.0}, "drop_path must be in [0, 1); it is 1.0"),
    "negative drop_path": ({"drop_path": -0.1}, "drop_path must be in [0, 1)"),
    "drop_path nan": ({"drop_path": float("nan")}, "drop_path must be in [0, 1)"),
    "final_eps": ({"final_eps": 0.0}, "final_eps must be in (0, 0.1]"),
    "no stages": ({"stages": ()}, "needs at least one stage"),
    "first stage downsampled": ({"stage": {"downsample": "conv2"}}, "the first stage cannot downsample"),
    "depth": ({"stage": {"depth": 0}}, "stage 1: depth must be at least 1; it is 0"),
    "dim": ({"stage": {"dim": 0}}, "stage 1: dim must be at least 1"),
    "no branches": ({"stage": {"block": ()}}, "stage 1: a block needs at least one branch"),
    "token and downsampling": (
        {"class_token": True, "stages": (Stage(1, 8, (Branch(MLP),)), Stage(1, 8, (Branch(MLP),), "conv2"))},
        "stage 2: a class token cannot pass through downsampling",
    ),
    "token and conv1": (
        {"class_token": True, "stages": (Stage(1, 8, (Branch(MLP),)), Stage(1, 12, (Branch(MLP),), "conv1"))},
        "stage 2: a class token cannot pass through downsampling",
    ),
    "odd grid": (
        {"image_size": 6, "stages": (Stage(1, 8, (Branch(MLP),)), Stage(1, 8, (Branch(MLP),), "conv2"))},
        "stage 2: a grid of 3 x 3 tokens cannot be halved",
    ),
    "halved too often": (
        {"stages": (Stage(1, 8, (Branch(MLP),)), *(Stage(1, 8, (Branch(MLP),), "conv2") for _ in range(3)))},
        "stage 4: a grid of 1 x 1 tokens cannot be halved",
    ),
    "odd grid, with batchnorm": (
        {"image_size": 6, "stages": (Stage(1, 8, (Branch(MLP),)), Stage(1, 8, (Branch(MLP),), "conv2_bn_relu"))},
        "stage 2: a grid of 3 x 3 tokens cannot be halved",
    ),
    "first stage downsampled with batchnorm": (
        {"stage": {"downsample": "conv2_bn_relu"}},
        "the first stage cannot downsample",
    ),
    "token and downsampling with batchnorm": (
        {"class_token": True, "stages": (Stage(1, 8, (Branch(MLP),)), Stage(1, 8, (Branch(MLP),), "conv2_bn_relu"))},
        "stage 2: a class token cannot pass through downsampling",
    ),
    "no position grid": (
        {"position": "learned", "position_grid": 0},
        "position_grid must be at least 1; it is 0",
    ),
    "negative position grid": ({"position_grid": -1}, "position_grid must be at least 1; it is -1"),
    "dim change": (
        {"stages": (Stage(1, 8, (Branch(MLP),)), Stage(1, 12, (Branch(MLP),)))},
        "stage 2: dim changes from 8 to 12, which needs a downsample other than none",
    ),
    "heads not dividing": (
        {"stage": {"block": (Branch(MLP), Branch(Attention(3)))}},
        "stage 1: branch 2: attention needs C divisible by its heads; C is 8, heads is 3",
    ),
    "no heads": ({"stage": {"block": (Branch(Attention(0)),)}}, "attention needs at least one head"),
    "odd gate": ({"stage": {"block": (Branch(Gating(7)),)}}, "so it must be even; it is 7"),
    "no gate": ({"stage": {"block": (Branch(Gating(0)),)}}, "so it must be even; it is 0"),
    "gate_eps": ({"stage": {"block": (Branch(Gating(8, gate_eps=-1.0)),)}}, "gate_eps must be in (0, 0.1]"),
    "no hidden width": ({"stage": {"block": (Branch(Dense("token", 0)),)}}, "dense needs a positive hidden width"),
    "token and permute": (
        {"class_token": True, "stage": {"block": (Branch(Permute(4)),)}},
        "permute needs a grid of tokens, so it cannot be used with a class token",
    ),
    "segments": (
        {"stage": {"block": (Branch(Permute(2)),)}},
        "permute needs as many segments as the grid has rows; segments is 2, the grid 4",
    ),
    "segments after downsampling": (
        {"stages": (Stage(1, 8, (Branch(Permute(4)),)), Stage(1, 8, (Branch(Permute(4)),), "conv2"))},
        "stage 2: branch 1: permute needs as many segments",
    ),
    "segments not dividing": (
        {"stage": {"dim": 6, "block": (Branch(Permute(4)),)}},
        "permute needs C divisible by its segments; C is 6, segments is 4",
    ),
    "odd halves of a gated linear unit": (
        of(Dense("channel", 7, glu=True)),
        "stage 1: branch 1: a gated linear unit splits its hidden width into halves, so it must be even; it is 7",
    ),
    "batchnorm over tokens": (
        of(MLP, Dense("token", 8, batchnorm=True)),
        "stage 1: branch 2: batchnorm in dense runs over channels; axis is token",
    ),
    "negative attention": (
        of(Gating(8, attention_dim=-1)),
        "stage 1: branch 1: attention_dim must be 0 (none) or more; it is -1",
    ),
    "token and repmlp": (
        {"class_token": True, **of(RepMLP(2))},
        "stage 1: branch 1: repmlp needs a grid of tokens, so it cannot be used with a class token",
    ),
    "token and deployed repmlp": (
        {"class_token": True, **of(RepMLP(2, deploy=True))},
        "repmlp needs a grid of tokens, so it cannot be used with a class token",
    ),
    "sharesets not dividing": (
        of(RepMLP(3)),
        "stage 1: branch 1: repmlp needs C divisible by its sharesets; C is 8, sharesets is 3",
    ),
    "no sharesets": (of(RepMLP(0)), "repmlp needs at least one set of channels; sharesets is 0"),
    "negative sharesets": (of(RepMLP(-2)), "repmlp needs at least one set of channels; sharesets is -2"),
    "even kernel": (of(RepMLP(2, (3, 2))), "the kernels of repmlp must be odd and different; they are [2, 3]"),
    "kernel of 0": (of(RepMLP(2, (0,))), "the kernels of repmlp must be odd and different; they are [0]"),
    "negative kernel": (of(RepMLP(2, (-1,))), "the kernels of repmlp must be odd and different; they are [-1]"),
    "kernel twice": (of(RepMLP(2, (3, 3))), "the kernels of repmlp must be odd and different; they are [3, 3]"),
    "no reduction": (of(RepMLP(2, reduction=0)), "the reduction of repmlp must be between 1 and C; it is 0, C is 8"),
    "no gate left": (of(RepMLP(2, reduction=9)), "the reduction of repmlp must be between 1 and C; it is 9, C is 8"),
}


@pytest.mark.parametrize("name", RULES)
def test_what_breaks_a_rule_does_not_exist(one_block: Make, refused, name: str) -> None:
    changes, rule = RULES[name]
    assert rule in refused(lambda: one_block(**changes))


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"norm": "batchnorm", "norm_axis": "token"}, "batchnorm runs over channels"),
        ({"layer_scale": 0.0}, "layer_scale must be in (0, 1]; it is 0.0"),
        ({"layer_scale": 1.5}, "layer_scale must be in (0, 1]; it is 1.5"),
        ({"eps": 0.0}, "eps must be in (0, 0.1]; it is 0.0"),
        ({"eps": 1.0}, "eps must be in (0, 0.1]; it is 1.0"),
    ],
)
def test_what_breaks_a_rule_of_branches_does_not_exist(refused, changes: dict[str, Any], rule: str) -> None:
    assert rule in refused(lambda: Branch(MLP, **changes))


def test_a_copy_is_checked_again(one_block: Make, refused) -> None:
    assert replace(one_block(), image_size=16).grid == 8
    assert "patch must divide" in refused(lambda: replace(one_block(), patch=3))
    assert "permute needs as many segments" in refused(lambda: replace(one_block(Permute(4)), image_size=16))


# Reading.

TEXT = """\
image_size: 8
patch: 2
classes: 5
stages:
  - depth: 1
    dim: 8
    block:
      - {op: attention, heads: 2, norm: layernorm, eps: 1.0e-6}
      - op: dense
        axis: channel
        hidden: 16
"""
FAULTS: dict[str, tuple[str, str, str]] = {
    "unknown key": ("classes: 5", "clases: 5", "a.yaml:3: clases is an unknown key; allowed: image_size"),
    "nearest key": ("classes: 5", "clases: 5", "did you mean 'classes'?"),
    "unknown key of a stage": ("    dim: 8", "    dims: 8", "a.yaml:6: stages.0.dims is an unknown key"),
    "unknown key of an op": ("axis: channel", "axes: channel", "a.yaml:10: stages.0.block.1.axes is an unknown key"),
    "key of another op": ("hidden: 16", "heads: 16", "a.yaml:11: stages.0.block.1.heads is an unknown key"),
    "missing key": ("patch: 2\n", "", "a.yaml:1: lacks the key 'patch'"),
    "missing stages": (TEXT[TEXT.index("stages") :], "", "lacks the key 'stages'"),
    "missing key of a stage": ("    dim: 8\n", "", "a.yaml:5: stages.0 lacks the key 'dim'"),
    "missing key of an op": ("heads: 2, ", "", "a.yaml:8: stages.0.block.0 lacks the key 'heads'"),
    "missing op": ("op: dense\n        axis", "axis", "a.yaml:9: stages.0.block.1 "),
    "text for a number": ("patch: 2", "patch: two", "a.yaml:2: patch is 'two'; allowed: a whole number"),
    "fraction for a number": ("depth: 1", "depth: 1.5", "a.yaml:5: stages.0.depth is 1.5; allowed: a whole number"),
    "bool for a number": ("depth: 1", "depth: true", "stages.0.depth is True; allowed: a whole number"),
    "null for a number": ("depth: 1", "depth:", "stages.0.depth is None; allowed: a whole number"),
    "text for a fraction": (
        "eps: 1.0e-6",
        "eps: small",
        "a.yaml:8: stages.0.block.0.eps is 'small'; allowed: a number",
    ),
    "infinite number": ("eps: 1.0e-6", "eps: .inf", "stages.0.block.0.eps is inf; allowed: a finite number"),
    "no number": ("eps: 1.0e-6", "eps: .nan", "stages.0.block.0.eps is nan; allowed: a finite number"),
    "number for a switch": ("classes: 5", "class_token: 1", "a.yaml:3: class_token is 1; allowed: true or false"),
    "unknown choice": ("classes: 5", "pooling: gaps", "a.yaml:3: pooling is 'gaps'; allowed: gap, class_token"),
    "nearest choice": ("norm: layernorm", "norm: layer_norm", "did you mean 'layernorm'?"),
    "list for a choice": ("classes: 5", "pooling: [gap]", "a.yaml:3: pooling is ['gap']; allowed: gap, class_token"),
    "unknown op": ("op: dense", "op: dens", "a.yaml:9: stages.0.block.1.op is 'dens', not an op; allowed: attention"),
    "nearest op": ("op: attention", "op: atention", "did you mean 'attention'?"),
    "list for an op": ("op: dense", "op: [dense]", "a.yaml:9: stages.0.block.1.op is ['dense'], not an op"),
    "word for a branch": ("- {op: attention, heads: 2, norm: layernorm, eps: 1.0e-6}", "- x", "block.0 is 'x'"),
    "mapping for stages": ("  - depth: 1", "    depth: 1", "a.yaml:4: stages is {"),
    "word for stages": (TEXT[TEXT.index("stages") :], "stages: many", "stages is 'many'; allowed: a list of stages"),
    "word for a stage": (
        TEXT[TEXT.index("  - depth") :],
        "  - deep",
        "a.yaml:5: stages.0 is 'deep'; allowed: a mapping",
    ),
    "unknown stem": ("classes: 5", "stem: conv_bn", "a.yaml:3: stem is 'conv_bn'; allowed: conv, conv_bn_relu"),
    "unknown downsampling": (
        "    dim: 8",
        "    dim: 8\n    downsample: conv3",
        "a.yaml:7: stages.0.downsample is 'conv3'; allowed: none, conv1, conv2, conv2_bn_relu",
    ),
    "text for a position grid": (
        "classes: 5",
        "position_grid: '7'",
        "a.yaml:3: position_grid is '7'; allowed: a whole",
    ),
    "fraction for a position grid": ("classes: 5", "position_grid: 7.0", "a.yaml:3: position_grid is 7.0; allowed: a"),
    "unknown activation": (
        "hidden: 16",
        "activation: relu",
        "a.yaml:11: stages.0.block.1.activation is 'relu'; allowed: gelu, silu",
    ),
    "number for a gate": ("hidden: 16", "glu: 1", "a.yaml:11: stages.0.block.1.glu is 1; allowed: true or false"),
    "rule of a branch": ("eps: 1.0e-6", "eps: 2.0", "a.yaml:8: stages.0.block.0 eps must be in (0, 0.1]; it is 2.0"),
    "rule of the whole": ("patch: 2", "patch: 3", "a.yaml: the patch must divide the image"),
    "rule of an op": ("heads: 2", "heads: 3", "a.yaml: stage 1: branch 1: attention needs C divisible by its heads"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_with_line_and_key(refused, name: str) -> None:
    before, after, fragment = FAULTS[name]
    assert TEXT.count(before) == 1
    assert fragment in refused(lambda: Architecture.from_yaml(TEXT.replace(before, after), name="a.yaml"))


KERNELS: dict[str, tuple[str, str]] = {
    "a number": ("3", "a.yaml:11: stages.0.block.0.kernels is 3; allowed: a list of whole numbers"),
    "a text": ("'[1, 3]'", "a.yaml:11: stages.0.block.0.kernels is '[1, 3]'; allowed: a list of whole numbers"),
    "a mapping": ("{1: 3}", "a.yaml:11: stages.0.block.0.kernels is {'1': 3}; allowed: a list of whole numbers"),
    "null": ("", "a.yaml:11: stages.0.block.0.kernels is None; allowed: a list of whole numbers"),
    "a fraction": ("[1, 3.0]", "a.yaml:11: stages.0.block.0.kernels.1 is 3.0; allowed: a whole number"),
    "a text among numbers": ("[a, 3]", "a.yaml:11: stages.0.block.0.kernels.0 is 'a'; allowed: a whole number"),
    "a switch among numbers": ("[true]", "a.yaml:11: stages.0.block.0.kernels.0 is True; allowed: a whole number"),
    "null among numbers": ("[1, null]", "a.yaml:11: stages.0.block.0.kernels.1 is None; allowed: a whole number"),
    "a list among numbers": ("[1, [3]]", "a.yaml:11: stages.0.block.0.kernels.1 is [3]; allowed: a whole number"),
    "a fault on a line of its own": (
        "\n          - 1\n          - 3.5",
        "a.yaml:13: stages.0.block.0.kernels.1 is 3.5; allowed: a whole number",
    ),
    "even": ("[2]", "a.yaml: stage 1: branch 1: the kernels of repmlp must be odd and different; they are [2]"),
}
WITH_KERNELS = """\
image_size: 8
patch: 2
classes: 5
stages:
  - depth: 1
    dim: 8
    block:
      -
        op: repmlp
        sharesets: 2
        kernels: """


@pytest.mark.parametrize("name", KERNELS)
def test_faulty_kernels_are_named_with_line_and_key(refused, name: str) -> None:
    written, fragment = KERNELS[name]
    assert fragment in refused(lambda: Architecture.from_yaml(f"{WITH_KERNELS}{written}\n", name="a.yaml"))


@pytest.mark.parametrize(
    ("written", "kernels"),
    [("[]", ()), ("[3]", (3,)), ("[5, 1]", (1, 5)), ("\n          - 3\n          - 1", (1, 3))],
    ids=["none", "one", "unsorted", "lines"],
)
def test_reads_kernels(written: str, kernels: tuple[int, ...]) -> None:
    architecture = Architecture.from_yaml(f"{WITH_KERNELS}{written}\n")
    assert architecture == Architecture(8, 2, (Stage(1, 8, (Branch(RepMLP(2, kernels)),)),), classes=5)


def test_reads_what_people_write() -> None:
    block = (Branch(Attention(2)), Branch(Dense("channel", 16)))
    assert Architecture.from_yaml(TEXT) == Architecture(8, 2, (Stage(1, 8, block),), classes=5)


@pytest.mark.parametrize("number", ["1e-5", "1E-5", "1.0e-5", "0.00001", "1.e-05"])
def test_reads_small_numbers_however_they_are_written(number: str) -> None:
    architecture = Architecture.from_yaml(TEXT.replace("1.0e-6", number))
    assert architecture.stages[0].block[0].eps == 1e-5


@pytest.mark.parametrize("data", [{}, {"patch": 2}, {"image_size": "8"}, {"image_size": 8, "patch": 2, "stages": {}}])
def test_from_dict_refuses_what_is_not_an_architecture(refused, data: dict[str, Any]) -> None:
    assert refused(lambda: Architecture.from_dict(data)).startswith("architecture:1: ")


def test_a_file_that_is_not_there_is_named(refused, tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    assert refused(lambda: Architecture.from_yaml_file(path)) == f"{path} cannot be read: No such file or directory"


def mangled() -> Iterator[str]:
    """TEXT cut off at every line, and with every line left out or doubled."""
    lines = TEXT.splitlines(keepends=True)
    for index in range(len(lines)):
        yield "".join(lines[:index])
        yield "".join(lines[:index] + lines[index + 1 :])
        yield "".join(lines[: index + 1] + lines[index:])


@pytest.mark.parametrize("text", sorted(set(mangled())), ids=lambda text: f"{len(text)}")
def test_a_mangled_file_is_refused_or_read_but_never_crashes(text: str) -> None:
    try:
        assert Architecture.from_yaml(text).params > 0
    except ArchitectureError as error:
        assert str(error).startswith("<text>")  # noqa: PT017


def test_replacing_a_branch_gives_another_architecture(one_block: Make) -> None:
    architecture = one_block(Attention(2))
    stage = architecture.stages[0]
    wider = replace(architecture, stages=(replace(stage, block=(*stage.block, Branch(MLP))),))
    assert wider.params == architecture.params + 16 + 64 + 8 + 64 + 8


# What it becomes: its deployed form, and the same design for other images.


def test_deployed_has_every_repmlp_merged_and_nothing_else_changed(one_block: Make) -> None:
    block = (
        Branch(RepMLP(2, (3,)), "batchnorm", eps=1e-5, layer_scale=0.1),
        Branch(Dense("channel", 16, batchnorm=True)),
    )
    stages = (Stage(2, 8, block), Stage(1, 12, (Branch(Attention(2)), Branch(RepMLP(3))), "conv2_bn_relu"))
    net = {"stem": "conv_bn_relu", "position": "learned", "drop_path": 0.1, "final_norm": "none"}
    architecture = one_block(stages=stages, **net)
    merged = (
        Stage(2, 8, (replace(block[0], op=RepMLP(2, (), deploy=True)), block[1])),
        Stage(1, 12, (Branch(Attention(2)), Branch(RepMLP(3, (), deploy=True))), "conv2_bn_relu"),
    )
    assert architecture.deployed == one_block(stages=merged, **net)
    assert architecture.deployed.deployed is architecture.deployed
    assert tuple(branch.deployed for branch in block) == merged[0].block
    assert block[1].deployed is block[1]
    assert architecture == one_block(stages=stages, **net)


def test_deployed_is_the_architecture_itself_without_repmlp(one_block: Make) -> None:
    for changes in ({}, of(Gating(16, attention_dim=4)), of(Dense("channel", 8, batchnorm=True))):
        architecture = one_block(**changes)
        assert architecture.deployed is architecture


def test_stages_alike_once_deployed_are_one(one_block: Make) -> None:
    stages = tuple(Stage(2, 8, (Branch(RepMLP(2, kernels)),)) for kernels in ((), (3,)))
    architecture = one_block(stages=stages)
    assert len(architecture.stages) == 2
    assert architecture.deployed == one_block(RepMLP(2, deploy=True), stage={"depth": 4})


def test_deployed_cost_worked_by_hand(one_block: Make) -> None:
    """On 4 x 4 tokens of 8 channels in 2 sets, kernels 1 and 3, a block has 2 (16 - 2) - 2 (10 + 4) parameters more."""
    architecture = one_block(RepMLP(2), stage={"depth": 3})
    assert architecture.deployed.params - architecture.params == 3 * (2 * 16 - 2 * 2 - 2 * 10 - 2 * 4)
    assert architecture.macs - architecture.deployed.macs == 3 * 16 * 8 * 10


def test_at_another_image_size_all_that_depends_on_tokens_follows(one_block: Make) -> None:
    """FF-only's 4 (N + 1); permute's segments stage by stage; MLP-Mixer's C / 2 and the rest stay."""
    small = ff_only(16, 192, 12)
    block = (Branch(Dense("channel", 768)), Branch(Dense("token", 4 * 577), norm_axis="token"))
    assert small.at(384) == Architecture(384, 16, (Stage(12, 192, block),), **WITH_TOKEN)
    assert mixer(16, 512, 8).at(384) == replace(mixer(16, 512, 8), image_size=384)
    stages = tuple(
        Stage(2, dim, (Branch(Permute(side, weighted=False), eps=1e-5), Branch(MLP)), entry)
        for dim, side, entry in ((16, 16, "none"), (16, 8, "conv2"), (24, 8, "conv1"), (24, 4, "conv2_bn_relu"))
    )
    larger = one_block(image_size=32, stages=stages, drop_path=0.1)
    stages = tuple(
        replace(stage, block=(replace(stage.block[0], op=Permute(side, weighted=False)), stage.block[1]))
        for stage, side in zip(stages, (8, 4, 4, 2), strict=True)
    )
    assert larger.at(16) == one_block(image_size=16, stages=stages, drop_path=0.1)
    assert larger.at(16).at(32) == larger


@pytest.mark.parametrize("image_size", [196, 224, 448])
def test_vip_at_another_image_size(image_size: int) -> None:
    """Permute needs C divisible by the grid: 192 channels by 28, 32 or 64."""
    architecture = SYSTEMS["vip_s7"]()
    if image_size == 196:
        with pytest.raises(ArchitectureError, match="C is 192, segments is 28"):
            architecture.at(image_size)
    else:
        sides = [stage.block[0].op.segments for stage in architecture.at(image_size).stages]
        assert sides == [side * image_size // 224 for side in (32, 16)]


def test_at_its_own_image_size_it_is_itself(one_block: Make) -> None:
    for make in (*SYSTEMS.values(), lambda: one_block(RepMLP(2), position="learned", position_grid=7)):
        architecture = make()
        assert architecture.at(architecture.image_size) == architecture


def test_a_position_grid_stays_and_is_dropped_where_it_is_the_grid() -> None:
    architecture = ff_only(32, 1024, 24, position_grid=14)
    assert architecture.at(384).position_grid == 14
    assert architecture.at(448) == Architecture(
        448,
        32,
        (Stage(24, 1024, (Branch(Dense("channel", 4096)), Branch(Dense("token", 788), norm_axis="token"))),),
        **WITH_TOKEN,
    )
    assert architecture.at(448).position_grid is None


def test_at_is_refused_where_there_is_no_such_design(one_block: Make, refused) -> None:
    architecture = one_block(Permute(4))
    assert "patch must divide the image; image_size is 9, patch is 2" in refused(lambda: architecture.at(9))
    assert "patch must divide the image; image_size is 1, patch is 2" in refused(lambda: architecture.at(1))
    assert "image_size must be at least 1; it is 0" in refused(lambda: architecture.at(0))
    assert "C is 8, segments is 3" in refused(lambda: architecture.at(6))
    halved = one_block(stages=(Stage(1, 8, (Branch(MLP),)), Stage(1, 8, (Branch(MLP),), "conv2_bn_relu")))
    assert "stage 2: a grid of 3 x 3 tokens cannot be halved" in refused(lambda: halved.at(6))


def test_deployed_and_at_commute(one_block: Make) -> None:
    architecture = one_block(RepMLP(2), Dense("token", 48), Permute(4), stage={"dim": 40})
    assert architecture.at(16).deployed == architecture.deployed.at(16)
    assert architecture.at(16).stages[0].block[1].op == Dense("token", 192)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("depth: 1", "depth: 1001", "an architecture may have at most 1,000 blocks; it has 1,001"),
        ("dim: 8", f"dim: {10**30}", f"dim is {10**30}; allowed: whole numbers up to 10,000,000"),
        ("drop_path: 0.0", f"drop_path: 1{'0' * 400}", "a whole number of 1,329 bits is too large"),
        ("image_size: 8", f"image_size: -{10**12}", "allowed: whole numbers up to 10,000,000"),
    ],
)
def test_huge_numbers_are_refused(one_block: Make, refused, before: str, after: str, words: str) -> None:
    text = one_block().to_yaml()
    assert before in text
    assert words in refused(lambda: Architecture.from_yaml(text.replace(before, after)))


@pytest.mark.parametrize("value", [object(), {1, 2}, b"8"])
def test_what_is_not_plain_data_is_refused(one_block: Make, refused, value: object) -> None:
    data = one_block().to_dict()
    assert "made of plain data" in refused(lambda: Architecture.from_dict({**data, "image_size": value}))


def test_minus_zero_is_zero(one_block: Make) -> None:
    assert one_block(drop_path=-0.0).hash == one_block(drop_path=0.0).hash


def test_a_fault_is_placed_once(one_block: Make, refused) -> None:
    text = one_block(RepMLP(2)).to_yaml().replace("sharesets: 2", "sharesets: two")
    assert refused(lambda: Architecture.from_yaml(text, name="a.yaml")).count("a.yaml") == 1


@pytest.mark.parametrize(("norm_axis", "hidden"), [("token", 256), ("channel", 64)])
def test_a_width_of_4n_and_4c_follows_tokens_that_are_normalised(one_block: Make, norm_axis: str, hidden: int) -> None:
    """N and C are 16: 64 is 4N for FF-only, which normalises over the tokens, and 4C for a Mixer."""
    block = (Branch(Dense("token", 64), norm_axis=norm_axis),)
    architecture = one_block(stage={"dim": 16, "block": block})
    assert architecture.at(16).stages[0].block[0].op == Dense("token", hidden)

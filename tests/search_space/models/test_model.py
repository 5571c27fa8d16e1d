"""Layers against the formulas of their papers, written here with einsum in float64; and how models start."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from search_space.architecture import Architecture, Branch, Stage
from search_space.errors import ArchitectureError
from search_space.models.building import build
from search_space.models.initialisation import initialise
from search_space.models.layers import LAYERS
from search_space.models.layers.common import Affine, DropPath, ResidualBranch, make_norm
from search_space.models.model import Downsample, VisionModel, resize_positions, set_generator
from search_space.ops import Attention, Dense, Gating, Op, Permute, RepMLP, TokenShape

TOKEN = {"class_token": True, "pooling": "class_token", "position": "learned"}
EXAMPLE_NETS = {
    "attention": Architecture(8, 2, (Stage(2, 8, (Branch(Attention(2)), Branch(Dense("channel", 16)))),), **TOKEN),
    "positions resized": Architecture(8, 2, (Stage(1, 8, (Branch(Attention(2)),)),), **TOKEN, position_grid=3),
    "dense": Architecture(
        8,
        2,
        (
            Stage(
                1,
                8,
                (Branch(Dense("token", 12)), Branch(Dense("token"))),
            ),
        ),
    ),
    "wide token MLP": Architecture(8, 2, (Stage(1, 8, (Branch(Dense("token", 64), norm_axis="token"),)),)),
    "gating": Architecture(8, 2, (Stage(1, 8, (Branch(Gating(24, attention_dim=4)),)),)),
    "permute": Architecture(8, 2, (Stage(1, 8, (Branch(Permute(4)),)), Stage(1, 16, (Branch(Permute(2)),), "conv2"))),
    "repmlp": Architecture(
        8,
        2,
        (
            Stage(1, 8, (Branch(RepMLP(2), "batchnorm"),)),
            Stage(1, 16, (Branch(RepMLP(4), "batchnorm"),), "conv2_bn_relu"),
        ),
        stem="conv_bn_relu",
    ),
}
"""Every layer there is, for images of 3 x 8 x 8."""
SHAPE = TokenShape(4, 8)
Make = Callable[..., Architecture]


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


def random_tensor(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def scrambled(module: nn.Module, seed: int = 1) -> nn.Module:
    """The module in float64, in evaluation, every parameter and buffer drawn at random (variances positive)."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double().eval()
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                drawn = torch.randn(tensor.shape, dtype=torch.float64, generator=generator)
                tensor.copy_(drawn.exp() if name.endswith("running_var") else drawn)
    return module


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name.replace(".", "_"): tensor for name, tensor in module.state_dict().items()}


def gelu(x: Tensor) -> Tensor:
    """x Phi(x), with the exact normal distribution."""
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def silu(x: Tensor) -> Tensor:
    return x / (1 + (-x).exp())


def batch_norm(x: Tensor, w: dict[str, Tensor], name: str, axis: int, eps: float = 1e-5) -> Tensor:
    """With the statistics that were stored, along one axis of x."""
    shape = [-1 if index == axis else 1 for index in range(x.ndim)]
    mean, variance, weight, bias = (
        w[f"{name}_{part}"].view(shape) for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (variance + eps) ** 0.5 * weight + bias


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    centred = x - x.sum(-1, keepdim=True) / x.shape[-1]
    variance = (centred * centred).sum(-1, keepdim=True) / x.shape[-1]
    return centred / (variance + eps) ** 0.5 * weight + bias


# Ops.


@pytest.mark.parametrize("op", [Attention(1), Attention(4), Attention(8), Attention(2, qkv_bias=False)], ids=str)
@pytest.mark.parametrize("class_token", [False, True])
def test_attention(op: Attention, class_token: bool) -> None:
    """softmax(q k^T / sqrt(d)) v per head (arXiv 2010.11929, eqs. 5-8)."""
    shape = SHAPE._replace(class_token=class_token)
    layer = scrambled(LAYERS[Attention](op, shape))
    x = random_tensor(3, shape.tokens, 8)
    w = weights(layer)
    d = 8 // op.heads
    q_k_v = []
    for part in range(3):
        rows = slice(8 * part, 8 * part + 8)
        projected = torch.einsum("bnc,hdc->bhnd", x, w["qkv_weight"][rows].view(op.heads, d, 8))
        if op.qkv_bias:
            projected = projected + w["qkv_bias"][rows].view(1, op.heads, 1, d)
        q_k_v.append(projected)
    q, k, v = q_k_v
    scores = torch.einsum("bhnd,bhmd->bhnm", q, k) / math.sqrt(d)
    exponentials = (scores - scores.amax(-1, keepdim=True)).exp()
    heads = torch.einsum("bhnm,bhmd->bhnd", exponentials / exponentials.sum(-1, keepdim=True), v)
    y = torch.einsum("bhnd,chd->bnc", heads, w["proj_weight"].view(8, op.heads, d)) + w["proj_bias"]
    close(layer(x), y)


@pytest.mark.parametrize("op", [Dense("token", 5), Dense("token", 5, bias=False)], ids=str)
def test_token_mlp(op: Dense) -> None:
    """W2 gelu(W1 X) over the tokens of every channel (arXiv 2105.01601, eq. 1)."""
    layer = scrambled(LAYERS[Dense](op, SHAPE))
    w, x = weights(layer), random_tensor(3, 16, 8)
    hidden = torch.einsum("hn,bnc->bhc", w["fc1_weight"], x)
    hidden = gelu(hidden + w["fc1_bias"].view(1, -1, 1) if op.bias else hidden)
    y = torch.einsum("nh,bhc->bnc", w["fc2_weight"], hidden)
    close(layer(x), y + w["fc2_bias"].view(1, -1, 1) if op.bias else y)


def test_channel_mlp() -> None:
    layer = scrambled(LAYERS[Dense](Dense("channel", 5), SHAPE))
    w, x = weights(layer), random_tensor(3, 16, 8)
    hidden = gelu(torch.einsum("hc,bnc->bnh", w["fc1_weight"], x) + w["fc1_bias"])
    close(layer(x), torch.einsum("ch,bnh->bnc", w["fc2_weight"], hidden) + w["fc2_bias"])


@pytest.mark.parametrize("activation", ["gelu", "silu"])
@pytest.mark.parametrize("axis", ["token", "channel"])
@pytest.mark.parametrize("glu", [False, True])
def test_dense_with_activation_and_gate(axis: str, activation: str, glu: bool) -> None:
    """Halves (a, b) of the hidden width become a * activation(b) (arXiv 2002.05202)."""
    layer = scrambled(LAYERS[Dense](Dense(axis, 6, activation=activation, glu=glu), SHAPE))
    w, x = weights(layer), random_tensor(3, 16, 8)
    act = {"gelu": gelu, "silu": silu}[activation]
    x_bcw = x if axis == "channel" else x.transpose(1, 2)
    hidden = torch.einsum("hw,bcw->bch", w["fc1_weight"], x_bcw) + w["fc1_bias"]
    hidden = hidden[..., :3] * act(hidden[..., 3:]) if glu else act(hidden)
    y = torch.einsum("wh,bch->bcw", w["fc2_weight"], hidden) + w["fc2_bias"]
    close(layer(x), y if axis == "channel" else y.transpose(1, 2))


@pytest.mark.parametrize("glu", [False, True])
def test_dense_with_batchnorm(glu: bool) -> None:
    """A BatchNorm over images and tokens after each linear layer, which have no bias."""
    layer = scrambled(LAYERS[Dense](Dense("channel", 6, glu=glu, batchnorm=True), SHAPE))
    w, x = weights(layer), random_tensor(3, 16, 8)
    hidden = batch_norm(torch.einsum("hc,bnc->bnh", w["fc1_weight"], x), w, "norm1", 2)
    hidden = hidden[..., :3] * gelu(hidden[..., 3:]) if glu else gelu(hidden)
    close(layer(x), batch_norm(torch.einsum("ch,bnh->bnc", w["fc2_weight"], hidden), w, "norm2", 2))
    assert "fc1_bias" not in w
    assert "fc2_bias" not in w


def test_linear_with_batchnorm() -> None:
    layer = scrambled(LAYERS[Dense](Dense("channel", batchnorm=True), SHAPE))
    w, x = weights(layer), random_tensor(3, 16, 8)
    close(layer(x), batch_norm(torch.einsum("dc,bnc->bnd", w["fc1_weight"], x), w, "norm1", 2))


@pytest.mark.parametrize(("axis", "formula"), [("token", "mn,bnc->bmc"), ("channel", "dc,bnc->bnd")])
def test_linear(axis: str, formula: str) -> None:
    """One linear layer (across tokens: arXiv 2105.03404, eq. 2)."""
    layer = scrambled(LAYERS[Dense](Dense(axis), SHAPE))
    w, x = weights(layer), random_tensor(3, 16, 8)
    bias = w["fc1_bias"].view((1, -1, 1) if axis == "token" else (1, 1, -1))
    close(layer(x), torch.einsum(formula, w["fc1_weight"], x) + bias)


@pytest.mark.parametrize("op", [Gating(12), Gating(6, gate_eps=0.05)], ids=str)
def test_gating(op: Gating) -> None:
    """Z = gelu(X U), s(Z) = Z1 * (W norm(Z2) + b), Y = s(Z) V (arXiv 2105.08050, section 2)."""
    layer = scrambled(LAYERS[Gating](op, SHAPE))
    w, x = weights(layer), random_tensor(3, 16, 8)
    z = gelu(torch.einsum("hc,bnc->bnh", w["fc1_weight"], x) + w["fc1_bias"])
    z1, z2 = z[..., : op.hidden // 2], z[..., op.hidden // 2 :]
    normed = layer_norm(z2, w["norm_weight"], w["norm_bias"], op.gate_eps)
    gate = torch.einsum("mn,bnh->bmh", w["spatial_weight"], normed) + w["spatial_bias"].view(1, -1, 1)
    close(layer(x), torch.einsum("ch,bnh->bnc", w["fc2_weight"], z1 * gate) + w["fc2_bias"])


def test_gating_with_tiny_attention() -> None:
    """V becomes W norm(v) + b + fc(softmax(q k^T / sqrt(d)) w), q k w from the input (arXiv 2105.08050, section 4)."""
    layer = scrambled(LAYERS[Gating](Gating(12, attention_dim=3), SHAPE))
    w, x = weights(layer), random_tensor(3, 16, 8)
    z = gelu(torch.einsum("hc,bnc->bnh", w["fc1_weight"], x) + w["fc1_bias"])
    gate = torch.einsum(
        "mn,bnh->bmh", w["spatial_weight"], layer_norm(z[..., 6:], w["norm_weight"], w["norm_bias"], 1e-5)
    )
    gate = gate + w["spatial_bias"].view(1, -1, 1)
    q, k, v = (torch.einsum("dc,bnc->bnd", w["attention_qkv_weight"][3 * i : 3 * i + 3], x) for i in range(3))
    scores = (torch.einsum("bnd,bmd->bnm", q, k) / math.sqrt(3)).exp()
    seen = torch.einsum("bnm,bmd->bnd", scores / scores.sum(-1, keepdim=True), v)
    gate = gate + torch.einsum("hd,bnd->bnh", w["attention_out_weight"], seen) + w["attention_out_bias"]
    close(layer(x), torch.einsum("ch,bnh->bnc", w["fc2_weight"], z[..., :6] * gate) + w["fc2_bias"])


@pytest.mark.parametrize("kernels", [(), (1,), (3, 5)], ids=str)
@pytest.mark.parametrize("sharesets", [1, 2, 8])
def test_repmlp(sharesets: int, kernels: tuple[int, ...]) -> None:
    """Channel c goes through matrix and kernels c mod S; a kernel sees zeros beyond the map (arXiv 2112.11081)."""
    layer = scrambled(LAYERS[RepMLP](RepMLP(sharesets, kernels, reduction=2), SHAPE))
    w, x = weights(layer), random_tensor(3, 16, 8)
    y = torch.empty_like(x)
    for c in range(8):
        s = slice(c % sharesets, c % sharesets + 1)
        of_set = {name: tensor[s] for name, tensor in w.items() if name.startswith(("norm", "local")) and tensor.ndim}
        total = batch_norm(torch.einsum("mn,bn->bm", w["weight"][s.start], x[..., c]), of_set, "norm", 0)
        for k in kernels:
            taps, half = w[f"local_conv{k}_conv_weight"][s.start, 0], k // 2
            padded = torch.zeros(3, 4 + 2 * half, 4 + 2 * half, dtype=torch.float64)
            padded[:, half : half + 4, half : half + 4] = x[..., c].view(3, 4, 4)
            seen = sum(taps[i, j] * padded[:, i : i + 4, j : j + 4] for i in range(k) for j in range(k))
            total = total + batch_norm(seen.reshape(3, 16), of_set, f"local_conv{k}_norm", 0)
        y[..., c] = total
    close(layer(x), y * repmlp_gate(w, x))


def repmlp_gate(w: dict[str, Tensor], x: Tensor) -> Tensor:
    hidden = torch.einsum("hc,bc->bh", w["gate1_weight"], x.sum(1) / x.shape[1]) + w["gate1_bias"]
    scores = torch.einsum("ch,bh->bc", w["gate2_weight"], hidden * (hidden > 0)) + w["gate2_bias"]
    return (1 / (1 + (-scores).exp()))[:, None]


@pytest.mark.parametrize("sharesets", [1, 2, 8])
def test_repmlp_deployed(sharesets: int) -> None:
    layer = scrambled(LAYERS[RepMLP](RepMLP(sharesets, deploy=True), SHAPE))
    w, x = weights(layer), random_tensor(3, 16, 8)
    y = [torch.einsum("mn,bn->bm", w["weight"][c % sharesets], x[..., c]) + w["bias"][c % sharesets] for c in range(8)]
    close(layer(x), torch.stack(y, dim=-1) * repmlp_gate(w, x))
    assert set(w) == {"weight", "bias", "gate1_weight", "gate1_bias", "gate2_weight", "gate2_bias"}


def permute_branches(w: dict[str, Tensor], x: Tensor, grid: int) -> tuple[Tensor, Tensor, Tensor]:
    """The three branches as sums over indices: h, w the place, g the segment, s the channel in it; k, t are outputs.

    In the height branch the rows of a column are concatenated in place of the segments, and what comes out at row k and
    segment g is at channel (k, t) of the permuted tensor (arXiv 2106.12368, algorithm 1).
    """
    b, n, c = x.shape
    s = c // grid
    x_bhwgs = x.reshape(b, grid, grid, grid, s)
    by_height = torch.einsum("bhwgs,kths->bkwgt", x_bhwgs, w["height_weight"].view(grid, s, grid, s))
    by_width = torch.einsum("bhwgs,ktws->bhkgt", x_bhwgs, w["width_weight"].view(grid, s, grid, s))
    y_h, y_w = by_height, by_width
    if "height_bias" in w:
        y_h = y_h + w["height_bias"].view(1, grid, 1, 1, s)
        y_w = y_w + w["width_bias"].view(1, 1, grid, 1, s)
    y_c = torch.einsum("dc,bnc->bnd", w["channel_weight"], x) + w.get("channel_bias", torch.zeros(c))
    return y_h.reshape(b, n, c), y_w.reshape(b, n, c), y_c


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("grid", [2, 4])
def test_permute_unweighted(grid: int, bias: bool) -> None:
    layer = scrambled(LAYERS[Permute](Permute(grid, weighted=False, bias=bias), TokenShape(grid, 8)))
    w, x = weights(layer), random_tensor(3, grid * grid, 8)
    total = sum(permute_branches(w, x, grid))
    close(layer(x), torch.einsum("dc,bnc->bnd", w["proj_weight"], total) + w["proj_bias"])


@pytest.mark.parametrize("grid", [2, 4])
def test_permute_weighted(grid: int) -> None:
    """a = softmax over the three branches of fc2(gelu(fc1(mean))), reshaped (B, C, 3)."""
    layer = scrambled(LAYERS[Permute](Permute(grid), TokenShape(grid, 8)))
    w, x = weights(layer), random_tensor(3, grid * grid, 8)
    branches = torch.stack(permute_branches(w, x, grid))
    mean = branches.sum(0).sum(1) / grid**2
    hidden = gelu(torch.einsum("hc,bc->bh", w["reweight1_weight"], mean) + w["reweight1_bias"])
    scores = torch.einsum("och,bh->bco", w["reweight2_weight"].view(8, 3, 2).transpose(0, 1), hidden)
    scores = (scores + w["reweight2_bias"].view(8, 3)).exp()
    a = scores / scores.sum(-1, keepdim=True)
    y = torch.einsum("bco,obnc->bnc", a, branches)
    close(layer(x), torch.einsum("dc,bnc->bnd", w["proj_weight"], y) + w["proj_bias"])


def test_token_layers_keep_images_apart(example_op: Op) -> None:
    layer = scrambled(LAYERS[type(example_op)](example_op, SHAPE))
    x = random_tensor(3, 16, 8)
    close(layer(x)[1:2], layer(x[1:2]))


# Norms, layer scale, stochastic depth.


def test_layernorm_normalises_every_token() -> None:
    norm = scrambled(make_norm("layernorm", 8, 0.01))
    x = random_tensor(3, 16, 8)
    close(norm(x), layer_norm(x, norm.weight, norm.bias, 0.01))


def test_affine_scales_and_shifts_every_channel() -> None:
    norm = scrambled(make_norm("affine", 8, 0.01))
    x = random_tensor(3, 16, 8)
    close(norm(x), torch.einsum("c,bnc->bnc", norm.weight, x) + norm.bias)


def test_batchnorm_normalises_over_images_and_tokens() -> None:
    norm = scrambled(make_norm("batchnorm", 8, 0.01)).train()
    before = norm.running_mean.clone()
    x = random_tensor(3, 16, 8)
    mean = torch.einsum("bnc->c", x) / 48
    variance = torch.einsum("bnc->c", (x - mean) ** 2) / 48
    close(norm(x), (x - mean) / (variance + 0.01) ** 0.5 * norm.weight + norm.bias)
    close(norm.running_mean, 0.9 * before + 0.1 * mean)
    norm.eval()
    close(norm(x), (x - norm.running_mean) / (norm.running_var + 0.01) ** 0.5 * norm.weight + norm.bias)


def test_no_norm_changes_nothing() -> None:
    x = random_tensor(3, 16, 8)
    assert torch.equal(make_norm("none", 8, 0.01)(x), x)


@pytest.mark.parametrize("axis", ["channel", "token"])
@pytest.mark.parametrize("norm", ["layernorm", "affine"])
@pytest.mark.parametrize("layer_scale", [None, 0.1])
def test_residual_branch(norm: str, axis: str, layer_scale: float | None) -> None:
    """x + gamma * op(norm(x)), the norm over the channels of a token or over the tokens of a channel."""
    branch = Branch(Dense("channel"), norm, axis, eps=0.01, layer_scale=layer_scale)
    module = scrambled(ResidualBranch(branch, SHAPE, LAYERS[Dense](branch.op, SHAPE), 0.3))
    x, w = random_tensor(3, 16, 8), weights(module)
    y = x.transpose(1, 2) if axis == "token" else x
    weight, bias = w["norm_weight"], w["norm_bias"]
    y = layer_norm(y, weight, bias, 0.01) if norm == "layernorm" else y * weight + bias
    y = y.transpose(1, 2) if axis == "token" else y
    y = torch.einsum("dc,bnc->bnd", w["op_fc1_weight"], y) + w["op_fc1_bias"]
    close(module(x), x + y * w["gamma"] if layer_scale else x + y)
    assert len(w) == (5 if layer_scale else 4)


def test_drop_path_is_the_identity_in_evaluation() -> None:
    x = random_tensor(4, 16, 8)
    assert torch.equal(DropPath(0.5).eval()(x), x)
    assert torch.equal(DropPath(0.0).train()(x), x)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.75])
def test_drop_path_drops_an_image_or_scales_it_up(rate: float) -> None:
    """Each image is kept with probability 1 - rate and divided by it, so the mean is preserved."""
    drop = DropPath(rate).train()
    drop.generator = torch.Generator().manual_seed(0)
    n = 20_000
    x = random_tensor(n, 2, 3)
    factors = drop(x) / x
    close(factors, factors[:, :1, :1].expand_as(factors))
    dropped = factors[:, 0, 0] == 0
    kept = factors[:, 0, 0][~dropped]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - rate)), rtol=1e-6, atol=0)
    deviation = math.sqrt(rate * (1 - rate) / n)
    assert dropped.double().mean().item() == pytest.approx(rate, abs=5 * deviation)
    assert factors.mean().item() == pytest.approx(1, abs=5 * deviation / (1 - rate))


def rates(model: VisionModel) -> list[list[float]]:
    """Rates of stochastic depth by block, then by branch."""
    blocks = (block for stage in model.stages for block in stage if isinstance(block, nn.Sequential))
    return [[0.0 if b.drop_path is None else b.drop_path.rate for b in block] for block in blocks]


def test_drop_path_grows_linearly_over_the_blocks_of_all_stages(one_block: Make) -> None:
    block, other = (Branch(Attention(1)), Branch(Dense("channel", 8))), (Branch(Dense("channel", 8)),)
    stages = (Stage(3, 8, block), Stage(2, 16, other, "conv2"))
    model = build(one_block(stages=stages, drop_path=0.2))
    expected = [[0.0, 0.0], [0.05, 0.05], [0.1, 0.1], [0.15], [0.2]]
    assert [[pytest.approx(rate) for rate in block] for block in expected] == rates(model)
    constant = build(one_block(stages=stages, drop_path=0.2, drop_path_schedule="constant"))
    assert rates(constant) == [[0.2, 0.2]] * 3 + [[0.2]] * 2


def test_stochastic_depth_draws_from_the_generator_it_is_given(one_block: Make) -> None:
    model = build(one_block(stage={"depth": 6}, drop_path=0.5)).train()
    images = random_tensor(16, 3, 8, 8).float()
    before = torch.get_rng_state()
    outputs = []
    for seed in (3, 3, 4):
        set_generator(model, torch.Generator().manual_seed(seed))
        outputs.append(model(images))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    assert torch.equal(torch.get_rng_state(), before)


# The whole network.


def expected_stem(model: VisionModel, images: Tensor, patch: int) -> Tensor:
    """Each patch times the stem's weights; patches row by row."""
    b, c, side, _ = images.shape
    grid = side // patch
    patches = images.view(b, c, grid, patch, grid, patch)
    x = torch.einsum("bcipjq,dcpq->bijd", patches, model.stem.weight) + model.stem.bias
    return x.reshape(b, grid * grid, -1)


def test_gap_averages_normed_tokens(one_block: Make) -> None:
    model = scrambled(build(one_block()))
    images = random_tensor(2, 3, 8, 8)
    x = expected_stem(model, images, 2)
    for stage in model.stages:
        x = stage(x)
    close(model.features(images), x)
    pooled = layer_norm(x, model.norm.weight, model.norm.bias, 1e-6).sum(1) / 16
    close(model(images), torch.einsum("kc,bc->bk", model.head.weight, pooled) + model.head.bias)


def test_norm_after_pooling_norms_the_average(one_block: Make) -> None:
    model = scrambled(build(one_block(norm_after_pooling=True, final_eps=0.01)))
    images = random_tensor(2, 3, 8, 8)
    pooled = layer_norm(model.features(images).sum(1) / 16, model.norm.weight, model.norm.bias, 0.01)
    close(model(images), torch.einsum("kc,bc->bk", model.head.weight, pooled) + model.head.bias)


def test_class_token_comes_first_then_positions_are_added(one_block: Make) -> None:
    model = scrambled(build(one_block(class_token=True, pooling="class_token", position="learned")))
    images = random_tensor(2, 3, 8, 8)
    x = torch.cat([model.class_token.repeat(2, 1, 1), expected_stem(model, images, 2)], dim=1) + model.position
    for stage in model.stages:
        x = stage(x)
    pooled = layer_norm(x[:, 0], model.norm.weight, model.norm.bias, 1e-6)
    close(model(images), torch.einsum("kc,bc->bk", model.head.weight, pooled) + model.head.bias)


def test_a_class_token_may_be_averaged_with_the_others(one_block: Make) -> None:
    model = scrambled(build(one_block(class_token=True, final_norm="none")))
    images = random_tensor(2, 3, 8, 8)
    pooled = model.features(images).sum(1) / 17
    close(model(images), torch.einsum("kc,bc->bk", model.head.weight, pooled) + model.head.bias)


@pytest.mark.parametrize(("downsample", "side"), [("conv1", 1), ("conv2", 2), ("conv2_bn_relu", 2)])
def test_downsampling_takes_squares_of_tokens(downsample: str, side: int) -> None:
    stage = Stage(1, 6, (Branch(Dense("channel")),), downsample)
    module = scrambled(Downsample(stage, 8, TokenShape(4 // side, 6)))
    w, x = weights(module), random_tensor(2, 16, 8)
    places = x.view(2, 4 // side, side, 4 // side, side, 8)
    if downsample == "conv2_bn_relu":
        assert "conv_conv_bias" not in w
        y = torch.einsum("bipjqc,dcpq->bijd", places, w["conv_conv_weight"])
        y = batch_norm(y, w, "conv_norm", 3)
        y = y * (y > 0)
    else:
        y = torch.einsum("bipjqc,dcpq->bijd", places, w["conv_weight"]) + w["conv_bias"]
    close(module(x), y.reshape(2, -1, 6))


def test_stem_with_batchnorm(one_block: Make) -> None:
    """Each patch times the weights, without a bias; BatchNorm over images and patches; ReLU."""
    model = scrambled(build(one_block(stem="conv_bn_relu")))
    images = random_tensor(2, 3, 8, 8)
    patches = images.view(2, 3, 4, 2, 4, 2)
    x = torch.einsum("bcipjq,dcpq->bijd", patches, model.stem.conv.weight).reshape(2, 16, 8)
    x = batch_norm(x, weights(model), "stem_norm", 2)
    x = x * (x > 0)
    for stage in model.stages:
        x = stage(x)
    close(model.features(images), x)
    assert model.stem.conv.bias is None
    model.train()
    x = torch.einsum("bcipjq,dcpq->bijd", patches, model.stem.conv.weight).reshape(32, 8)
    centred = x - x.sum(0) / 32
    x = centred / ((centred**2).sum(0) / 32 + 1e-5) ** 0.5 * model.stem.norm.weight + model.stem.norm.bias
    close(model.stem(images).flatten(2).transpose(1, 2), (x * (x > 0)).view(2, 16, 8))


def bilinear(old: int, new: int) -> Tensor:
    """(new, old) weights: the centre of place i lies at (i + 1/2) old / new - 1/2, kept within the old centres."""
    matrix = torch.zeros(new, old, dtype=torch.float64)
    for i in range(new):
        centre = min(max((i + 0.5) * old / new - 0.5, 0.0), old - 1.0)
        left = min(int(centre), old - 1)
        right = min(left + 1, old - 1)
        matrix[i, left] += 1 - (centre - left)
        matrix[i, right] += centre - left
    return matrix


@pytest.mark.parametrize("class_token", [False, True])
@pytest.mark.parametrize("side", [1, 2, 3, 5, 7, 8])
def test_a_position_grid_is_resized_bilinearly(one_block: Make, side: int, class_token: bool) -> None:
    """The class token's embedding is added as it is."""
    architecture = one_block(position="learned", position_grid=side, class_token=class_token)
    model = scrambled(build(architecture))
    assert model.position.shape == (1, side * side + class_token, 8)
    images = random_tensor(2, 3, 8, 8)
    grid = model.position[0, int(class_token) :].view(side, side, 8)
    resized = torch.einsum("io,jp,opc->ijc", bilinear(side, 4), bilinear(side, 4), grid).reshape(16, 8)
    x = expected_stem(model, images, 2) + resized
    if class_token:
        first = model.class_token[0] + model.position[0, :1]
        x = torch.cat([first.expand(2, 1, 8), x], dim=1)
    for stage in model.stages:
        x = stage(x)
    close(model.features(images), x)


def test_a_halved_position_grid_worked_by_hand() -> None:
    """From 14 to 7, each new place is the mean of the four in its square, as FF-only-L/32 has it."""
    grid = torch.arange(196.0).view(14, 14)
    position = torch.cat([torch.tensor([-5.0]), grid.flatten()]).view(1, 197, 1)
    resized = resize_positions(position, 7, True, "bilinear")
    assert resized.shape == (1, 50, 1)
    assert resized[0, 0, 0] == -5
    means = (grid[::2, ::2] + grid[1::2, ::2] + grid[::2, 1::2] + grid[1::2, 1::2]) / 4
    assert torch.equal(resized[0, 1:, 0].view(7, 7), means)
    assert resize_positions(position, 14, True, "bilinear") is position


def test_stages_are_entered_through_their_downsampling(one_block: Make) -> None:
    block = (Branch(Dense("channel")),)
    stages = (Stage(1, 8, block), Stage(2, 12, block, "conv1"), Stage(1, 24, block, "conv2"))
    model = build(one_block(stages=stages))
    assert [[type(layer) for layer in stage] for stage in model.stages] == [
        [nn.Sequential],
        [Downsample, nn.Sequential, nn.Sequential],
        [Downsample, nn.Sequential],
    ]
    assert model.features(torch.zeros(2, 3, 8, 8)).shape == (2, 4, 24)
    assert model(torch.zeros(2, 3, 8, 8)).shape == (2, 5)


@pytest.mark.parametrize("norm", ["affine", "none", "layernorm", "batchnorm"])
@pytest.mark.parametrize("pooling", ["gap", "class_token"])
def test_norm_after_pooling_is_dropped_only_where_it_makes_no_difference(
    one_block: Make, norm: str, pooling: str
) -> None:
    """Training with either order gives the same output just if both descriptions are equal."""
    settings = {"class_token": pooling == "class_token", "pooling": pooling, "final_norm": norm}
    before, after = (one_block(norm_after_pooling=late, **settings) for late in (False, True))
    model = scrambled(build(before)).train()
    images = random_tensor(6, 3, 8, 8)
    x = model.features(images)
    pooled = x[:, 0] if pooling == "class_token" else x.mean(1)
    normed = model.norm(x)
    early = normed[:, 0] if pooling == "class_token" else normed.mean(1)
    same = torch.allclose(early, model.norm(pooled), rtol=1e-9, atol=1e-12)
    assert (before == after) == same


# How models start.


def sampled(space_at, image_size: int, count: int, seed: int) -> Iterator[Architecture]:
    rng = random.Random(seed)
    space = space_at(image_size)
    return (space.sample(rng) for _ in range(count))


def test_the_seed_decides_the_weights(one_block: Make) -> None:
    ops = (Attention(2), Gating(12, attention_dim=2), Permute(4), Dense("token", 6, glu=True), RepMLP(2))
    architecture = one_block(*ops, position="learned", branch={"layer_scale": 0.1})
    one, same, other = (build(architecture, generator=torch.Generator().manual_seed(s)) for s in (7, 7, 8))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.stem.weight, other.stem.weight)
    assert not torch.equal(one.head.weight, other.head.weight)
    unseeded = (build(architecture) for _ in range(2))
    assert torch.equal(*(model.head.weight for model in unseeded))


def test_building_leaves_the_global_generator_alone(one_block: Make) -> None:
    before = torch.get_rng_state()
    ops = (Attention(2), Gating(12), Permute(4), RepMLP(2), Dense("channel", 4, glu=True))
    build(one_block(*ops, branch={"norm": "batchnorm"}, stem="conv_bn_relu"))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("fill", [float("nan"), 1e30])
def test_every_parameter_and_buffer_is_initialised(space_at, fill: float) -> None:
    """Whatever memory held before is gone: poisoned models become finite and equal to fresh ones."""
    for architecture in sampled(space_at, 8, 12, seed=5):
        if architecture.params > 300_000:
            continue
        fresh = build(architecture)
        poisoned = build(architecture)
        with torch.no_grad():
            for tensor in [*poisoned.parameters(), *(b for b in poisoned.buffers() if b.is_floating_point())]:
                tensor.fill_(fill)
        initialise(poisoned, torch.Generator().manual_seed(0))
        expected = fresh.state_dict()
        for name, tensor in poisoned.state_dict().items():
            assert torch.isfinite(tensor).all(), name
            assert torch.equal(tensor, expected[name]), name


def test_biases_start_at_zero_norms_at_the_identity_and_layer_scale_at_its_value(one_block: Make) -> None:
    ops = (Attention(2), Dense("channel", 8, batchnorm=True), RepMLP(2), Gating(6, attention_dim=2))
    model = build(one_block(*ops, branch={"layer_scale": 0.25}, stem="conv_bn_relu", final_norm="affine"))
    norms = (nn.LayerNorm, nn.BatchNorm1d, nn.BatchNorm2d, Affine)
    assert {type(m) for m in model.modules()} >= {nn.LayerNorm, nn.BatchNorm1d, nn.BatchNorm2d, Affine}
    for module in model.modules():
        if isinstance(module, norms):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert (module.running_mean == 0).all()
            assert (module.running_var == 1).all()
            assert module.num_batches_tracked == 0
        if isinstance(module, nn.Linear) and module.bias is not None and module.in_features != 16:  # 16: the gate's
            assert (module.bias == 0).all()
        if isinstance(module, nn.Linear):
            assert 0 < module.weight.std() < 1
        if isinstance(module, ResidualBranch):
            assert (module.gamma == 0.25).all()


def test_convolutions_and_repmlp_start_as_in_pytorch(one_block: Make) -> None:
    """Uniform within 1 / sqrt(fan-in): 12 for the stem, k^2 for depthwise kernels, N for the matrices."""
    model = build(one_block(RepMLP(8, (3, 5)), RepMLP(8, deploy=True), stem="conv_bn_relu"))
    training, deployed = (branch.op for branch in model.stages[0][0])
    bounds = [
        (model.stem.conv.weight, 12),
        (training.local.conv3.conv.weight, 9),
        (training.local.conv5.conv.weight, 25),
        (training.weight, 16),
        (deployed.weight, 16),
        (deployed.bias, 16),
    ]
    for tensor, fan_in in bounds:
        bound = fan_in**-0.5
        assert 0.9 * bound < tensor.abs().max() <= bound
        assert tensor.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.2)


@pytest.mark.parametrize("fill", [float("nan"), 1e30])
def test_every_tensor_of_an_op_is_initialised(one_block: Make, example_op: Op, fill: float) -> None:
    architecture = one_block(
        example_op, branch={"norm": "batchnorm", "layer_scale": 0.1}, position="learned", position_grid=3
    )
    model, fresh = build(architecture), build(architecture).state_dict()
    with torch.no_grad():
        for tensor in [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]:
            tensor.fill_(fill)
    initialise(model, torch.Generator().manual_seed(0))
    for name, tensor in model.state_dict().items():
        assert torch.isfinite(tensor).all(), name
        assert torch.equal(tensor, fresh[name]), name


@pytest.mark.parametrize("activation", ["gelu", "silu"])
@pytest.mark.parametrize("axis", ["token", "channel"])
def test_a_gated_linear_unit_starts_as_linear(one_block: Make, axis: str, activation: str) -> None:
    """Its gate is activation(1) whatever the input: weights near 0 and bias 1."""
    layer = build(one_block(Dense(axis, 12, activation=activation, glu=True))).stages[0][0][0].op
    x = random_tensor(2, 16, 8).float()
    one = torch.ones(())
    gate = {"gelu": gelu, "silu": silu}[activation](one)
    x_in = x if axis == "channel" else x.transpose(1, 2)
    y = (x_in @ layer.fc1.weight[:6].T * gate) @ layer.fc2.weight.T + layer.fc2.bias
    torch.testing.assert_close(layer(x), y if axis == "channel" else y.transpose(1, 2), rtol=0, atol=1e-4)
    assert layer.fc1.weight[:6].std() > 0.1
    assert layer.fc1.weight[6:].abs().max() < 1e-5
    assert (layer.fc1.bias == torch.tensor([0.0] * 6 + [1.0] * 6)).all()


def test_the_gate_starts_as_the_identity(one_block: Make) -> None:
    """Spatial weights near 0 and bias 1 (arXiv 2105.08050, section 2.1), so s(Z) is Z1."""
    model = build(one_block(Gating(24)))
    layer = model.stages[0][0][0].op
    assert (layer.spatial.bias == 1).all()
    assert 0 < layer.spatial.weight.abs().max() < 1e-5
    x = random_tensor(2, 16, 8).float()
    u = gelu(layer.fc1(x))[..., :12]
    torch.testing.assert_close(layer(x), layer.fc2(u), rtol=0, atol=1e-4)


# Cost of whole networks: closed form against the network.


def measured_macs(architecture: Architecture) -> float:
    with torch.device("meta"):
        model = VisionModel(architecture).eval()
        side = architecture.image_size
        with FlopCounterMode(display=False) as counter:
            scores = model(torch.empty(1, architecture.in_channels, side, side))
    assert scores.shape == (1, architecture.classes)
    assert sum(parameter.numel() for parameter in model.parameters()) == architecture.params
    return counter.get_total_flops() / 2


@pytest.mark.parametrize(("image_size", "count"), [(8, 20), (28, 4), (32, 4)])
def test_closed_form_cost_of_sampled_architectures(space_at, image_size: int, count: int) -> None:
    for architecture in sampled(space_at, image_size, count, seed=image_size):
        assert measured_macs(architecture) == architecture.macs, architecture.to_yaml()


def test_closed_form_cost_of_what_the_space_does_not_name(example_op: Op, one_block: Make) -> None:
    block = (Branch(example_op, "layernorm", "token", layer_scale=0.5), Branch(Dense("channel", 3, False), "none"))
    stages = (Stage(2, 8, block), Stage(1, 20, (Branch(Dense("token"), "affine"),), "conv1"))
    architecture = one_block(stages=stages, position="learned", final_norm="batchnorm", in_channels=2)
    assert measured_macs(architecture) == architecture.macs


@pytest.mark.parametrize(
    "changes",
    [
        {"stem": "conv_bn_relu"},
        {"position": "learned", "position_grid": 7},
        {"position": "learned", "position_grid": 2, "class_token": True},
        {
            "stages": tuple(
                Stage(2, dim, (Branch(Dense("token")),), entry) for dim, entry in ((8, "none"), (10, "conv1"))
            )
        },
        {
            "stages": tuple(
                Stage(2, dim, (Branch(Dense("token")),), entry) for dim, entry in ((8, "none"), (8, "conv2"))
            )
        },
        {"stages": tuple(Stage(1, d, (Branch(RepMLP(2)),), e) for d, e in ((8, "none"), (12, "conv2_bn_relu")))},
    ],
    ids=["stem", "position", "position with token", "conv1", "conv2", "conv2_bn_relu"],
)
def test_closed_form_cost_outside_the_blocks(one_block: Make, changes: dict[str, Any]) -> None:
    architecture = one_block(**changes)
    assert measured_macs(architecture) == architecture.macs
    assert measured_macs(architecture.deployed) == architecture.deployed.macs


def test_stems_and_downsamplings_worked_by_hand(one_block: Make) -> None:
    """A scale and a shift stand in place of the bias, and count no MACs."""
    block = (Branch(Dense("channel")),)
    biased, normed = (
        one_block(stages=(Stage(1, 8, block), Stage(1, 12, block, f"conv2{kind}")), stem=f"conv{kind}")
        for kind in ("", "_bn_relu")
    )
    blocks, head = (2 * 8 + 8 * 8 + 8) + (2 * 12 + 12 * 12 + 12), 2 * 12 + 12 * 5 + 5
    assert biased.params == (12 * 8 + 8) + (4 * 8 * 12 + 12) + blocks + head
    assert normed.params == (12 * 8 + 2 * 8) + (4 * 8 * 12 + 2 * 12) + blocks + head
    assert biased.macs == normed.macs == 16 * 12 * 8 + 4 * (4 * 8 * 12) + 16 * 64 + 4 * 144 + 60
    smaller = one_block(position="learned", position_grid=3, class_token=True).params
    assert smaller - one_block(class_token=True).params == (3 * 3 + 1) * 8


def test_every_op_has_gradients_everywhere(one_block: Make, example_op: Op) -> None:
    """For one of a few initialisations at least: in a single one, both ReLUs of RepMLP's gate may be dead."""
    architecture = one_block(example_op, position="learned", position_grid=3, stem="conv_bn_relu")
    learning: set[str] = set()
    for seed in range(5):
        model = build(architecture, generator=torch.Generator().manual_seed(seed)).train()
        model(random_tensor(4, 3, 8, 8).float()).square().sum().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            if parameter.grad.abs().max() > 0:
                learning.add(name)
    assert learning == {name for name, _ in model.named_parameters()}


def test_sampled_models_have_gradients_everywhere(space_at) -> None:
    for architecture in sampled(space_at, 8, 10, seed=11):
        if architecture.params > 300_000 or architecture.drop_path:
            continue
        model = build(architecture)
        model(random_tensor(4, 3, 8, 8).float()).square().sum().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name


# What a model can be turned into.


@pytest.fixture(params=[*EXAMPLE_NETS], ids=str)
def example_net(request: pytest.FixtureRequest) -> Architecture:
    return EXAMPLE_NETS[request.param]


def test_a_model_is_traced_for_every_batch(example_net: Architecture) -> None:
    model, images = build(example_net).eval(), random_tensor(5, 3, 8, 8).float()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces the end of tracing
        traced = torch.jit.trace(model, images[:2])
        torch.testing.assert_close(traced(images), model(images), rtol=0, atol=1e-5)


def test_a_model_is_exported_for_every_batch(example_net: Architecture) -> None:
    model, images = build(example_net).eval(), random_tensor(5, 3, 8, 8).float()
    exported = torch.export.export(model, (images[:2],), dynamic_shapes=({0: torch.export.Dim("batch", max=64)},))
    torch.testing.assert_close(exported.module()(images), model(images), rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (1, 3, 16, 16), (1, 3, 8, 16)])
def test_images_of_another_size_are_refused(shape: tuple[int, ...]) -> None:
    model = build(EXAMPLE_NETS["gating"])
    with pytest.raises(ArchitectureError) as caught:
        model(torch.zeros(shape))
    assert str(caught.value) == f"images are {shape[1]} x {shape[2]} x {shape[3]}; this model takes 3 x 8 x 8"


def test_attention_without_positions_takes_any_image_the_patch_divides(one_block: Make) -> None:
    assert build(one_block(Attention(2))).eval()(torch.zeros(1, 3, 12, 12)).shape == (1, 5)

"""Whole networks written a second time, from the papers: plain functions of published weights, with einsum and loops.

Nothing here is shared with the package but the models it builds and the loader that fills them. Weights have the names
and shapes of the authors' repositories (aMLP, of which none were published, has ours), and are drawn at random. Scores
agree in float64, in evaluation and in training mode, and so do the gradients of every weight.

B images, H and W the grid, N tokens, C channels; K hidden channels, S sets or segments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from search_space import load_published
from search_space.architecture import Architecture, Branch, Stage
from search_space.models.model import VisionModel
from search_space.ops import Dense, Gating, Permute, RepMLP

Weights = dict[str, Tensor]
CLASSES = 5


# Pieces.


def below(w: Weights, prefix: str) -> Weights:
    """What begins with `prefix`, under the rest of its name."""
    return {name[len(prefix) :]: tensor for name, tensor in w.items() if name.startswith(prefix)}


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def relu(x: Tensor) -> Tensor:
    return x * (x > 0)


def softmax(x: Tensor) -> Tensor:
    powers = x.exp()
    return powers / torch.einsum("...k->...", powers)[..., None]


def linear(x: Tensor, w: Weights, name: str) -> Tensor:
    y = torch.einsum("...i,oi->...o", x, w[f"{name}.weight"])
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def layer_norm(x: Tensor, w: Weights, name: str, eps: float) -> Tensor:
    centred = x - torch.einsum("...c->...", x)[..., None] / x.shape[-1]
    variance = torch.einsum("...c,...c->...", centred, centred)[..., None] / x.shape[-1]
    return centred / (variance + eps) ** 0.5 * w[f"{name}.weight"] + w[f"{name}.bias"]


def batch_norm(x: Tensor, w: Weights, name: str, training: bool) -> Tensor:
    """Over all axes but the last one, with eps 1e-5; in training with the statistics of what it is given."""
    mean, variance = w[f"{name}.running_mean"], w[f"{name}.running_var"]
    if training:
        places = x.numel() // x.shape[-1]
        mean = torch.einsum("...c->c", x) / places
        variance = torch.einsum("...c,...c->c", x - mean, x - mean) / places
    return (x - mean) / (variance + 1e-5) ** 0.5 * w[f"{name}.weight"] + w[f"{name}.bias"]


def patches(x: Tensor, w: Weights, name: str, side: int) -> Tensor:
    """A convolution of size and stride `side`: (B, H, W, C) -> (B, H / side, W / side, K)."""
    b, h, width, c = x.shape
    x = x.reshape(b, h // side, side, width // side, side, c)
    y = torch.einsum("bhiwjc,kcij->bhwk", x, w[f"{name}.weight"])
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


# FF-only (arXiv 2105.02723; lukemelas/do-you-even-need-attention).


def bilinear(old: int, new: int) -> Tensor:
    """(new, old): the centre of place i lies at (i + 1/2) old / new - 1/2, kept within the old centres."""
    matrix = torch.zeros(new, old, dtype=torch.float64)
    for i in range(new):
        centre = min(max((i + 0.5) * old / new - 0.5, 0.0), old - 1.0)
        left = int(centre)
        matrix[i, left] += 1 - (centre - left)
        matrix[i, min(left + 1, old - 1)] += centre - left
    return matrix


def ff_only(w: Weights, images: Tensor, patch: int) -> Tensor:
    """A channel MLP, then an MLP over the tokens of each channel, normalised over the tokens."""
    x_bhwc = patches(images, w, "patch_embed.proj", patch)
    b, grid, _, c = x_bhwc.shape
    positions = w["pos_encoding.pos_embed"][0]
    resize = bilinear(positions.shape[-1], grid)
    x_bhwc = x_bhwc + torch.einsum("hi,wj,cij->hwc", resize, resize, positions)
    first = (w["cls_token"] + w["pos_encoding.cls_pos_embed"]).expand(b, 1, c)
    x = torch.cat([first, x_bhwc.reshape(b, grid * grid, c)], dim=1)
    block = 0
    while f"blocks.{block}.norm1.weight" in w:
        v = below(w, f"blocks.{block}.")
        x = x + linear(gelu(linear(layer_norm(x, v, "norm1", 1e-6), v, "mlp1.fc1")), v, "mlp1.fc2")
        y_bcn = torch.einsum("bnc->bcn", x)
        y_bcn = linear(gelu(linear(layer_norm(y_bcn, v, "norm2", 1e-6), v, "mlp2.fc1")), v, "mlp2.fc2")
        x = x + torch.einsum("bcn->bnc", y_bcn)
        block += 1
    return linear(layer_norm(x, w, "norm", 1e-6)[:, 0], w, "head")


# Vision Permutator (arXiv 2106.12368, section 3.2 and algorithm 1; houqb/VisionPermutator).


def permute_mlp(x: Tensor, w: Weights) -> Tensor:
    """(B, H, W, C) -> (B, H, W, C); as many segments of channels as rows, so channel c is (segment, s)."""
    b, grid, _, c = x.shape
    segments = x.reshape(b, grid, grid, grid, c // grid)
    by_height, by_width = torch.zeros_like(segments), torch.zeros_like(segments)
    mlp_h, mlp_w = (w[f"mlp_{axis}.weight"].reshape(grid, c // grid, grid, c // grid) for axis in "hw")
    for g in range(grid):
        for place in range(grid):
            # A column of a segment, and a row of one, are C numbers each: (place along it, s).
            by_height[:, :, place, g] = torch.einsum("bis,ktis->bkt", segments[:, :, place, g], mlp_h)
            by_width[:, place, :, g] = torch.einsum("bjs,ktjs->bkt", segments[:, place, :, g], mlp_w)
    branches = [by_height.reshape(x.shape), by_width.reshape(x.shape), linear(x, w, "mlp_c")]
    if "reweight.fc1.weight" in w:
        mean = torch.einsum("bhwc->bc", branches[0] + branches[1] + branches[2]) / grid**2
        a_bco = softmax(linear(gelu(linear(mean, w, "reweight.fc1")), w, "reweight.fc2").reshape(b, c, 3))
        branches = [torch.einsum("bc,bhwc->bhwc", a_bco[:, :, o], branch) for o, branch in enumerate(branches)]
    return linear(branches[0] + branches[1] + branches[2], w, "proj")


def vip(w: Weights, images: Tensor, patch: int) -> Tensor:
    """Permute-MLP and channel MLP on the map of tokens; parts of `network` are blocks, or one downsampling."""
    x = patches(images, w, "patch_embed.proj", patch)
    part = 0
    while below(w, f"network.{part}."):
        v = below(w, f"network.{part}.")
        if "proj.weight" in v:
            x = patches(x, v, "proj", v["proj.weight"].shape[-1])
        block = 0
        while f"{block}.norm1.weight" in v:
            u = below(v, f"{block}.")
            x = x + permute_mlp(layer_norm(x, u, "norm1", 1e-5), below(u, "attn."))
            x = x + linear(gelu(linear(layer_norm(x, u, "norm2", 1e-5), u, "mlp.fc1")), u, "mlp.fc2")
            block += 1
        part += 1
    return linear(torch.einsum("bhwc->bc", layer_norm(x, w, "norm", 1e-5)) / x.shape[1] ** 2, w, "head")


# RepMLPNet (arXiv 2112.11081, section 3; DingXiaoH/RepMLP, repmlpnet.py).


def repmlp(x: Tensor, w: Weights, training: bool) -> Tensor:
    """(B, H, W, C) -> (B, H, W, C): the map of channel c goes through matrix and kernels c mod S."""
    b, h, width, c = x.shape
    sets = w["fc3.weight"].shape[0] // (h * width)
    maps = torch.empty(b, c // sets, h, width, sets, dtype=x.dtype)
    for channel in range(c):
        maps[:, channel // sets, :, :, channel % sets] = x[..., channel]
    matrix = w["fc3.weight"].reshape(sets, h, width, h, width)
    y = torch.einsum("sijhw,bmhws->bmijs", matrix, maps)
    if "fc3.bias" in w:
        y = y + torch.einsum("sij->ijs", w["fc3.bias"].reshape(sets, h, width))
    else:
        y = batch_norm(y, w, "fc3_bn", training)
    for kernel in range(1, 10, 2):
        if f"repconv{kernel}.conv.weight" in w:
            taps, half = w[f"repconv{kernel}.conv.weight"], kernel // 2
            local = torch.zeros_like(y)
            for i in range(h):
                for j in range(width):
                    for up in range(max(0, i - half), min(h, i + half + 1)):
                        for left in range(max(0, j - half), min(width, j + half + 1)):
                            tap = taps[:, 0, up - i + half, left - j + half]
                            local[:, :, i, j] += torch.einsum("s,bms->bms", tap, maps[:, :, up, left])
            y = y + batch_norm(local, w, f"repconv{kernel}.bn", training)
    mean = torch.einsum("bhwc->bc", x) / (h * width)
    fc1, fc2 = w["gp.fc1.weight"][:, :, 0, 0], w["gp.fc2.weight"][:, :, 0, 0]
    gate = torch.einsum("ck,bk->bc", fc2, relu(torch.einsum("kc,bc->bk", fc1, mean) + w["gp.fc1.bias"]))
    gate = (1 + torch.tanh((gate + w["gp.fc2.bias"]) / 2)) / 2  # the logistic function
    return torch.stack([y[:, k // sets, :, :, k % sets] * gate[:, k, None, None] for k in range(c)], dim=-1)


def ffn(x: Tensor, w: Weights, training: bool) -> Tensor:
    for name in ("ffn_fc1", "ffn_fc2"):
        x = gelu(x) if name == "ffn_fc2" else x
        x = torch.einsum("bhwc,kc->bhwk", x, w[f"{name}.conv.weight"][:, :, 0, 0])
        x = batch_norm(x, w, f"{name}.bn", training)
    return x


def repmlpnet(w: Weights, images: Tensor, patch: int, training: bool = False) -> Tensor:
    x = relu(batch_norm(patches(images, w, "conv_embedding.conv", patch), w, "conv_embedding.bn", training))
    stage = 0
    while below(w, f"stages.{stage}."):
        block = 0
        while below(w, f"stages.{stage}.{block}."):
            v = below(w, f"stages.{stage}.{block}.")
            x = x + repmlp(batch_norm(x, v, "prebn1", training), below(v, "repmlp_block."), training)
            x = x + ffn(batch_norm(x, v, "prebn2", training), below(v, "ffn_block."), training)
            block += 1
        if below(w, f"embeds.{stage}."):
            v = below(w, f"embeds.{stage}.")
            x = relu(batch_norm(patches(x, v, "conv", 2), v, "bn", training))
        stage += 1
    mean = torch.einsum("bhwc->bc", batch_norm(x, w, "head_norm", training)) / (x.shape[1] * x.shape[2])
    return linear(mean, w, "head")


# AMLP (arXiv 2105.08050, section 4 and the pseudo-code of its appendix), with our names.


def amlp(w: Weights, images: Tensor, patch: int) -> Tensor:
    x_bhwc = patches(images, w, "stem", patch)
    x = x_bhwc.reshape(x_bhwc.shape[0], -1, x_bhwc.shape[-1])
    block = 0
    while f"stages.0.{block}.0.norm.weight" in w:
        v = below(w, f"stages.0.{block}.0.")
        normed = layer_norm(x, v, "norm", 1e-6)
        hidden = gelu(linear(normed, v, "op.fc1"))
        half = hidden.shape[-1] // 2
        gate = torch.einsum("mn,bnk->bmk", v["op.spatial.weight"], layer_norm(hidden[..., half:], v, "op.norm", 1e-5))
        gate = gate + v["op.spatial.bias"][:, None]
        if "op.attention.qkv.weight" in v:
            d = v["op.attention.qkv.weight"].shape[0] // 3
            q, k, u = (linear(normed, v, "op.attention.qkv")[..., d * i : d * i + d] for i in range(3))
            attended = torch.einsum("bnm,bmd->bnd", softmax(torch.einsum("bnd,bmd->bnm", q, k) / d**0.5), u)
            gate = gate + linear(attended, v, "op.attention.out")
        x = x + linear(hidden[..., :half] * gate, v, "op.fc2")
        block += 1
    return linear(torch.einsum("bnc->bc", layer_norm(x, w, "norm", 1e-6)) / x.shape[1], w, "head")


# Shapes of their weights, as the repositories have them.


def fc(name: str, inputs: int, outputs: int, bias: bool = True) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (outputs, inputs)
    if bias:
        yield f"{name}.bias", (outputs,)


def conv(name: str, inputs: int, outputs: int, side: int, bias: bool = True) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (outputs, inputs, side, side)
    if bias:
        yield f"{name}.bias", (outputs,)


def ln(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def bn(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from ln(name, width)
    yield f"{name}.running_mean", (width,)
    yield f"{name}.running_var", (width,)
    yield f"{name}.num_batches_tracked", ()


Shapes = Iterator[tuple[str, tuple[int, ...]]]


def ff_only_shapes(patch: int, dim: int, depth: int, tokens: int, position_grid: int) -> Shapes:
    yield "cls_token", (1, 1, dim)
    yield "pos_encoding.pos_embed", (1, dim, position_grid, position_grid)
    yield "pos_encoding.cls_pos_embed", (1, 1, dim)
    yield from conv("patch_embed.proj", 3, dim, patch)
    for block in range(depth):
        yield from ln(f"blocks.{block}.norm1", dim)
        yield from fc(f"blocks.{block}.mlp1.fc1", dim, 4 * dim)
        yield from fc(f"blocks.{block}.mlp1.fc2", 4 * dim, dim)
        yield from ln(f"blocks.{block}.norm2", tokens)
        yield from fc(f"blocks.{block}.mlp2.fc1", tokens, 4 * tokens)
        yield from fc(f"blocks.{block}.mlp2.fc2", 4 * tokens, tokens)
    yield from ln("norm", dim)
    yield from fc("head", dim, CLASSES)


def vip_shapes(patch: int, parts: list[tuple[int, int]], joints: list[int], weighted: bool) -> Shapes:
    """Stages of (depth, dim), and the side of the convolution between each two."""
    yield from conv("patch_embed.proj", 3, parts[0][1], patch)
    for index, (depth, dim) in enumerate(parts):
        if index:
            yield from conv(f"network.{2 * index - 1}.proj", parts[index - 1][1], dim, joints[index - 1])
        for block in range(depth):
            name = f"network.{2 * index}.{block}"
            yield from ln(f"{name}.norm1", dim)
            for axis in "hwc":
                yield from fc(f"{name}.attn.mlp_{axis}", dim, dim, bias=False)
            if weighted:
                yield from fc(f"{name}.attn.reweight.fc1", dim, dim // 4)
                yield from fc(f"{name}.attn.reweight.fc2", dim // 4, 3 * dim)
            yield from fc(f"{name}.attn.proj", dim, dim)
            yield from ln(f"{name}.norm2", dim)
            yield from fc(f"{name}.mlp.fc1", dim, 3 * dim)
            yield from fc(f"{name}.mlp.fc2", 3 * dim, dim)
    yield from ln("norm", parts[-1][1])
    yield from fc("head", parts[-1][1], CLASSES)


def repmlpnet_shapes(patch: int, grid: int, stages: list[tuple[int, int, int]], deploy: bool) -> Shapes:
    """Stages of (depth, dim, sharesets)."""
    yield from conv("conv_embedding.conv", 3, stages[0][1], patch, bias=False)
    yield from bn("conv_embedding.bn", stages[0][1])
    for index, (depth, dim, sets) in enumerate(stages):
        places = (grid // 2**index) ** 2
        if index:
            yield from conv(f"embeds.{index - 1}.conv", stages[index - 1][1], dim, 2, bias=False)
            yield from bn(f"embeds.{index - 1}.bn", dim)
        for block in range(depth):
            name = f"stages.{index}.{block}"
            yield from bn(f"{name}.prebn1", dim)
            yield from conv(f"{name}.repmlp_block.gp.fc1", dim, dim // 4, 1)
            yield from conv(f"{name}.repmlp_block.gp.fc2", dim // 4, dim, 1)
            yield from conv(f"{name}.repmlp_block.fc3", places, sets * places, 1, bias=deploy)
            if not deploy:
                yield from bn(f"{name}.repmlp_block.fc3_bn", sets)
                for kernel in (1, 3):
                    yield from conv(f"{name}.repmlp_block.repconv{kernel}.conv", 1, sets, kernel, bias=False)
                    yield from bn(f"{name}.repmlp_block.repconv{kernel}.bn", sets)
            yield from bn(f"{name}.prebn2", dim)
            for fc_name, inputs, outputs in (("ffn_fc1", dim, 4 * dim), ("ffn_fc2", 4 * dim, dim)):
                yield from conv(f"{name}.ffn_block.{fc_name}.conv", inputs, outputs, 1, bias=False)
                yield from bn(f"{name}.ffn_block.{fc_name}.bn", outputs)
    yield from bn("head_norm", stages[-1][1])
    yield from fc("head", stages[-1][1], CLASSES)


def amlp_shapes(patch: int, dim: int, depth: int, tokens: int, attention: int) -> Shapes:
    yield from conv("stem", 3, dim, patch)
    for block in range(depth):
        name = f"stages.0.{block}.0"
        yield from ln(f"{name}.norm", dim)
        yield from fc(f"{name}.op.fc1", dim, 6 * dim)
        yield from ln(f"{name}.op.norm", 3 * dim)
        yield from fc(f"{name}.op.spatial", tokens, tokens)
        yield from fc(f"{name}.op.fc2", 3 * dim, dim)
        if attention:
            yield from fc(f"{name}.op.attention.qkv", dim, 3 * attention, bias=False)
            yield from fc(f"{name}.op.attention.out", attention, 3 * dim)
    yield from ln("norm", dim)
    yield from fc("head", dim, CLASSES)


def drawn(shapes: Shapes, seed: int = 0) -> Weights:
    """Random weights: matrices that keep the size of what they multiply, variances positive."""
    generator = torch.Generator().manual_seed(seed)
    weights: Weights = {}
    for name, shape in shapes:
        tensor = torch.randn(shape, dtype=torch.float64, generator=generator)
        if name.endswith("num_batches_tracked"):
            tensor = torch.tensor(7)
        elif name.endswith("running_var"):
            tensor = 1 + tensor**2
        elif len(shape) in (2, 4) and name.endswith("weight"):
            tensor = tensor / math.prod(shape[1:]) ** 0.5
        weights[name] = tensor
    return weights


# The same architectures, built by the package.


def repmlpnet_stages() -> tuple[Stage, ...]:
    stages = []
    for index, (depth, dim, sets) in enumerate(REPMLPNET):
        ops = (RepMLP(sets), Dense("channel", 4 * dim, batchnorm=True))
        block = tuple(Branch(op, "batchnorm", eps=1e-5) for op in ops)
        stages.append(Stage(depth, dim, block, "conv2_bn_relu" if index else "none"))
    return tuple(stages)


def vip_stages(weighted: bool) -> tuple[Stage, ...]:
    settings = [(2, 12, 6, "none"), (1, 18, 3, "conv2"), (1, 12, 3, "conv1")]
    return tuple(
        Stage(
            depth,
            dim,
            (Branch(Permute(side, weighted=weighted), eps=1e-5), Branch(Dense("channel", 3 * dim), eps=1e-5)),
            entry,
        )
        for depth, dim, side, entry in settings
    )


def ff_only_architecture(position_grid: int | None = None) -> Architecture:
    block = (Branch(Dense("channel", 32)), Branch(Dense("token", 4 * 17), norm_axis="token"))
    token = {"class_token": True, "pooling": "class_token", "position": "learned", "position_grid": position_grid}
    return Architecture(12, 3, (Stage(2, 8, block),), classes=CLASSES, **token)


def gated_architecture(attention: int) -> Architecture:
    block = (Branch(Gating(48, attention_dim=attention)),)
    return Architecture(12, 3, (Stage(2, 8, block),), classes=CLASSES)


def repmlpnet_architecture() -> Architecture:
    net = {"stem": "conv_bn_relu", "final_norm": "batchnorm", "final_eps": 1e-5}
    return Architecture(16, 2, repmlpnet_stages(), classes=CLASSES, **net)


def vip_architecture(weighted: bool) -> Architecture:
    return Architecture(18, 3, vip_stages(weighted), classes=CLASSES, final_eps=1e-5)


REPMLPNET = [(2, 8, 2), (2, 16, 4), (1, 32, 32)]
VIP = ([(2, 12), (1, 18), (1, 12)], [2, 1])
Formula = Callable[[Weights, Tensor, bool], Tensor]
CASES: dict[str, tuple[Callable[[], Architecture], Callable[[], Shapes], Formula]] = {
    "FF-only": (
        ff_only_architecture,
        lambda: ff_only_shapes(3, 8, 2, 17, 4),
        lambda w, images, training: ff_only(w, images, 3),
    ),
    "FF-only, positions halved": (
        lambda: ff_only_architecture(8),
        lambda: ff_only_shapes(3, 8, 2, 17, 8),
        lambda w, images, training: ff_only(w, images, 3),
    ),
    "FF-only, positions stretched": (
        lambda: ff_only_architecture(3),
        lambda: ff_only_shapes(3, 8, 2, 17, 3),
        lambda w, images, training: ff_only(w, images, 3),
    ),
    "ViP, weighted": (
        lambda: vip_architecture(True),
        lambda: vip_shapes(3, *VIP, weighted=True),
        lambda w, images, training: vip(w, images, 3),
    ),
    "ViP, unweighted": (
        lambda: vip_architecture(False),
        lambda: vip_shapes(3, *VIP, weighted=False),
        lambda w, images, training: vip(w, images, 3),
    ),
    "RepMLPNet": (
        repmlpnet_architecture,
        lambda: repmlpnet_shapes(2, 8, REPMLPNET, deploy=False),
        lambda w, images, training: repmlpnet(w, images, 2, training),
    ),
    "RepMLPNet, deployed": (
        lambda: repmlpnet_architecture().deployed,
        lambda: repmlpnet_shapes(2, 8, REPMLPNET, deploy=True),
        lambda w, images, training: repmlpnet(w, images, 2, training),
    ),
    "gMLP": (
        lambda: gated_architecture(0),
        lambda: amlp_shapes(3, 8, 2, 16, 0),
        lambda w, images, training: amlp(w, images, 3),
    ),
    "aMLP": (
        lambda: gated_architecture(5),
        lambda: amlp_shapes(3, 8, 2, 16, 5),
        lambda w, images, training: amlp(w, images, 3),
    ),
}


def filled(architecture: Architecture, weights: Weights) -> VisionModel:
    """A model in float64 with all of these weights, and no others."""
    model = VisionModel(architecture).double()
    for tensor in model.state_dict().values():
        tensor.fill_(torch.nan if tensor.is_floating_point() else -1)
    if any(isinstance(branch.op, Gating) for stage in architecture.stages for branch in stage.block):
        model.load_state_dict(weights)
    else:
        report = load_published(model, weights, source="official")
        assert set(report.loaded) == set(weights)
    return model


def random_images(architecture: Architecture) -> Tensor:
    side = architecture.image_size
    return torch.randn(4, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def close(actual: Tensor, expected: Tensor) -> None:
    """To 1e-10 of the largest."""
    largest = expected.abs().max()
    assert largest > 1e-4
    assert (actual - expected).abs().max() <= 1e-10 * largest


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("name", CASES)
def test_scores_are_those_of_the_formulas(name: str, training: bool) -> None:
    make, shapes, formula = CASES[name]
    architecture, weights = make(), drawn(shapes())
    assert (
        sum(w.numel() for key, w in weights.items() if "running" not in key and "num_" not in key)
        == architecture.params
    )
    images = random_images(architecture)
    scores = formula(weights, torch.einsum("bchw->bhwc", images), training)
    assert scores.std() > 0.1
    with torch.no_grad():
        close(filled(architecture, weights).train(training)(images), scores)


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_the_formulas(name: str, training: bool) -> None:
    """Of every weight, for a random direction of the scores; published gradients are mapped like weights."""
    make, shapes, formula = CASES[name]
    architecture, weights = make(), drawn(shapes(), seed=1)
    images = random_images(architecture)
    direction = torch.randn(4, CLASSES, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    learned = {k: w.requires_grad_() for k, w in weights.items() if "running" not in k and "num_" not in k}
    scores = formula(weights, torch.einsum("bchw->bhwc", images), training)
    gradients = torch.autograd.grad((scores * direction).sum(), list(learned.values()))
    weights = {key: tensor.detach() for key, tensor in weights.items()}
    model = filled(architecture, weights).train(training)
    (model(images) * direction).sum().backward()
    expected = filled(architecture, weights | dict(zip(learned, gradients, strict=True)))
    for (key, parameter), (_, gradient) in zip(model.named_parameters(), expected.named_parameters(), strict=True):
        assert parameter.grad is not None, key
        # What a BatchNorm over the batch takes out again has a gradient of 0, up to rounding.
        largest = max(gradient.abs().max().item(), 1e-3)
        assert (parameter.grad - gradient).abs().max().item() <= 1e-10 * largest, key


def test_a_batchnorm_learns_the_statistics_of_the_formula() -> None:
    """After a step in training mode, a tenth of the new mean, and of the new variance of n - 1."""
    architecture = repmlpnet_architecture()
    weights = drawn(repmlpnet_shapes(2, 8, REPMLPNET, deploy=False))
    model, images = filled(architecture, weights).train(), random_images(architecture)
    with torch.no_grad():
        model(images)
    x = patches(torch.einsum("bchw->bhwc", images), weights, "conv_embedding.conv", 2)
    x = relu(batch_norm(x, weights, "conv_embedding.bn", training=True))
    v = below(weights, "stages.0.0.")
    x = batch_norm(x, v, "prebn1", training=True).reshape(4, 8, 8, 4, 2)  # channel m * S + s, S = 2
    matrix = v["repmlp_block.fc3.weight"].reshape(2, 64, 8, 8)
    y = torch.einsum("snhw,bhwms->bmns", matrix, x).reshape(-1, 2)
    mean = y.sum(0) / len(y)
    variance = ((y - mean) ** 2).sum(0) / (len(y) - 1)
    norm = model.stages[0][0][0].op.norm
    close(norm.running_mean, 0.9 * v["repmlp_block.fc3_bn.running_mean"] + 0.1 * mean)
    close(norm.running_var, 0.9 * v["repmlp_block.fc3_bn.running_var"] + 0.1 * variance)
    assert norm.num_batches_tracked == 8

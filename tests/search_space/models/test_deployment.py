"""The merged model computes what the trained one does, whatever was learned; and the merging of a layer, by loops."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from search_space.architecture import Architecture, Branch, Stage
from search_space.errors import WeightsError
from search_space.models.building import build
from search_space.models.deployment import reparameterize
from search_space.models.layers import LAYERS
from search_space.models.model import VisionModel, set_generator
from search_space.ops import Attention, Dense, Gating, Op, Permute, RepMLP, TokenShape

Make = Callable[..., Architecture]


def learned(module: nn.Module, seed: int = 1) -> Any:
    """The module as after a training: every parameter and statistic drawn at random (variances positive)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                drawn = torch.randn(tensor.shape, dtype=torch.float64, generator=generator)
                tensor.copy_(drawn.exp() if name.endswith("running_var") else 0.5 * drawn)
    return module


def images_of(architecture: Architecture, dtype: torch.dtype = torch.float64) -> Tensor:
    shape = (3, architecture.in_channels, architecture.image_size, architecture.image_size)
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5)).to(dtype)


def same_outputs(model: VisionModel, merged: VisionModel, relative: float = 1e-10) -> None:
    images = images_of(model.architecture, model.head.weight.dtype)
    with torch.no_grad():
        expected, scores = model.eval()(images), merged(images)
    assert expected.abs().max() > 0.01
    assert (scores - expected).abs().max() <= relative * expected.abs().max()


KERNELS: tuple[tuple[int, ...], ...] = ((), (1,), (1, 3), (3, 5))


@pytest.mark.parametrize("kernels", KERNELS, ids=str)
@pytest.mark.parametrize("sharesets", [1, 2, 8])
def test_the_merged_model_computes_the_same(one_block: Make, sharesets: int, kernels: tuple[int, ...]) -> None:
    architecture = one_block(RepMLP(sharesets, kernels), stage={"depth": 2}, branch={"norm": "batchnorm"})
    model = learned(build(architecture).double())
    merged = reparameterize(model)
    same_outputs(model, merged)
    assert merged.architecture == architecture.deployed
    assert sum(parameter.numel() for parameter in merged.parameters()) == architecture.deployed.params
    assert not [name for name in merged.state_dict() if ".local." in name or ".op.norm." in name]


def mixture(**changes: Any) -> Architecture:
    """RepMLP beside every other mixer, before and after a downsampling."""
    block = (
        Branch(RepMLP(4, (3,)), "batchnorm", eps=1e-3, layer_scale=0.5),
        Branch(Permute(4)),
        Branch(RepMLP(2, reduction=2), norm_axis="token"),
        Branch(Attention(2), "affine"),
        Branch(Dense("channel", 12, batchnorm=True), "batchnorm"),
    )
    other = (
        Branch(Gating(8, attention_dim=3)),
        Branch(RepMLP(3), "none"),
        Branch(Dense("token", 6, glu=True)),
        Branch(RepMLP(12, (1, 5))),
    )
    stages = (Stage(2, 8, block), Stage(1, 12, other, "conv2_bn_relu"))
    net = {"stem": "conv_bn_relu", "position": "learned", "position_grid": 3, "final_norm": "batchnorm"}
    return Architecture(**{"image_size": 8, "patch": 2, "stages": stages, "classes": 5, **net, **changes})


@pytest.mark.parametrize("seed", range(5))
def test_a_mixture_of_mixers_computes_the_same(seed: int) -> None:
    model = learned(build(mixture()).double(), seed)
    merged = reparameterize(model)
    same_outputs(model, merged)
    assert sum(parameter.numel() for parameter in merged.parameters()) == mixture().deployed.params
    other = model.state_dict()
    kept = {name: tensor for name, tensor in merged.state_dict().items() if name in other}
    moved = [name for name, tensor in kept.items() if not torch.equal(tensor, other[name])]
    assert all(name.endswith(".op.weight") for name in moved), "what is not merged stays as it is"


def test_a_branch_that_is_deployed_already_stays(one_block: Make) -> None:
    model = learned(build(one_block(RepMLP(2, deploy=True), RepMLP(4), branch={"norm": "batchnorm"})).double())
    merged = reparameterize(model)
    same_outputs(model, merged)
    one, other = (m.stages[0][0][0].op.state_dict() for m in (model, merged))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_stages_that_become_one_compute_the_same(one_block: Make) -> None:
    """Deployed, stages that differ in their kernels alone are one, and their blocks are counted on."""
    blocks = [(Branch(RepMLP(2, kernels), "batchnorm"),) for kernels in ((), (3,))]
    stages = (Stage(2, 8, blocks[0]), Stage(1, 8, blocks[1]), Stage(1, 12, blocks[0], "conv1"), Stage(1, 12, blocks[1]))
    model = learned(build(one_block(stages=stages)).double())
    merged = reparameterize(model)
    assert [stage.depth for stage in merged.architecture.stages] == [3, 2]
    same_outputs(model, merged)


def test_a_trained_model_computes_the_same(one_block: Make) -> None:
    """After steps in training mode, with stochastic depth drawing from a generator of its own."""
    architecture = one_block(RepMLP(4), stage={"depth": 3}, branch={"norm": "batchnorm"}, drop_path=0.3)
    model = build(architecture).double().train()
    set_generator(model, torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(5):
        model(images_of(architecture)).square().mean().backward()
        optimizer.step()
    merged = reparameterize(model)
    assert model.training
    assert not merged.training
    same_outputs(model, merged)


@pytest.mark.parametrize(
    ("dtype", "relative"), [(torch.float32, 1e-5), (torch.float64, 1e-10), (torch.bfloat16, 0.2)], ids=str
)
def test_the_dtype_stays(dtype: torch.dtype, relative: float) -> None:
    model = learned(build(mixture())).to(dtype)
    merged = reparameterize(model)
    tensors = [*merged.parameters(), *(buffer for buffer in merged.buffers() if buffer.is_floating_point())]
    assert {tensor.dtype for tensor in tensors} == {dtype}
    assert all(isinstance(p, nn.Parameter) and p.requires_grad and p.is_leaf for p in merged.parameters())
    same_outputs(model, merged, relative)


@pytest.mark.parametrize("ops", [(RepMLP(2, deploy=True),), (Attention(2), Dense("channel", 8))], ids=str)
def test_what_is_deployed_is_copied(one_block: Make, ops: tuple[Op, ...]) -> None:
    model = learned(build(one_block(*ops))).train()
    merged = reparameterize(model)
    assert merged is not model
    assert model.training
    assert not merged.training
    assert merged.architecture == model.architecture
    assert all(torch.equal(a, b) for a, b in zip(merged.parameters(), model.parameters(), strict=True))
    with torch.no_grad():
        merged.head.weight.zero_()
    assert model.head.weight.abs().min() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_original_and_the_global_generator_stay(dtype: torch.dtype) -> None:
    model = learned(build(mixture()).to(dtype)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random_state = torch.get_rng_state()
    merged = reparameterize(model)
    assert torch.equal(torch.get_rng_state(), random_state)
    with torch.no_grad():
        for tensor in [*merged.parameters(), *merged.buffers()]:
            tensor.zero_()
    assert model.training
    assert model.architecture == mixture()
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(tensor.dtype == before[name].dtype for name, tensor in model.state_dict().items())


NAMES = ("head.weight", "stages.0.1.0.op.weight", "stages.0.0.0.op.local.conv3.norm.running_mean", "stem.conv.weight")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(name: str, value: float) -> None:
    model = learned(build(mixture()))
    with torch.no_grad():
        model.state_dict()[name].view(-1)[0] = value
    with pytest.raises(WeightsError, match="the merged model's outputs differ by nan"):
        reparameterize(model)


def test_a_wrong_merge_is_refused(one_block: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    model = learned(build(one_block(RepMLP(2), branch={"norm": "batchnorm"})))
    layer = LAYERS[RepMLP]
    right = layer.deployed_state

    def almost(self: nn.Module) -> dict[str, Tensor]:
        state = right(self)
        state["bias"][0, 3] += 1e-6
        return state

    monkeypatch.setattr(layer, "deployed_state", almost)
    with pytest.raises(WeightsError, match="the merged model's outputs differ by"):
        reparameterize(model)


@pytest.mark.parametrize("kernels", [*KERNELS, (7,)], ids=str)
@pytest.mark.parametrize("sharesets", [1, 2])
def test_a_layer_merged_by_loops(sharesets: int, kernels: tuple[int, ...]) -> None:
    """Every tap of a kernel, seen from a place of the 3 x 3 grid, is one entry of the matrix (section 3.3)."""
    shape, side = TokenShape(3, 4), 3
    layer = learned(LAYERS[RepMLP](RepMLP(sharesets, kernels), shape).double()).eval()
    w = layer.state_dict()
    weight = torch.zeros(sharesets, side * side, side * side, dtype=torch.float64)
    bias = torch.zeros(sharesets, side * side, dtype=torch.float64)
    places = list(itertools.product(range(side), range(side)))
    for s in range(sharesets):
        factor = w["norm.weight"][s] / (w["norm.running_var"][s] + 1e-5) ** 0.5
        for (m, _), (n, _) in itertools.product(enumerate(places), enumerate(places)):
            weight[s, m, n] = w["weight"][s, m, n] * factor
        bias[s, :] = w["norm.bias"][s] - w["norm.running_mean"][s] * factor
        for k in kernels:
            name = f"local.conv{k}"
            factor = w[f"{name}.norm.weight"][s] / (w[f"{name}.norm.running_var"][s] + 1e-5) ** 0.5
            for (m, (row, column)), (i, j) in itertools.product(
                enumerate(places), itertools.product(range(k), repeat=2)
            ):
                seen = (row + i - k // 2, column + j - k // 2)
                if seen in places:
                    weight[s, m, places.index(seen)] += w[f"{name}.conv.weight"][s, 0, i, j] * factor
            bias[s, :] += w[f"{name}.norm.bias"][s] - w[f"{name}.norm.running_mean"][s] * factor
    state = layer.deployed_state()
    torch.testing.assert_close(state["weight"], weight, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(state["bias"], bias, rtol=1e-12, atol=1e-14)
    deployed = LAYERS[RepMLP](RepMLP(sharesets, deploy=True), shape).double()
    deployed.load_state_dict(state)
    x = torch.randn(2, 9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(deployed(x), layer(x), rtol=1e-10, atol=1e-12)

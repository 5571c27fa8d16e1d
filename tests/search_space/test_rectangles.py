"""Images that are no squares: every mixer's cost and layer, positions, and whole spaces."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from search_space import zoo
from search_space.architecture import Architecture, Branch, Stage
from search_space.breakdown import breakdown
from search_space.diagram import diagram
from search_space.errors import ArchitectureError, SpaceError
from search_space.models import reparameterize
from search_space.models.building import build
from search_space.models.layers import LAYERS, make_layer
from search_space.models.model import VisionModel, resize_positions
from search_space.ops import OPS, Attention, Dense, Op, Permute, RepMLP, TokenShape
from search_space.space import load_space, parse_space
from search_space.zoo.scaled import family_points

SHAPE, TURNED = TokenShape((4, 6), 24), TokenShape((6, 4), 24)
"""C is divisible by both sides, as Permute needs it."""


def ops() -> list[Op]:
    """The examples of every op, with Permute's segments as on this grid."""
    found: list[Op] = []
    for op in OPS.values():
        for settings in op.examples:
            own: dict[str, Any] = {**settings, "segments": SHAPE.grid} if op is Permute else dict(settings)
            found.append(op(**own))
    return found


def network(op: Op, **settings: Any) -> Architecture:
    stage = Stage(2, SHAPE.dim, (Branch(op), Branch(Dense("channel", 12))))
    return Architecture((8, 12), 2, (stage,), in_channels=2, classes=5, **settings)


def counted(architecture: Architecture) -> tuple[int, float]:
    """Parameters and MACs, by torch."""
    with torch.device("meta"):
        model, images = VisionModel(architecture).eval(), torch.empty(1, *architecture.input_shape)
    with FlopCounterMode(display=False) as counter:
        model(images)
    return sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops() / 2


def scrambled(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in module.double().eval().state_dict().items():
            if tensor.is_floating_point():
                drawn = torch.randn(tensor.shape, dtype=torch.float64, generator=generator)
                tensor.copy_(drawn.exp() if name.endswith("running_var") else drawn)
    return module


def turned(x: Tensor, shape: TokenShape) -> Tensor:
    """The tokens of the transposed map."""
    return x.unflatten(1, (shape.height, shape.width)).transpose(1, 2).flatten(1, 2)


# Architectures.


def test_a_square_given_as_a_pair_is_the_same_architecture():
    square = Architecture(8, 2, (Stage(1, 8, (Branch(Permute(4)),)),))
    pair = Architecture((8, 8), 2, (Stage(1, 8, (Branch(Permute((4, 4))),)),))
    assert (pair, pair.hash, pair.to_dict()["image_size"]) == (square, square.hash, 8)


@pytest.mark.parametrize("op", ops(), ids=str)
def test_it_is_written_and_read(op):
    architecture = network(op, position="learned", position_grid=(2, 3))
    data = json.loads(json.dumps(architecture.to_dict()))
    assert (data["image_size"], data["position_grid"]) == ([8, 12], [2, 3])
    for again in (Architecture.from_yaml(architecture.to_yaml()), Architecture.from_dict(data)):
        assert (again, again.hash) == (architecture, architecture.hash)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((8, 9), r"the patch must divide the image; image_size is \[8, 9\], patch is 2"),
        ((0, 8), r"image_size must be at least 1; it is \[0, 8\]"),
    ],
)
def test_an_impossible_size(size, message):
    with pytest.raises(ArchitectureError, match=message):
        Architecture(size, 2, (Stage(1, 8, (Branch(Attention(2)),)),))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[8]", r"image_size is \[8\]; allowed: a whole number, or height and width as a list of two"),
        ("[8, wide]", "'wide'"),
        ("8x12", "'8x12'"),
    ],
)
def test_a_file_with_another_size(text, message):
    written = network(Attention(2)).to_yaml().replace("image_size: [8, 12]", f"image_size: {text}")
    with pytest.raises(ArchitectureError, match=message):
        Architecture.from_yaml(written)


@pytest.mark.parametrize("op", ops(), ids=str)
def test_costs_are_exact(op):
    for architecture in (network(op), network(op, position="learned"), network(op).deployed):
        assert counted(architecture) == (architecture.params, architecture.macs)
        assert sum(row.cost.macs for row in breakdown(architecture)) == architecture.macs


def test_halving_the_grid():
    stages = (Stage(1, 24, (Branch(Permute((4, 6))),)), Stage(1, 48, (Branch(Permute((2, 3))),), "conv2"))
    architecture = Architecture((8, 12), 2, stages)
    assert [shape.grid for _, shape in architecture.shapes()] == [(4, 6), (2, 3)]
    assert counted(architecture) == (architecture.params, architecture.macs)
    with pytest.raises(ArchitectureError, match="stage 2: a grid of 4 x 5 tokens cannot be halved"):
        Architecture((8, 10), 2, (Stage(1, 20, (Branch(Permute((4, 5))),)), replace(stages[1], dim=30)))


def test_a_diagram_names_both_sides():
    text = diagram(network(Attention(2), position="learned", position_grid=3))
    assert "image 2 x 8 x 12" in text
    assert "N = 4 x 6, C = 24" in text
    assert "resized from 3 x 3 to 4 x 6" in text


@pytest.mark.parametrize("name", ["vip_s7", "ff_only_b16", "mixer_b16", "repmlpnet_t224", "vit_ti16"])
def test_the_zoo_for_wide_images(name):
    if name not in zoo.names():
        pytest.skip(f"the zoo has no {name}")
    square, wide = zoo.get(name), zoo.get(name, image_size=(224, 448))
    for architecture in (wide, square.at((224, 448))):
        assert [shape.tokens for _, shape in architecture.shapes()] == [
            2 * (shape.tokens - shape.class_token) + shape.class_token for _, shape in square.shapes()
        ]
        assert counted(architecture) == (architecture.params, architecture.macs)


# Layers: turning the image turns the result.


@pytest.mark.parametrize("op", [Permute((4, 6), weighted=False, bias=True), RepMLP(2, (1, 3, 5))], ids=str)
def test_a_turned_map_gives_the_turned_result(op):
    """With the weights for height and width exchanged, or those over the tokens turned."""
    layer = scrambled(make_layer(op, SHAPE))
    other = make_layer(op.at(SHAPE, TURNED), TURNED).double().eval()
    state = dict(layer.state_dict())
    if isinstance(op, Permute):
        exchanged = {"height": "width", "width": "height"}
        state = {".".join(exchanged.get(part, part) for part in name.split(".")): v for name, v in state.items()}
    else:
        order = torch.arange(24).view(4, 6).T.flatten()
        state["weight"] = state["weight"][:, order][:, :, order]
        state |= {name: value.transpose(2, 3) for name, value in state.items() if name.endswith("conv.weight")}
    other.load_state_dict(state)
    x = torch.randn(2, 24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(other(turned(x, SHAPE)), turned(layer(x), SHAPE), rtol=1e-10, atol=1e-12)


def test_permute_by_its_formula():
    """Along the height, C is split into H segments of S = C / H channels; along the width, into W."""
    layer = scrambled(LAYERS[Permute](Permute((4, 6), weighted=False), SHAPE))
    w = layer.state_dict()
    x = torch.randn(2, 24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    high, wide = x.reshape(2, 4, 6, 4, 6), x.reshape(2, 4, 6, 6, 4)  # b h w g s
    y_h = torch.einsum("bhwgs,kths->bkwgt", high, w["height.weight"].view(4, 6, 4, 6)).reshape(2, 24, 24)
    y_w = torch.einsum("bhwgs,ktws->bhkgt", wide, w["width.weight"].view(6, 4, 6, 4)).reshape(2, 24, 24)
    total = y_h + y_w + x @ w["channel.weight"].T
    torch.testing.assert_close(layer(x), total @ w["proj.weight"].T + w["proj.bias"], rtol=1e-10, atol=1e-12)


def test_the_deployed_form_computes_the_same():
    stage = Stage(1, 24, (Branch(RepMLP(2, (1, 3, 5)), "batchnorm"),))
    model = scrambled(build(Architecture((8, 12), 2, (stage,), classes=5)))
    images = torch.randn(2, 3, 8, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(reparameterize(model)(images), model(images))


def test_positions_keep_their_places():
    """Channel 0 holds the row of a place, channel 1 its column; twice the size, they grow half as fast."""
    rows, columns = torch.meshgrid(torch.arange(2.0), torch.arange(3.0), indexing="ij")
    position = torch.stack([rows, columns], dim=-1).view(1, 6, 2)
    wide = resize_positions(position, (4, 6), False, "bilinear", source=(2, 3)).view(4, 6, 2)
    expected = functional.interpolate(rows[None, None], size=(4, 6), mode="bilinear")[0, 0]
    torch.testing.assert_close(wide[..., 0], expected)
    assert wide[:, 0, 0].tolist() == [0.0, 0.25, 0.75, 1.0]
    assert wide[0, :, 1].tolist() == [0.0, 0.25, 0.75, 1.25, 1.75, 2.0]
    assert resize_positions(position, (2, 3), False, "bilinear", source=(2, 3)) is position


@pytest.mark.parametrize("grid", [(2, 3), 3, (6, 4)])
def test_learned_positions_of_another_grid(grid):
    model = build(network(Attention(2), position="learned", position_grid=grid, class_token=True))
    assert model(torch.zeros(1, 2, 8, 12)).shape == (1, 5)


def test_images_of_the_wrong_shape_are_refused():
    model = build(network(Dense("token")))
    with pytest.raises(ArchitectureError, match="images are 2 x 12 x 8; this model takes 2 x 8 x 12"):
        model(torch.zeros(1, 2, 12, 8))


def test_where_any_size_works_halving_needs_the_proportions():
    stages = (Stage(1, 8, (Branch(Attention(2)),)), Stage(1, 8, (Branch(Attention(2)),), "conv2"))
    model = build(Architecture((8, 16), 2, stages, in_channels=1))
    assert model(torch.zeros(1, 1, 16, 32)).shape == (1, 1000)
    with pytest.raises(ArchitectureError, match="images are 1 x 16 x 16; this model takes 1 x 8 x 16"):
        model(torch.zeros(1, 1, 16, 16))


# Spaces.


def test_a_space_for_wide_images_by_brute_force(tiny_text):
    """All architectures, found from one by steps to neighbours."""
    text = tiny_text
    for several, one in (("[token_first, channel_first]", "[token_first]"), ("heads: [1, 4]", "heads: [4]")):
        text = text.replace(several, one)
    space = parse_space(text, image_size=(4, 16), in_channels=1, classes=3)
    first = space.smallest()
    found, new = {first}, [first]
    while new:
        new = [other for one in new for other in space.neighbours(one) if other not in found]
        found |= set(new)
        new = list(set(new))
    assert {shape.grid for one in found for _, shape in one.shapes()} == {(2, 8), (1, 4)}
    assert len(found) == space.size
    costs = [one.deployed.cost for one in found]
    least, most = space.cost_range()
    assert (least.params, least.macs) == (min(cost.params for cost in costs), min(cost.macs for cost in costs))
    assert (most.params, most.macs) == (max(cost.params for cost in costs), max(cost.macs for cost in costs))
    assert all(space.decode(space.encode(one)) == one for one in found)


def test_the_shipped_space_for_wide_images():
    space = load_space("mlp_family", image_size=(16, 24), classes=10)
    assert json.loads(json.dumps(space.to_dict())) == space.to_dict()
    assert space.hash != load_space("mlp_family", image_size=(24, 16), classes=10).hash
    rng = random.Random(0)
    for architecture in (*family_points(space, space.limits).values(), *(space.sample(rng) for _ in range(10))):
        assert architecture in space
        assert counted(architecture) == (architecture.params, architecture.macs)
        assert space.mutate(architecture, rng) in space


def test_scales_go_by_the_area(tiny_text):
    """The space is for up to 8 x 8 pixels."""
    assert parse_space(tiny_text, image_size=(4, 16)).size > 0
    with pytest.raises(SpaceError, match="images of 8 x 12 are larger than the space"):
        parse_space(tiny_text, image_size=(8, 12))


def test_a_size_that_no_patch_divides():
    with pytest.raises(SpaceError, match=r"no patch of the space 'mlp_family' divides an image of 13 x 17 pixels into"):
        load_space("mlp_family", image_size=(13, 17))

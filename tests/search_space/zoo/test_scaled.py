"""The hand-designed families as points of a space."""

from __future__ import annotations

from dataclasses import replace

import pytest

from search_space import zoo
from search_space.architecture import Architecture, Branch, Stage
from search_space.ops import Attention, Dense, Gating, Permute, RepMLP, TokenShape
from search_space.space import Limits, SearchSpace, mixers_of, parse_space
from search_space.zoo.scaled import FILL, LEAST_DEPTH, family_points, scaled, scaled_families

SIZES = [8, 28, 32, 224]
FAMILIES = scaled_families()


@pytest.fixture(params=SIZES, scope="module")
def space(request: pytest.FixtureRequest, space_at) -> SearchSpace:
    return space_at(request.param)


@pytest.fixture(scope="module")
def points(space: SearchSpace) -> dict[str, Architecture]:
    """The families within the default limits of the space."""
    return family_points(space, space.limits)


def test_every_family_is_in_the_space_within_its_limits(space: SearchSpace, points: dict[str, Architecture]) -> None:
    assert list(points) == [family.name for family in FAMILIES]
    assert len(points) == 7
    for name, point in points.items():
        assert point in space
        assert space.limits.allow(point.deployed.cost)
        assert space.decode(space.encode(point)) == point
        assert len(point.stages) == 1 or name == "repmlp"


def expected_block(name: str, stage: Stage, shape: TokenShape) -> tuple[Branch, ...]:
    """The block of each paper, in terms of the stage's width and tokens."""
    c, n = stage.dim, shape.tokens
    if name == "vit":
        heads = stage.block[0].op.heads
        return (Branch(Attention(heads)), Branch(Dense("channel", 4 * c)))
    if name == "mixer":
        return (Branch(Dense("token", c // 2)), Branch(Dense("channel", 4 * c)))
    if name == "ff_only":
        return (Branch(Dense("channel", 4 * c)), Branch(Dense("token", 4 * n), norm_axis="token"))
    if name == "resmlp":
        ops = (Dense("token"), Dense("channel", 4 * c))
        return tuple(Branch(op, "affine", layer_scale=0.1) for op in ops)
    if name == "gmlp":
        return (Branch(Gating(6 * c)),)
    if name == "vip":
        return (Branch(Permute(shape.grid), eps=1e-5), Branch(Dense("channel", 3 * c), eps=1e-5))
    assert name == "repmlp"
    ops = (RepMLP(stage.block[0].op.sharesets), Dense("channel", 4 * c, batchnorm=True))
    return tuple(Branch(op, "batchnorm", eps=1e-5) for op in ops)


def test_every_family_has_the_block_of_its_paper(points: dict[str, Architecture]) -> None:
    for name, point in points.items():
        for stage, shape in point.shapes():
            assert stage.block == expected_block(name, stage, shape)
        token = name in ("vit", "ff_only")
        assert point.class_token == token
        assert point.pooling == ("class_token" if token else "gap")
        assert point.position == ("learned" if token else "none")
        assert point.final_norm == {"resmlp": "affine", "repmlp": "batchnorm"}.get(name, "layernorm")
        assert point.final_eps == (1e-5 if name in ("vip", "repmlp") else 1e-6)
        assert point.stem == ("conv_bn_relu" if name == "repmlp" else "conv")


def test_repmlp_keeps_the_proportions_of_its_last_stages(space_at) -> None:
    """RepMLPNet-T has depths 2, 2, 6, 2 and 64, 32, 16, 4 channels to a set; small images have its last stages."""
    two, three = (family_points(space_at(size), space_at(size).limits)["repmlp"] for size in (28, 224))
    assert [stage.depth for stage in two.stages] == [3, 1]
    assert [stage.dim // stage.block[0].op.sharesets for stage in two.stages] == [16, 4]
    depths = [stage.depth for stage in three.stages]
    assert [depth / depths[0] for depth in depths] == [1, 3, 1]
    for point in (two, three):
        assert [stage.downsample for stage in point.stages[1:]] == ["conv2_bn_relu"] * (len(point.stages) - 1)
        assert [stage.dim / point.stages[0].dim for stage in point.stages] == [1, 2, 4][: len(point.stages)]


def test_a_family_uses_what_the_limit_allows(space: SearchSpace, points: dict[str, Architecture]) -> None:
    """Nothing with one step more of depth or width, at the same grid, is 1 / FILL times as large and still fits."""
    for family, point in points.items():
        params = space.encode(point)
        for name in ("stage1.depth", "dim"):
            if family == "repmlp":  # its depths grow together, and its sets with its width
                continue
            for value in space.axis(name).values:
                changed = {**params, name: value}
                if name == "dim" and params["stage1.mixer"] == "attention" and value % params["stage1.heads"]:
                    continue
                if params["stage1.mixer"] == "permute" and value % point.grid and name == "dim":
                    continue
                larger = space.decode(changed)
                assert not space.limits.allow(larger.cost) or FILL * larger.params <= point.params


def test_no_family_is_made_shallow_where_a_coarser_grid_leaves_room_for_depth(
    space: SearchSpace, points: dict[str, Architecture]
) -> None:
    """LEAST_DEPTH gives way only where the limit leaves no choice."""
    coarsest = max(space.axis("patch").values)
    narrowest = min(dim for dim in space.axis("dim").values if dim % (space.image_size // coarsest) == 0)
    for name, point in points.items():
        smallest = {
            **space.encode(point),
            "patch": coarsest,
            "dim": narrowest,
            "stage1.depth": LEAST_DEPTH,
            "stages": 1,
        }
        smallest |= {"stage1.heads": 1} if name == "vit" else {}
        smallest |= {"stage1.sharesets": 1} if name == "repmlp" else {}
        if space.limits.allow(space.decode(smallest).deployed.cost):
            assert point.depth >= LEAST_DEPTH, name


@pytest.mark.parametrize("image_size", [8, 28])
def test_tight_limits_leave_only_what_fits(space_at, image_size: int) -> None:
    space = space_at(image_size)
    low, _ = space.cost_range()
    limits = Limits(low.params * 6)
    for point in family_points(space, limits).values():
        assert point in space
        assert limits.allow(point.deployed.cost)
    assert family_points(space, Limits(1)) == {}


def test_a_limit_on_macs_holds(space_at) -> None:
    space = space_at(32)
    free, bound = Limits(5_000_000), Limits(5_000_000, 20_000_000)
    points = family_points(space, bound)
    assert points
    assert all(bound.allow(point.deployed.cost) for point in points.values())
    assert any(not bound.allow(point.deployed.cost) for point in family_points(space, free).values())


def test_a_limit_on_macs_alone_is_filled_in_macs(space_at) -> None:
    """Otherwise the family with the most parameters within it would be taken, whatever its MACs."""
    space = space_at(32)
    for family in FAMILIES:
        point = scaled(family, space, Limits(max_macs=500_000_000))
        assert 250_000_000 < point.deployed.macs <= 500_000_000, family.name


def test_a_space_has_only_the_families_it_can_describe(tiny_space: SearchSpace) -> None:
    """The tiny space has neither their ratios nor positions."""
    assert family_points(tiny_space, Limits()) == {}


def test_a_family_is_found_in_a_space_of_its_own() -> None:
    """gMLP-Ti/16 and -S/16 are 128 and 256 wide and 30 deep; the limit picks one of them."""
    space = parse_space(
        """
name: gmlp_only
net: {patch: [16], pooling: [gap], position: [none], norm: [layernorm], layer_scale: [none], drop_path: [0.0],
      stages: [1]}
stage: {downsample: [none], mixer: {gating: {expansion: [6]}}, channel_ratio: [0], order: [token_first]}
scales: [{image_size: 224, tokens: [100, 196], dim: [128, 256], depth: [30], max_params: 30M}]
""",
        image_size=224,
    )
    (gmlp,) = (family for family in FAMILIES if family.name == "gmlp")
    small, large = (scaled(gmlp, space, Limits(limit)) for limit in (10_000_000, 30_000_000))
    assert (small.params, large.params) == (5_867_328, 19_422_656)
    assert scaled(gmlp, space, Limits(5_000_000)) is None
    assert mixers_of(space.encode(small)) == "gating"


def test_every_family_names_its_paper_once() -> None:
    papers = [family.paper for family in zoo.FAMILIES.values()]
    assert all(paper.startswith("https://arxiv.org/abs/") for paper in papers)
    assert len(set(papers)) == len(papers)


PROPORTIONS = {
    "vit": (14, 192, (12,), ()),
    "mixer": (14, 512, (8,), ()),
    "ff_only": (14, 192, (12,), ()),
    "resmlp": (14, 384, (12,), ()),
    "gmlp": (14, 128, (30,), ()),
    "vip": (16, 384, (18,), ()),
    "repmlp": (56, 64, (2, 2, 6, 2), (1, 4, 16, 128)),
}
"""Side of the grid, width, depths and sets of the smallest published models, from the papers."""


def test_the_proportions_are_those_of_the_smallest_published_model() -> None:
    found = {family.name: (family.grid, family.dim, family.depths, family.sharesets) for family in FAMILIES}
    assert found == PROPORTIONS


def test_the_last_stages_of_a_family() -> None:
    """RepMLPNet-T without its first two stages: a quarter of the grid, four times the width."""
    repmlp = FAMILIES[-1].last_stages(2)
    assert (repmlp.grid, repmlp.dim, repmlp.depths, repmlp.sharesets) == (14, 256, (6, 2), (16, 128))


def test_a_family_from_outside_is_in_the_zoo_and_in_spaces(space_at) -> None:
    """One registration is enough; here MLP-Mixer under another name."""
    mixer = zoo.FAMILIES["mixer"]
    variants = {name.replace("mixer", "other"): variant for name, variant in mixer.variants.items()}
    other = replace(mixer, name="other", variants=variants, scaled=replace(mixer.scaled, model="other_s16"))
    zoo.FAMILIES.add("other", other)
    try:
        assert zoo.get("other_b16") == zoo.get("mixer_b16")
        points = family_points(space_at(8), space_at(8).limits)
        assert points["other"] == points["mixer"]
    finally:
        zoo.FAMILIES._entries.pop("other")
    assert "other_b16" not in zoo.names()


def test_depth_comes_before_the_published_grid() -> None:
    """Under 5.5M, 30 blocks of gMLP-Ti fit on 7 x 7 tokens; on its own 14 x 14 only 2 would (of 2 or 30)."""
    space = parse_space(
        """
name: gmlp_only
net: {patch: [16, 32], pooling: [gap], position: [none], norm: [layernorm], layer_scale: [none], drop_path: [0.0],
      stages: [1]}
stage: {downsample: [none], mixer: {gating: {expansion: [6]}}, channel_ratio: [0], order: [token_first]}
scales: [{image_size: 224, tokens: [49, 196], dim: [128], depth: [2, 30], max_params: 30M}]
""",
        image_size=224,
    )
    (gmlp,) = (family for family in FAMILIES if family.name == "gmlp")
    found = [scaled(gmlp, space, Limits(limit)) for limit in (5_500_000, 5_900_000)]
    assert [(point.grid, point.depth) for point in found] == [(7, 30), (14, 30)]


def test_a_limit_on_macs_that_nothing_meets_changes_nothing(
    space: SearchSpace, points: dict[str, Architecture]
) -> None:
    assert family_points(space, Limits(space.limits.max_params, 10**15)) == points


def test_attention_has_the_number_of_heads_nearest_to_three(
    space: SearchSpace, points: dict[str, Architecture]
) -> None:
    """DeiT-Ti, the smallest published model, has 3."""
    stage = points["vit"].stages[0]
    fitting = [heads for heads in space.axis("stage1.heads").values if stage.dim % heads == 0]
    assert abs(stage.block[0].op.heads - 3) == min(abs(heads - 3) for heads in fitting)


@pytest.mark.parametrize("mixer", ["linear: {}", "gating: {expansion: [6]}", "permute: {weighted: [true]}", "none: {}"])
@pytest.mark.parametrize("conv_bn", ["[false]", "[true]", "[false, true]"])
def test_a_space_need_not_have_every_mixer(mixer: str, conv_bn: str) -> None:
    space = parse_space(
        f"""
name: few
net: {{patch: [2], pooling: [gap], position: [none], norm: [layernorm], layer_scale: [none], drop_path: [0.0],
      stages: [1], conv_bn: {conv_bn}}}
stage: {{downsample: [none], mixer: {{{mixer}}}, channel_ratio: [0, 3], order: [token_first]}}
scales: [{{image_size: 8, tokens: [16, 16], dim: [8], depth: [4], max_params: 30M}}]
""",
        image_size=8,
    )
    expected = {"gating: {expansion: [6]}": ["gmlp"], "permute: {weighted: [true]}": ["vip"]}.get(mixer, [])
    assert list(family_points(space, Limits())) == (expected if conv_bn != "[true]" else [])

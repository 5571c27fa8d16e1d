"""Spaces: decoding and encoding of architectures, and membership."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from search_space.architecture import Architecture, Branch, Stage
from search_space.errors import SpaceError
from search_space.ops import Attention, Cost, Dense, Gating
from search_space.space import Axis, Limits, SearchSpace, list_spaces, mixers_of, parse_space
from search_space.zoo.scaled import family_points

SIZES = [8, 28, 32, 224]
PARAMS: dict[str, Any] = {
    "patch": 2,
    "dim": 4,
    "pooling": "gap",
    "norm": "layernorm",
    "position": "none",
    "layer_scale": None,
    "drop_path": 0.0,
    "stages": 2,
    "stage1.depth": 1,
    "stage1.mixer": "attention",
    "stage1.heads": 4,
    "stage1.channel_ratio": 1,
    "stage1.order": "channel_first",
    "stage2.downsample": "conv2",
    "stage2.depth": 2,
    "stage2.mixer": "mlp",
    "stage2.token_hidden": "2C",
    "stage2.token_norm": "token",
    "stage2.channel_ratio": 0,
}


def test_decode_worked_by_hand(tiny_space: SearchSpace) -> None:
    """The second stage has 2 x 2 tokens and twice the channels; 2C is 16 there."""
    first = (Branch(Dense("channel", 4)), Branch(Attention(4)))
    second = (Branch(Dense("token", 16), norm_axis="token"),)
    stages = (Stage(1, 4, first), Stage(2, 8, second, "conv2"))
    expected = Architecture(8, 2, stages, in_channels=1, classes=3)
    assert tiny_space.decode(PARAMS) == expected
    assert tiny_space.encode(expected) == PARAMS
    assert mixers_of(PARAMS) == "attention+mlp"


def test_inactive_parameters_are_ignored(tiny_space: SearchSpace) -> None:
    inactive = {"stage1.token_hidden": "2N", "stage2.heads": 17, "stage2.order": "any", "stage3.depth": 5, "new": 1}
    assert tiny_space.decode({**PARAMS, **inactive}) == tiny_space.decode(PARAMS)


@pytest.mark.parametrize("name", PARAMS)
def test_every_active_parameter_is_needed_and_checked(tiny_space: SearchSpace, name: str) -> None:
    with pytest.raises(SpaceError, match=rf"{name} is missing"):
        tiny_space.decode({key: value for key, value in PARAMS.items() if key != name})
    with pytest.raises(SpaceError, match=rf"^{name} is 'what'; allowed: "):
        tiny_space.decode({**PARAMS, name: "what"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"stage2.downsample": "none", "patch": 4, "stage2.mixer": "attention"},
            "the parameter stage2.heads is missing",
        ),
        ({"patch": 4}, "stage2.downsample is conv2, but a grid of 2 x 2 tokens cannot be halved"),
        ({"pooling": "class_token"}, "stage2.downsample is conv2, but a class token cannot pass through downsampling"),
        ({"dim": 6}, "stage 1 cannot be mixer: attention, heads: 4, .* on a grid of 4 x 4 with 6 channels"),
        (
            {"pooling": "class_token", "stage1.mixer": "permute", "stage1.weighted": True},
            "stage 1 cannot be mixer: permute.* on a grid of 4 x 4 and a class token with 4 channels",
        ),
        ({"stage2.mixer": "none"}, "stage 2 cannot be mixer: none, channel_ratio: 0"),
        (
            {
                "stage2.downsample": "none",
                "stage2.mixer": "attention",
                "stage2.heads": 4,
                "stage2.channel_ratio": 1,
                "stage2.order": "channel_first",
            },
            "stage 2 repeats stage 1; one deeper stage says the same",
        ),
    ],
)
def test_incompatible_choices_are_refused(tiny_space: SearchSpace, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        tiny_space.decode({**PARAMS, **changes})


# Against the list made by hand.


def test_every_listed_architecture_comes_back(tiny_space: SearchSpace, tiny_list: list[Architecture]) -> None:
    """encode and decode are inverse, and no two architectures have the same parameters."""
    seen = set()
    for architecture in tiny_list:
        params = tiny_space.encode(architecture)
        assert tiny_space.decode(params) == architecture
        seen.add(tuple(sorted(params.items(), key=lambda item: item[0])))
    assert len(seen) == len(tiny_list)


def wishes(space: SearchSpace) -> Iterator[dict[str, Any]]:
    """The product over all axes, inactive ones included."""
    names = [axis.name for axis in space.axes]
    for values in itertools.product(*(axis.values for axis in space.axes)):
        yield dict(zip(names, values, strict=True))


def test_decoding_every_product_of_choices_gives_the_space() -> None:
    """A smaller space, so that the product over all axes can be gone through: the members, and each once by encode."""
    space = parse_space(
        """
name: minute
net: {patch: [2, 4], pooling: [gap], position: [none], norm: [none], layer_scale: [none], drop_path: [0.0],
      stages: [1, 2]}
stage:
  downsample: [none, conv2]
  mixer: {attention: {heads: [1, 4]}, mlp: {token_hidden: [2C, 2N], token_norm: [channel, token]}, none: {}}
  channel_ratio: [0, 1]
  order: [token_first]
scales: [{image_size: 8, tokens: [4, 16], dim: [4], depth: [1], max_params: 2k}]
""",
        image_size=8,
        in_channels=1,
        classes=3,
    )
    found: set[Architecture] = set()
    for wish in wishes(space):
        try:
            found.add(space.decode(wish))
        except SpaceError:
            continue
    # By hand: without a norm its axis does nothing. 4 x 4: heads 1, 4; widths 8, 32; each with and without an MLP, and
    # the MLP alone: 9. 2 x 2 of 4 channels: both widths are 8, so 7. 2 x 2 of 8 channels: widths 16 and 8, so 9.
    one_stage = 9 + 7
    two_stages = 9 * (8 + 9) + 7 * 6
    assert len(found) == one_stage + two_stages
    assert space.size == len(found)
    for architecture in found:
        assert space.decode(space.encode(architecture)) == architecture


# Membership.


@pytest.mark.parametrize("name", list_spaces())
@pytest.mark.parametrize("image_size", SIZES)
def test_samples_are_in_the_space_and_survive_encoding(space_at, name: str, image_size: int) -> None:
    space, rng = space_at(image_size, name), random.Random(image_size)
    for _ in range(15):
        architecture = space.sample(rng)
        assert architecture in space
        assert (architecture.image_size, architecture.in_channels, architecture.classes) == (image_size, 3, 10)
        params = space.encode(architecture)
        assert space.decode(params) == architecture
        assert all(value in space.axis(name).values for name, value in params.items())


def test_mixtures_are_in_the_space(space_at) -> None:
    """A token MLP, then gates on the same grid, then attention on half of it; and any two mixers, drawn."""
    space = space_at(8)
    stages = (
        Stage(1, 32, (Branch(Dense("token", 16)), Branch(Dense("channel", 64)))),
        Stage(2, 32, (Branch(Gating(192)),)),
        Stage(3, 64, (Branch(Attention(2)), Branch(Dense("channel", 128))), "conv2"),
    )
    mixture = Architecture(8, 2, stages, classes=10)
    assert mixture in space
    assert mixers_of(space.encode(mixture)) == "mlp+gating+attention"

    rng = random.Random(0)
    drawn = {mixers_of(space.encode(space.sample(rng))) for _ in range(200)}
    assert len({pair for mixers in drawn for pair in itertools.pairwise(mixers.split("+"))}) >= 20


@pytest.fixture
def member(tiny_space: SearchSpace) -> Architecture:
    return tiny_space.decode(PARAMS)


FOREIGN: dict[str, Callable[[Architecture], object]] = {
    "no architecture": lambda member: "architecture",
    "None": lambda member: None,
    "patch": lambda member: replace(member, patch=1),
    "image_size": lambda member: replace(member, image_size=16, patch=4),
    "in_channels": lambda member: replace(member, in_channels=3),
    "classes": lambda member: replace(member, classes=4),
    "position": lambda member: replace(member, position="learned"),
    "final_norm": lambda member: replace(member, final_norm="affine"),
    "another final_norm of the space": lambda member: replace(member, final_norm="none"),
    "final_eps": lambda member: replace(member, final_eps=1e-3),
    "norm_after_pooling": lambda member: replace(member, norm_after_pooling=True),
    "drop_path": lambda member: replace(member, drop_path=0.1),
    "class token, averaged": lambda member: replace(member, class_token=True, stages=member.stages[:1]),
    "too deep": lambda member: replace(member, stages=(Stage(3, 4, member.stages[0].block),)),
    "too wide": lambda member: replace(member, stages=(Stage(1, 8, (Branch(Attention(4)),)),)),
    "three stages": lambda member: replace(
        member, stages=(*member.stages, Stage(1, 8, (Branch(Dense("channel", 8)),)))
    ),
    "conv1": lambda member: replace(member, stages=(member.stages[0], Stage(1, 4, (Branch(Attention(1)),), "conv1"))),
    "conv2 to another width": lambda member: replace(
        member, stages=(member.stages[0], Stage(1, 12, (Branch(Attention(1)),), "conv2"))
    ),
    "heads": lambda member: replace(member, stages=(Stage(1, 4, (Branch(Attention(2)),)),)),
    "gating": lambda member: replace(member, stages=(Stage(1, 4, (Branch(Gating(8)),)),)),
    "eps": lambda member: replace(member, stages=(Stage(1, 4, (Branch(Attention(4), eps=1e-3),)),)),
    "layer_scale": lambda member: replace(member, stages=(Stage(1, 4, (Branch(Attention(4), layer_scale=0.1),)),)),
    "two mixers": lambda member: replace(member, stages=(Stage(1, 4, (Branch(Attention(4)), Branch(Attention(1)))),)),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_architectures_are_not_in_the_space(tiny_space: SearchSpace, member: Architecture, name: str) -> None:
    assert member in tiny_space
    foreign = FOREIGN[name](member)
    assert foreign not in tiny_space
    if isinstance(foreign, Architecture):
        with pytest.raises(SpaceError):
            tiny_space.encode(foreign)


# Binding to a size of images, limits, axes, identity.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 0}, "an image_size and in_channels of at least 1"),
        ({"image_size": 8, "in_channels": 0}, "in_channels of at least 1"),
        ({"image_size": 8, "classes": 1}, "classes of at least 2"),
        ({"image_size": 9}, "larger than the space 'tiny' allows; allowed: up to 8"),
        ({"image_size": 7}, "no patch of the space 'tiny' divides an image of 7 x 7 pixels into 4 to 16 tokens"),
        ({"image_size": 2}, "no patch of the space 'tiny' divides an image of 2 x 2 pixels into 4 to 16 tokens"),
    ],
)
def test_a_space_may_have_nothing_for_such_images(tiny_text: str, settings: dict[str, int], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        parse_space(tiny_text, **settings)


@pytest.mark.parametrize("name", list_spaces())
@pytest.mark.parametrize(
    ("image_size", "patches", "limit"),
    [
        (8, (2, 4), 50_000),
        (28, (2, 4, 7), 500_000),
        (32, (2, 4, 8), 5_000_000),
        (224, (7, 8, 14, 16, 32), 30_000_000),
    ],
)
def test_patches_leave_an_allowed_number_of_tokens(
    space_at, name: str, image_size: int, patches: tuple[int, ...], limit: int
) -> None:
    space = space_at(image_size, name)
    if name == "mlp_family":  # of 1, 2, 4, 7, 8, 14, 16, 32; tokens 4-32, 16-200, 16-256, 16-1024
        assert space.axis("patch").values == patches
        assert space.limits == Limits(max_params=limit)
    assert all(image_size % patch == 0 for patch in space.axis("patch").values)


def test_axes_are_named_by_stage(tiny_space: SearchSpace) -> None:
    stage = ["depth", "mixer", "heads", "token_hidden", "token_norm", "weighted", "channel_ratio", "order"]
    names = ["patch", "dim", "pooling", "position", "norm", "layer_scale", "drop_path", "stages"]
    names += [f"stage1.{name}" for name in stage] + [f"stage2.{name}" for name in ("downsample", *stage)]
    assert [axis.name for axis in tiny_space.axes] == names
    assert tiny_space.axis("stage2.mixer").values == ("attention", "mlp", "permute", "none")


@pytest.mark.parametrize(
    ("values", "step"),
    [
        ((1, 2, 3), 1),
        ((16, 24, 32), 8),
        ((0, 4), 4),
        ((1, 2, 4), None),
        ((3,), None),
        ((3, 2, 1), None),
        ((False, True), None),
        ((0.0, 0.1), None),
        (("a", "b"), None),
    ],
)
def test_the_step_of_an_axis(values: tuple[Any, ...], step: int | None) -> None:
    assert Axis("any", values).step == step


@pytest.mark.parametrize(
    ("limits", "allowed"),
    [
        (Limits(), True),
        (Limits(10, 20), True),
        (Limits(9), False),
        (Limits(None, 19), False),
        (Limits(10, 19), False),
        (Limits(9, 20), False),
    ],
)
def test_limits(limits: Limits, allowed: bool) -> None:
    assert limits.allow(Cost(10, 20)) == allowed


def test_limits_are_written_as_people_write_them() -> None:
    assert str(Limits()) == "no limit"
    assert str(Limits(50_000)) == "50.0k parameters"
    assert str(Limits(50_000, 2_000_000)) == "50.0k parameters and 2.00M MACs"
    assert str(Limits(max_macs=0)) == "0 MACs"


def test_the_hash_says_whether_spaces_are_the_same(tiny_text: str) -> None:
    settings = {"image_size": 8, "in_channels": 1, "classes": 3}
    texts = [
        tiny_text,
        tiny_text.replace("dim: [4, 6]", "dim: [4, 8]"),
        tiny_text.replace("heads: [1, 4]", "heads: [1, 2]"),
        tiny_text.replace("    permute: {weighted: [true]}\n", ""),
        tiny_text.replace("downsample: [none, conv2]", "downsample: [none]"),
        tiny_text.replace("depth: [1, 2]", "depth: [1, 2, 3]"),
    ]
    spaces = [parse_space(text, **settings) for text in texts]
    spaces += [parse_space(tiny_text, **{**settings, name: 4}) for name in settings]
    assert len({space.hash for space in spaces}) == len(spaces)
    again = tiny_text.replace("Every rule", "Each rule").replace("depth: [1, 2]", "depth: {from: 1, to: 2}")
    assert parse_space(again, **settings).hash == spaces[0].hash


def test_batchnorms_have_the_epsilon_of_pytorch(space_at) -> None:
    """1e-5 for every mixer; other norms have it in the blocks where the published code has it."""
    space, rng = space_at(8), random.Random(0)
    seen = set()
    for _ in range(100):
        for stage in space.sample(rng).stages:
            kinds = {branch.op.kind for branch in stage.block}
            for branch in stage.block:
                if branch.norm != "affine":  # which has none
                    wide = branch.norm == "batchnorm" or kinds & {"permute", "repmlp"}
                    assert branch.eps == (1e-5 if wide else 1e-6), stage.block
                    seen.add((branch.norm, branch.eps))
    assert seen == {("batchnorm", 1e-5), ("layernorm", 1e-5), ("layernorm", 1e-6)}


def test_a_block_costs_what_one_more_adds_to_the_deployed_network(space_at) -> None:
    space = space_at(8)
    net = space.encode(family_points(space, space.limits)["repmlp"]) | {"stages": 1}
    shape = space.first_shape(net)
    options = space.options(space.context(net, shape))
    for option in options.all:
        settings = {f"stage1.{name}": value for name, value in option.settings.items()}
        one, two = (space.decode({**net, **settings, "stage1.depth": depth}).deployed for depth in (1, 2))
        assert options.cost(option, "params") == two.params - one.params
        assert options.cost(option, "macs") == two.macs - one.macs


def test_equal_choices_are_one_choice(space_at) -> None:
    """64.0 means 64, and 1 means True for a switch; the architecture and its hash are the same."""
    space = space_at(32)
    params = space.encode(family_points(space, space.limits)["vip"])
    loose = {**params, "dim": float(params["dim"]), "stage1.weighted": 1, "drop_path": 0}
    assert space.decode(loose).hash == space.decode(params).hash

"""The published families at any size."""

from __future__ import annotations

import pytest

import nas
from search_space import Limits, load_space
from search_space.errors import ConfigError, NasError, SpaceError

SEVEN = ["vit", "mixer", "ff_only", "resmlp", "gmlp", "vip", "repmlp"]


@pytest.mark.parametrize(("limit", "image_size", "classes"), [("50k", 8, 10), (500_000, 28, 10), ("30M", 224, 1000)])
def test_all_seven_fill_a_limit_on_parameters(limit, image_size: int, classes: int) -> None:
    points = nas.baselines(limit, image_size)
    space = load_space("mlp_family", image_size=image_size, classes=classes)
    most = {"50k": 50_000, "30M": 30_000_000}.get(limit, limit)
    assert list(points) == SEVEN
    for point in points.values():
        assert most / 2 < point.deployed.params <= most
        assert space.decode(space.encode(point)) == point
        assert (point.image_size, point.in_channels, point.classes) == (image_size, 3, classes)


def test_a_limit_on_macs() -> None:
    points = nas.baselines("500M", 32, measure="macs")
    assert list(points) == SEVEN
    assert all(2.5e8 < point.deployed.macs <= 5e8 for point in points.values())


def test_several_limits_images_and_classes() -> None:
    limits = Limits(max_params=1_000_000, max_macs=50_000_000)
    points = nas.baselines(limits, 28, in_channels=1, classes=26)
    assert points
    assert all(limits.allow(point.deployed.cost) for point in points.values())
    assert {(point.in_channels, point.classes) for point in points.values()} == {(1, 26)}


def test_a_family_without_a_model_within_the_limit_is_left_out() -> None:
    assert 0 < len(nas.baselines(3_000, 8, in_channels=1)) < 7


@pytest.mark.parametrize(
    ("arguments", "settings", "kind", "words"),
    [
        (("many", 8), {}, ConfigError, "limit is 'many'; allowed: a positive count such as 50k"),
        (("50k", 8), {"measure": "flops"}, ConfigError, "measure is 'flops'; allowed: params, macs"),
        ((100, 8), {}, SpaceError, "no architecture of the space 'mlp_family' has at most 100 parameters"),
        (("5M", 31), {}, SpaceError, "no patch of the space 'mlp_family' divides an image of 31 x 31"),
        (("5M", 5000), {}, SpaceError, "images of 5000 x 5000 are larger than the space"),
        (("5M", 32), {"space": "mlp_famly"}, SpaceError, "did you mean 'mlp_family'"),
    ],
)
def test_bad_input_is_one_sentence(arguments, settings, kind: type[NasError], words: str) -> None:
    with pytest.raises(kind) as caught:
        nas.baselines(*arguments, **settings)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("image_size", "classes"), [(64, 10), (96, 1000)])
def test_the_number_of_classes_goes_with_the_images(image_size: int, classes: int) -> None:
    assert {point.classes for point in nas.baselines("30M", image_size).values()} == {classes}

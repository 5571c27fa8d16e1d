"""Architectures as numbers, by hand."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from nas.strategy.features import Features
from search_space.space import load_space

SMALL = {
    "patch": 2,
    "dim": 32,
    "pooling": "gap",
    "position": "learned",
    "norm": "layernorm",
    "layer_scale": None,
    "drop_path": 0.0,
    "stages": 1,
    "stage1.depth": 3,
    "stage1.mixer": "attention",
    "stage1.heads": 4,
    "stage1.channel_ratio": 2,
    "stage1.order": "token_first",
}


def named(features: Features, architecture) -> dict[str, float]:
    return dict(zip(features.names, features(architecture).tolist(), strict=True))


def test_one_stage_by_hand(space):
    architecture = space.decode(SMALL)
    found = named(Features(space), architecture)
    assert found.pop("log params") == pytest.approx(math.log(architecture.params))
    assert found.pop("log macs") == pytest.approx(math.log(architecture.macs))
    assert found.pop("log depth") == pytest.approx(math.log(3))
    assert found == {
        "dim": 0.5,  # 32 is the last of 16, 24, 32
        "patch=2": 1.0,
        "patch=4": 0.0,
        "pooling=gap": 1.0,
        "pooling=class_token": 0.0,
        "position=none": 0.0,
        "position=learned": 1.0,
        "mixer=attention": 1.0,
        "mixer=mlp": 0.0,
        "mixer=linear": 0.0,
        "heads=2": 0.0,
        "heads=4": 1.0,
        "channel_ratio=2": 1.0,
        "channel_ratio=4": 0.0,
    }


@pytest.mark.parametrize(("dim", "expected"), [(16, -0.5), (24, 0.0), (32, 0.5)])
def test_an_ordered_axis_is_a_scale(space, dim, expected):
    assert named(Features(space), space.decode(SMALL | {"dim": dim}))["dim"] == expected


def test_an_inactive_axis_says_nothing(space):
    linear = {name: value for name, value in SMALL.items() if name != "stage1.heads"} | {"stage1.mixer": "linear"}
    found = named(Features(space), space.decode(linear))
    assert (found["mixer=linear"], found["heads=2"], found["heads=4"]) == (1.0, 0.0, 0.0)


def test_stages_count_by_their_share_of_the_depth():
    space = load_space("mlp_family", image_size=28, in_channels=1, classes=10)
    rng, features = random.Random(0), Features(space)
    compared = 0
    while compared < 20:
        architecture = space.sample(rng, space.limits)
        choices = space.encode(architecture)
        depths = [choices[f"stage{number}.depth"] for number in range(1, choices["stages"] + 1)]
        found = named(features, architecture)
        shares = {name.removeprefix("mixer="): share for name, share in found.items() if name.startswith("mixer=")}
        expected = dict.fromkeys(shares, 0.0)
        for number, depth in enumerate(depths, start=1):
            expected[choices[f"stage{number}.mixer"]] += depth / sum(depths)
        assert shares == pytest.approx(expected)
        assert found["stages"] == {1: -0.5, 2: 0.0, 3: 0.5}[len(depths)]
        compared += len(depths) > 1


def test_vectors_tell_architectures_apart_and_are_finite(space):
    rng, features = random.Random(0), Features(space)
    architectures = {space.sample(rng) for _ in range(60)}
    vectors = np.array([features(architecture) for architecture in architectures])
    assert np.isfinite(vectors).all()
    assert len({tuple(vector) for vector in vectors.tolist()}) == len(architectures)

"""A search on images that are no squares: trained, continued, reported, exported and profiled."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nas.api import search
from nas.config import SearchConfig
from runners.data import DatasetInfo, describe_dataset, load_test
from runners.protocol import DataSpec
from search_space.architecture import Architecture
from search_space.errors import ConfigError, DataError, SpaceError, StudyError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Wide images of two classes: bright on the left, or bright on the right."""
    for side, name in enumerate(("left", "right")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(12):
            image = Image.new("RGB", (20, 10), (5 * number, 0, 0))
            image.paste((255, 255, 5 * number), (10 * side, 0, 10 * side + 10, 10))
            image.save(tmp_path / "photos" / name / f"{number:02}.png")
    return tmp_path / "photos"


@pytest.fixture
def go_on(settings: dict[str, Any], photos: Path, tmp_path: Path) -> Callable[..., Any]:
    def make(**changes: Any) -> Any:
        own = {"data": f"imagefolder:{photos}", "data_dir": str(tmp_path / "cache"), "image_size": "4x16", "epochs": 1}
        return search(**{**settings, **own, "budget": 2, "finalists": 1, "seeds": 1, **changes})

    return make


def test_images_keep_their_sides(photos: Path, tmp_path: Path) -> None:
    spec = DataSpec(f"imagefolder:{photos}", str(tmp_path / "cache"), image_size=(8, 16))
    assert describe_dataset(spec) == DatasetInfo((8, 16), 3, 2)
    test = load_test(spec)
    assert test.images.shape[1:] == (3, 8, 16)
    for image, label in zip(test.images, test.labels.tolist(), strict=True):
        left, right = image[1, :, :8], image[1, :, 8:]
        assert ((left > right).all(), (right > left).all()) == (label == 0, label == 1)


def test_a_search_from_images_to_a_bundle(go_on, stored, settings, nas, tmp_path: Path) -> None:
    assert go_on().winner.test_accuracy is not None
    assert stored().row.identity["data"]["image_size"] == stored().row.identity["space"]["image_size"] == [4, 16]
    report = go_on(budget=3)  # the same study
    assert report.evaluated == 3
    with pytest.raises(StudyError, match=r"data\.image_size was 4, 16 and is now 16, 4"):
        go_on(image_size="16x4")
    place = ("--out", settings["out"])
    assert nas("export", "study", "--best", "-o", tmp_path / "bundle", *place).code == 0
    assert "| input | 3 x 4 x 16, normalised |" in (tmp_path / "bundle/README.md").read_text()
    assert "# images: (B, 3, 4, 16), pixels" in (tmp_path / "bundle/load.py").read_text()
    architecture = Architecture.from_yaml_file(tmp_path / "bundle/architecture.yaml")
    assert (architecture.image_size, architecture.hash) == ((4, 16), report.winner.hash)
    ran = nas("profile", "study#best", "--image-sizes", "4x16,8x32,9x16", "--json", *place)
    profile = json.loads(ran.out)
    assert (profile["image_size"], profile["latency"]["batch"]) == ([4, 16], 1)
    same, larger, none = profile["image_sizes"]
    assert (same["macs"], larger["tokens"]) == (report.winner.macs, 4 * same["tokens"])
    assert none["reason"].startswith("the patch must divide the image; image_size is [9, 16], patch is ")
    assert "images of 3 x 4 x 16, patch" in nas("profile", "study#best", "--closed-form", *place).out


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (
            "8x16x3",
            "^--image-size is '8x16x3'; allowed: a side in pixels from 1 to 1,024, or HEIGHTxWIDTH such as 64x96$",
        ),
        ("8x2000", r"^--image-size is \(8, 2000\); allowed: a side in pixels from 1 to 1,024"),
        ([8, 16, 3], "allowed: a side in pixels"),
        ("0", "allowed: a side in pixels"),
    ],
)
def test_a_size_that_is_none(size, message) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchConfig.make(image_size=size)


def test_the_size_in_a_file(tmp_path: Path) -> None:
    for text in ("64x96", "[64, 96]"):
        (tmp_path / "search.yaml").write_text(f"image_size: {text}\n")
        assert SearchConfig().with_file(tmp_path / "search.yaml").image_size == (64, 96)


def test_a_size_that_no_patch_divides(go_on) -> None:
    with pytest.raises(SpaceError, match=r"no patch of the space .* divides an image of 7 x 11 pixels into"):
        go_on(image_size="7x11", space="mlp_family")


def test_a_data_set_with_a_size_of_its_own() -> None:
    with pytest.raises(DataError, match=r"digits has its own image size; image_size \(8 x 16\) goes with a folder"):
        describe_dataset(DataSpec("digits", image_size=(8, 16)))

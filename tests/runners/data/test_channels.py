"""Images of a folder with one to four channels, whatever the modes of its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runners.data import DatasetInfo, describe_dataset, load_splits, load_test
from runners.data.image_decoding import read_image
from runners.protocol import DataSpec
from search_space.errors import DataError

COLOUR = (200, 100, 50)
LUMA = 124
"""ITU-R 601-2: 0.299 * 200 + 0.587 * 100 + 0.114 * 50 = 124.2."""


def saved(path: Path, mode: str, colour: object, suffix: str = ".png") -> str:
    file = path / f"image{suffix}"
    Image.new(mode, (4, 4), colour).save(file)
    return str(file)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("L", 77, {1: [77], 2: [77, 255], 3: [77] * 3, 4: [77, 77, 77, 255]}),
        ("RGB", COLOUR, {1: [LUMA], 2: [LUMA, 255], 3: [*COLOUR], 4: [*COLOUR, 255]}),
        # Half transparent: over white it is (x + 255) / 2 where alpha is no channel, else as it is.
        ("LA", (77, 51), {1: [219], 2: [77, 51], 3: [219] * 3, 4: [77, 77, 77, 51]}),
        ("RGBA", (*COLOUR, 0), {1: [255], 2: [LUMA, 0], 3: [255] * 3, 4: [*COLOUR, 0]}),
    ],
)
def test_every_file_is_converted_to_the_channels_wanted(tmp_path, mode, colour, expected):
    """77 over white at 51 / 255 = 0.2 is 0.2 * 77 + 0.8 * 255 = 219.4."""
    path = saved(tmp_path, mode, colour)
    for channels, values in expected.items():
        pixels = read_image(path, (2, 3), channels)
        assert (pixels.shape, pixels.dtype) == ((channels, 2, 3), np.uint8)
        assert pixels[:, 0, 0].tolist() == values


def test_more_than_8_bits_are_scaled_for_every_number_of_channels(tmp_path):
    Image.fromarray(np.full((4, 4), 257 * 9, np.uint16)).save(tmp_path / "deep.png")
    expected = {1: [9], 2: [9, 255], 3: [9] * 3, 4: [9, 9, 9, 255]}
    for channels, values in expected.items():
        assert read_image(str(tmp_path / "deep.png"), 2, channels)[:, 0, 0].tolist() == values


def test_a_fourth_band_is_a_channel_as_the_others(tmp_path):
    """It is resized for itself: as transparency, it would weight the others."""
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0] = [200, 0, 0, 0]
    pixels[1] = [0, 100, 0, 255]
    Image.fromarray(pixels).save(tmp_path / "bands.tiff")
    assert read_image(str(tmp_path / "bands.tiff"), 1, 4)[:, 0, 0].tolist() == [100, 50, 0, 128]


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Two classes of grey, coloured and transparent files."""
    kinds = [("L", 77), ("RGB", COLOUR), ("RGBA", (*COLOUR, 51)), ("P", 3)]
    for name in "ab":
        (tmp_path / "mixed" / name).mkdir(parents=True)
        for number in range(12):
            mode, colour = kinds[number % len(kinds)]
            Image.new(mode, (4, 4), colour).save(tmp_path / "mixed" / name / f"{number:02}.png")
    return tmp_path / "mixed"


@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
@pytest.mark.parametrize("cache", ["disk", "none"])
def test_a_mixed_folder_has_one_number_of_channels(mixed, tmp_path, channels, cache):
    spec = DataSpec(f"imagefolder:{mixed}", str(tmp_path / "cache"), image_size=4, image_cache=cache, channels=channels)
    count = channels or 3
    assert describe_dataset(spec) == DatasetInfo(4, count, 2)
    splits = load_splits(spec)
    assert splits.train.images[:].shape[1:] == load_test(spec).images[:].shape[1:] == (count, 4, 4)
    assert len(splits.mean) == len(splits.std) == count


def test_decoded_images_are_kept_apart(mixed, tmp_path):
    """By their channels, and those of earlier versions are still used."""
    specs = [DataSpec(f"imagefolder:{mixed}", str(tmp_path / "cache"), image_size=4, channels=n) for n in (None, 3, 1)]
    files = []
    for spec in specs:
        load_test(spec)
        files.append(len(list((tmp_path / "cache/decoded").glob("*.npy"))))
    assert files == [1, 1, 2]


def test_a_data_set_with_channels_of_its_own():
    with pytest.raises(DataError, match=r"digits has its own channels; channels \(3\) goes with a folder of images"):
        describe_dataset(DataSpec("digits", channels=3))


def test_what_identifies_images():
    """Only what was chosen, so that studies of earlier versions continue."""
    plain = {"name": "x", "split_seed": 0, "image_size": None}
    assert DataSpec("x", "/cache", image_cache="none").identity() == plain
    chosen = DataSpec("x", image_size=(8, 16), channels=2).identity()
    assert chosen == {**plain, "image_size": [8, 16], "channels": 2}


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_every_augmentation_takes_them(mixed, tmp_path, channels, make_job: Callable[..., object]):
    from dataclasses import replace

    from runners.recipe import Recipe
    from runners.training.train import train

    spec = DataSpec(f"imagefolder:{mixed}", str(tmp_path / "cache"), image_size=8, channels=channels)
    job = make_job(recipe=Recipe(epochs=1, batch_size=8, rand_augment=9, erasing=0.5, crop=0.5, mixup=0.2, cutmix=1.0))
    architecture = replace(job.architecture, in_channels=channels, classes=2)
    (epoch,) = train(replace(job, data=spec, architecture=architecture))
    assert 0 <= epoch.balanced_accuracy <= 1

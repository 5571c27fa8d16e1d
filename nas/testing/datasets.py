"""The promises of a data set. B images, C channels, H and W pixels."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import SkipTest

from nas.testing.randomness import nothing_global_drawn
from runners.data import Dataset, DatasetInfo, recipe_for
from runners.data.base import DATASETS
from runners.protocol import DataSpec
from search_space.contract import Contract, holds
from search_space.size import canonical, sides

if TYPE_CHECKING:
    from runners.data import Split


class DatasetContract(Contract):
    """A data set describes its images without loading them, and always holds the same images."""

    def test_sizes_are_known(self, name: str) -> None:
        """Its sizes are whole numbers from 1, known without an image."""
        with _example(name) as (dataset, spec):
            info = dataset.describe(spec)
            holds(isinstance(info, DatasetInfo), f"describe returns {info!r}, which is not a DatasetInfo")
            size = info.image_size
            fine = all(isinstance(side, int) and side >= 1 for side in sides(size)) and size == canonical(size)
            holds(fine, f"its image_size is {size!r}")
            for field in ("in_channels", "classes"):
                value = getattr(info, field)
                holds(isinstance(value, int) and value >= 1, f"its {field} is {value!r}")

    def test_recipe(self, name: str) -> None:
        """Its recipe consists of settings of a training."""
        recipe = recipe_for(name)
        holds(recipe.epochs >= 1 and recipe.batch_size >= 1 and recipe.lr > 0, f"its recipe is {recipe}")

    def test_splits_are_as_described(self, name: str) -> None:
        """Its splits hold bytes of the described size, labels of the described classes, and no split is empty."""
        with _example(name) as (dataset, spec):
            info = dataset.describe(spec)
            train, validation = dataset.load_development(spec)
            for part, split in (("train", train), ("validation", validation), ("test", dataset.load_test(spec))):
                _check_split(part, split, info)
            known = dataset.validation_images(spec)
            holds(
                known in (None, len(validation)),
                f"validation_images says {known}, and its validation split has {len(validation)} images",
            )

    def test_splits_repeat(self, name: str) -> None:
        """Its splits depend on the spec alone, and another directory does not change them."""
        import torch

        with _example(name) as (dataset, spec), nothing_global_drawn():
            for one, other in zip(_splits(dataset, spec), _splits(dataset, spec), strict=True):
                same = torch.equal(one.images[:], other.images[:]) and torch.equal(one.labels, other.labels)
                holds(same, "loaded twice, its splits differ")

    def test_another_split_seed(self, name: str) -> None:
        """It can be split by another seed, into as many images."""
        with _example(name) as (dataset, spec):
            sizes = [len(split) for split in _splits(dataset, spec)]
            others = [len(split) for split in _splits(dataset, replace(spec, split_seed=7))]
            holds(sizes == others, f"its splits have {sizes} images, and {others} by another seed")

    def test_fingerprint_repeats(self, name: str) -> None:
        """Its fingerprint is a text that stays the same while the images do."""
        with _example(name) as (dataset, spec):
            first, second = dataset.fingerprint(spec), dataset.fingerprint(spec)
            holds(isinstance(first, str) and first == second, f"its fingerprint is {first!r}, and then {second!r}")


@contextmanager
def _example(name: str) -> Iterator[tuple[Dataset, DataSpec]]:
    """A data set with images to load, possibly from a temporary folder."""
    dataset = DATASETS.find(name)
    with tempfile.TemporaryDirectory() as folder:
        spec = dataset.example(name, Path(folder))
        if spec is None:
            raise SkipTest("it has no example that can be loaded without a network")
        yield dataset, spec


def _splits(dataset: Dataset, spec: DataSpec) -> tuple[Split, Split, Split]:
    return (*dataset.load_development(spec), dataset.load_test(spec))


def _check_split(part: str, split: Split, info: DatasetInfo) -> None:
    import torch

    shape = (len(split.labels), info.in_channels, *sides(info.image_size))
    holds(len(split.labels) >= 1, f"its {part} split is empty")
    found = tuple(split.images.shape)
    holds(found == shape, f"the images of its {part} split are {found}, and {shape} is described")
    holds(split.images.dtype == torch.uint8, f"the images of its {part} split are {split.images.dtype}, not uint8")
    holds(split.labels.dtype == torch.int64, f"the labels of its {part} split are {split.labels.dtype}, not int64")
    least, most = int(split.labels.min()), int(split.labels.max())
    holds(
        least >= 0 and most < info.classes,
        f"the labels of its {part} split range from {least} to {most}, and there are {info.classes} classes",
    )

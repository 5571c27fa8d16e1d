"""Data sets: their sizes, and their splits as tensors of bytes.

One file per source. To add one, write a `Dataset`, decorate it with `register_dataset`, and import its file below.
Describing a data set loads neither torch nor an image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runners.data.base import (
    DATASETS,
    Augmentation,
    Dataset,
    DatasetInfo,
    Split,
    Splits,
    data_directory,
    find_dataset,
    legible,
    register_dataset,
)
from runners.data.digits import Digits
from runners.data.idx import IdxDataset
from runners.data.imagefolder import ImageFolder
from runners.data.torchvision_sets import TorchvisionDataset
from runners.protocol import DataSpec
from runners.recipe import Recipe
from search_space.errors import DataError, brief

__all__ = [
    "DATASETS",
    "Augmentation",
    "Dataset",
    "DatasetInfo",
    "Digits",
    "IdxDataset",
    "ImageFolder",
    "Split",
    "Splits",
    "TorchvisionDataset",
    "data_directory",
    "describe_dataset",
    "fingerprint",
    "legible",
    "load_splits",
    "load_test",
    "prepare",
    "recipe_for",
    "register_dataset",
    "training_images",
    "validation_images",
]

_OTHER_EPOCHS = 30
"""Epochs for a data set without a recipe. Arbitrary."""


def describe_dataset(spec: DataSpec) -> DatasetInfo:
    """Image size, channels and classes, without loading torch or an image.

    Raises:
        DataError: If there is no such data set, or its folder is unusable.
    """
    return find_dataset(spec).describe(spec)


def recipe_for(name: str, **overrides: Any) -> Recipe:
    """The recipe for a data set unless a study says otherwise.

    Args:
        name: Of the data set; only the part before the colon of ``imagefolder:PATH`` counts.
        overrides: Fields of Recipe that take precedence.
    """
    dataset = DATASETS.get(name.partition(":")[0])
    own = {} if dataset is None else dataset.recipe
    return Recipe(**{"epochs": _OTHER_EPOCHS, **own, **overrides})


def prepare(spec: DataSpec, notify: Callable[[str], None] = lambda _: None) -> None:
    """Download or decode what is not cached yet, so that a missing data set is noticed early.

    The files of the test split are decoded too, but nothing is evaluated on them.

    Args:
        spec: Which data set.
        notify: Called with sentences (without a full stop) that the user should know about the images.

    Raises:
        DataError: If there is no such data set, or it cannot be read or downloaded.
    """
    dataset = find_dataset(spec)
    if not dataset.embedded:
        dataset.prepare(spec, notify)
    elif spec.directory is not None:
        raise DataError(f"--data-dir is {brief(spec.directory)}, but {spec.name} is not kept in files; leave it out")


def fingerprint(spec: DataSpec, recorded: str = "") -> str:
    """Identifies the images behind a name whose images can change (a folder); "" for a name whose images cannot.

    Args:
        spec: Which data set.
        recorded: A fingerprint to compare with; if an earlier version made it, that version's method is used.

    Raises:
        DataError: If there is no such data set, or a file of it cannot be read.
    """
    dataset = find_dataset(spec)
    return (recorded and dataset.former_fingerprint(spec, recorded)) or dataset.fingerprint(spec)


def validation_images(spec: DataSpec) -> int | None:
    """Size of the validation split, without loading an image; None if it is not known before the images are loaded.

    Raises:
        DataError: If there is no such data set.
    """
    return find_dataset(spec).validation_images(spec)


def training_images(spec: DataSpec) -> int | None:
    """Size of the training split, without loading an image; None if it is not known before the images are loaded.

    Raises:
        DataError: If there is no such data set.
    """
    return find_dataset(spec).training_images(spec)


def load_splits(spec: DataSpec) -> Splits:
    """The training and validation images, never the test images.

    Both depend only on `spec` (its `split_seed`), not on the seed of a training.

    Raises:
        DataError: If there is no such data set, or it cannot be read or downloaded.
    """
    from runners.data.lazy_images import LazyImages
    from runners.data.statistics import channel_statistics

    dataset = find_dataset(spec)
    train, validation = dataset.load_development(spec)
    images = train.images
    mean, std = images.statistics() if isinstance(images, LazyImages) else channel_statistics(images)
    return Splits(train, validation, dataset.describe(spec), mean, std, dataset.augmentation)


def load_test(spec: DataSpec) -> Split:
    """The test images.

    Raises:
        DataError: If there is no such data set, or it cannot be read or downloaded.
    """
    return find_dataset(spec).load_test(spec)

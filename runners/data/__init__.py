"""Data sets: their sizes, and their splits as tensors of bytes.

One file a source. To add one, write a `Dataset` and register it below (or, from a plug-in, call `register_dataset`).
Describing a data set loads neither torch nor an image.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

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
from search_space.errors import DataError, brief

__all__ = [
    "DATASETS",
    "Augmentation",
    "Dataset",
    "DatasetInfo",
    "Split",
    "Splits",
    "data_directory",
    "describe_dataset",
    "fingerprint",
    "legible",
    "load_splits",
    "load_test",
    "prepare",
    "register_dataset",
    "validation_images",
]

_FASHION_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_CLOTHES = Augmentation(shift=2, flip=True)

register_dataset("digits", Digits())
register_dataset("fashion_mnist", IdxDataset("FashionMNIST", _CLOTHES, _FASHION_DEBIAN))
# A quarter of it, for studies and benchmarks on a few CPU cores.
register_dataset("fashion_mnist_10k", IdxDataset("FashionMNIST", _CLOTHES, _FASHION_DEBIAN, 10_000, 4_000))
register_dataset("mnist", IdxDataset("MNIST", Augmentation(shift=2)))
register_dataset("cifar10", TorchvisionDataset("CIFAR10", 10, 5_000, Augmentation(shift=4, flip=True)))
register_dataset("cifar100", TorchvisionDataset("CIFAR100", 100, 5_000, Augmentation(shift=4, flip=True)))
register_dataset("svhn", TorchvisionDataset("SVHN", 10, 7_325, Augmentation(shift=2)))
register_dataset("imagefolder", ImageFolder())


def describe_dataset(spec: DataSpec) -> DatasetInfo:
    """Image size, channels and classes, without loading torch or an image.

    Raises:
        DataError: If there is no such data set, or its folder is unusable.
    """
    return find_dataset(spec).describe(spec)


def prepare(spec: DataSpec, tell: Callable[[str], None] = lambda _: None) -> None:
    """Download or decode what is not cached yet, so that a data set that cannot be had is noticed early.

    The files of the test split are decoded too, but nothing is evaluated on them.

    Args:
        spec: Which data set.
        tell: Is told in sentences, without a full stop, what the user should know of the images.

    Raises:
        DataError: If there is no such data set, or it cannot be read or downloaded.
    """
    dataset = find_dataset(spec)
    if not dataset.embedded:
        dataset.prepare(spec, tell)
    elif spec.directory is not None:
        raise DataError(f"--data-dir is {brief(spec.directory)}, but {spec.name} is not kept in files; leave it out")


def fingerprint(spec: DataSpec, recorded: str = "") -> str:
    """What identifies the images behind a name that can come to mean others (a folder); "" where it cannot.

    Args:
        spec: Which data set.
        recorded: A fingerprint to compare with: one of an earlier version is answered by that version's method.

    Raises:
        DataError: If there is no such data set, or a file of it cannot be read.
    """
    dataset = find_dataset(spec)
    return (recorded and dataset.former_fingerprint(spec, recorded)) or dataset.fingerprint(spec)


def validation_images(spec: DataSpec) -> int | None:
    """Size of the validation split, without loading an image; None if the data set does not tell beforehand.

    Raises:
        DataError: If there is no such data set.
    """
    return find_dataset(spec).validation_images(spec)


def load_splits(spec: DataSpec) -> Splits:
    """The training and validation images, never the test images.

    Both depend on `spec` alone (`split_seed`), not on the seed of a training.

    Raises:
        DataError: If there is no such data set, or it cannot be read or downloaded.
    """
    from runners.data.statistics import channel_statistics

    dataset = find_dataset(spec)
    train, validation = dataset.load_development(spec)
    mean, std = channel_statistics(train.images)
    return Splits(train, validation, dataset.describe(spec), mean, std, dataset.augmentation)


def load_test(spec: DataSpec) -> Split:
    """The test images.

    Raises:
        DataError: If there is no such data set, or it cannot be read or downloaded.
    """
    return find_dataset(spec).load_test(spec)

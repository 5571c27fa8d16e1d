"""The interface of a data set, and the registry of data sets by name.

Nothing here loads torch: `nas spaces` and the validation of a configuration need only the sizes.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from runners.protocol import DataSpec
from search_space.errors import DataError, allowed, brief, printable
from search_space.paths import user_path
from search_space.registry import Registry
from search_space.size import Size, shown

if TYPE_CHECKING:
    from torch import Tensor

    from runners.data.lazy_images import LazyImages


@dataclass(frozen=True)
class DatasetInfo:
    """The numbers that an architecture must agree with.

    Attributes:
        image_size: Side of an image in pixels if it is a square, else its height and width.
        in_channels: Number of its channels.
        classes: Number of classes.
    """

    image_size: Size
    in_channels: int
    classes: int


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied, at random for every image and epoch.

    Attributes:
        shift: Largest translation along each axis, in pixels; the area moved in from outside is black.
        degrees: Largest rotation in either direction.
        scale: Largest zoom in or out, as a share of the size.
        share: Share of the images that are transformed at all; the rest stay sharp.
        flip: Whether half of the images are mirrored left to right.
    """

    shift: float = 0.0
    degrees: float = 0.0
    scale: float = 0.0
    share: float = 1.0
    flip: bool = False


@dataclass(frozen=True, eq=False)
class Split:
    """Labelled images, never modified.

    Attributes:
        images: (B, C, H, W) uint8, 0 to 255: in memory, in a memory map, or read when they are indexed.
        labels: (B,) int64.
    """

    images: Tensor | LazyImages
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Splits:
    """The images that a training may see.

    Attributes:
        train: Images to train on.
        validation: Images for model selection, split off the data set's training images if it has no validation split.
        info: The sizes of the images.
        mean: Mean of every channel over `train`, pixels scaled to 0..1.
        std: Standard deviation likewise.
        augmentation: How training images are varied.
    """

    train: Split
    validation: Split
    info: DatasetInfo
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation


class Dataset(ABC):
    """A source of images. Its methods load torch; constructing it does not.

    Attributes:
        augmentation: Augmentation that helps and preserves the classes of these images.
        takes_path: Whether its name is followed by ``:PATH``.
        embedded: Whether its images come with an installed Python package.
        recipe: Default training settings: fields of `runners.recipe.Recipe`.
    """

    augmentation: Augmentation = Augmentation()
    takes_path: ClassVar[bool] = False
    embedded: ClassVar[bool] = False
    recipe: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def describe(self, spec: DataSpec) -> DatasetInfo:
        """Sizes of the images, without loading one."""

    def fingerprint(self, spec: DataSpec) -> str:
        """A value that changes with the images behind the name; "" for published sets, which never change."""
        return ""

    def former_fingerprint(self, spec: DataSpec, recorded: str) -> str:
        """The fingerprint by the earlier version's method that `recorded` was made by; "" if there is none."""
        return ""

    def file_marks(self, spec: DataSpec) -> str:
        """A value that is equal only on machines that see the very same files, and faster than `fingerprint`; ""
        without files.
        """
        return ""

    def validation_images(self, spec: DataSpec) -> int | None:
        """Size of the validation split, without loading an image; None if only loading them tells."""
        return None

    def training_images(self, spec: DataSpec) -> int | None:
        """Size of the training split, likewise."""
        return None

    def is_stored(self, spec: DataSpec) -> bool:
        """Whether its images, once prepared, are arrays that can be sent to other machines."""
        return True

    def example(self, name: str, folder: Path) -> DataSpec | None:
        """A name and folder to test the data set with, offline; None if there is no example.

        Args:
            name: The name that it is registered under.
            folder: An empty folder in which files may be created.
        """
        return DataSpec(name) if self.embedded else None

    def prepare(self, spec: DataSpec, notify: Callable[[str], None]) -> None:
        """Download or decode what is not cached yet, and notify the user of anything worth knowing about the images.

        Raises:
            DataError: If they cannot be read or downloaded.
        """
        self.load_development(spec)
        self.load_test(spec)

    @abstractmethod
    def load_development(self, spec: DataSpec) -> tuple[Split, Split]:
        """Training and validation images; no test image is read.

        Raises:
            DataError: If they cannot be read or downloaded.
        """

    @abstractmethod
    def load_test(self, spec: DataSpec) -> Split:
        """Test images.

        Raises:
            DataError: If they cannot be read or downloaded.
        """


_LONGEST_PATH = 4096


def legible(text: str | os.PathLike[str]) -> str:
    """A path or other foreign text for a message, with unprintable characters escaped."""
    return printable(os.fspath(text), _LONGEST_PATH)


DATASETS: Registry[Dataset] = Registry("data set", DataError)
DatasetClass = TypeVar("DatasetClass", bound=type[Dataset])


def register_dataset(name: str, *settings: Any, **named: Any) -> Callable[[DatasetClass], DatasetClass]:
    """Class decorator that registers an instance made with these settings as the data set `name`.

    A class may be registered several times with different settings.

    Example:
        >>> @register_dataset("checkerboards", squares=4)
        ... class Checkerboards(Dataset): ...  # doctest: +SKIP

    Args:
        name: As in ``--data``.
        settings: Positional arguments of the class.
        named: Keyword arguments of the class.

    Raises:
        ValueError: If the name is taken.
    """

    def register(cls: DatasetClass) -> DatasetClass:
        DATASETS.add(name, cls(*settings, **named), origin=cls.__module__)
        return cls

    return register


_SUPPLIED: dict[tuple[str, int, Size | None, int | None], Dataset] = {}


def supply(spec: DataSpec, dataset: Dataset) -> None:
    """In this process, take the images behind `spec` from `dataset`, as its own files are on another machine."""
    _SUPPLIED[spec.name, spec.split_seed, spec.image_size, spec.channels] = dataset


def find_dataset(spec: DataSpec) -> Dataset:
    """The data set that `spec` names.

    Raises:
        DataError: If there is no data set of that name, or settings do not fit it.
    """
    supplied = _SUPPLIED.get((spec.name, spec.split_seed, spec.image_size, spec.channels))
    if supplied is not None:
        return supplied
    name, colon, path = spec.name.partition(":")
    dataset = DATASETS.get(name)
    choices = [f"{known}:PATH" if entry.takes_path else known for known, entry in DATASETS.items()]
    if dataset is None or (colon and not dataset.takes_path):
        raise DataError(f"there is no data set named {brief(spec.name)}; {allowed(spec.name, choices)}")
    if dataset.takes_path and not path:
        raise DataError(f"{spec.name!r} lacks a folder; write {name}:PATH")
    if not dataset.takes_path and spec.image_size is not None:
        size = shown(spec.image_size)
        raise DataError(f"{name} has its own image size; image_size ({size}) goes with a folder of images")
    if not dataset.takes_path and spec.channels is not None:
        raise DataError(f"{name} has its own channels; channels ({spec.channels}) goes with a folder of images")
    return dataset


def has_files(spec: DataSpec, fingerprint: str, marks: str = "") -> bool:
    """Whether this machine has the files with this fingerprint at the same path; False for a published set.

    Args:
        spec: The images.
        fingerprint: From `Dataset.fingerprint`, on the machine that asks.
        marks: From `Dataset.file_marks` on that machine; if they are equal here, no file is read.
    """
    try:
        dataset = find_dataset(spec)
        same = bool(marks) and dataset.file_marks(spec) == marks
        return same or (bool(fingerprint) and dataset.fingerprint(spec) == fingerprint)
    except (DataError, OSError):
        return False


def data_directory(spec: DataSpec) -> Path:
    """Where data sets are cached: `spec.directory`, else `NAS_DATA_DIR`, else ``~/.cache/nas``."""
    if spec.directory:
        return user_path(spec.directory, "--data-dir", DataError)
    if own := os.environ.get("NAS_DATA_DIR"):
        return user_path(own, "NAS_DATA_DIR", DataError)
    return user_path(
        "~/.cache/nas", "the folder of data sets, unless NAS_DATA_DIR or --data-dir names another,", DataError
    )

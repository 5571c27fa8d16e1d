"""What a data set is to the rest of the program, and the registry of those known by name.

Nothing here loads torch: `nas spaces` and the validation of a configuration ask for sizes only.
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

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class DatasetInfo:
    """The numbers an architecture has to agree with.

    Attributes:
        image_size: Height and width of an image, in pixels.
        in_channels: Its channels.
        classes: Number of classes.
    """

    image_size: int
    in_channels: int
    classes: int


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied, drawn anew for every image and epoch.

    Attributes:
        shift: Largest translation along each axis, in pixels; what moves in from outside is black.
        degrees: Largest rotation either way.
        scale: Largest zoom in or out, as a share of the size.
        share: Share of the images that are moved so at all; the rest stay sharp.
        flip: Whether half of the images are mirrored left to right.
    """

    shift: float = 0.0
    degrees: float = 0.0
    scale: float = 0.0
    share: float = 1.0
    flip: bool = False


@dataclass(frozen=True, eq=False)
class Split:
    """Labelled images in memory (or in a memory map), never changed.

    Attributes:
        images: (B, C, H, W) uint8, 0 to 255.
        labels: (B,) int64.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Splits:
    """What a training may see.

    Attributes:
        train: Images to learn from.
        validation: Images to choose by, carved from the data set's own training images where it has no others.
        info: Their sizes.
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
    """A source of images. Its methods load torch, its construction does not.

    Attributes:
        augmentation: What keeps the classes of these images apart and helps.
        takes_path: Whether its name is followed by ``:PATH``.
        embedded: Whether its images come with a Python package that is installed anyway.
        recipe: How it is trained unless a study says otherwise: fields of `runners.recipe.Recipe`.
    """

    augmentation: Augmentation = Augmentation()
    takes_path: ClassVar[bool] = False
    embedded: ClassVar[bool] = False
    recipe: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def describe(self, spec: DataSpec) -> DatasetInfo:
        """Sizes, without loading an image."""

    def fingerprint(self, spec: DataSpec) -> str:
        """Changes when the images behind the name change; "" for published sets, which do not."""
        return ""

    def former_fingerprint(self, spec: DataSpec, recorded: str) -> str:
        """The fingerprint by the method that an earlier version recorded one by; "" if it is none of these."""
        return ""

    def file_marks(self, spec: DataSpec) -> str:
        """Equal only on machines that see the very same files, and quicker than `fingerprint`; "" if there are none."""
        return ""

    def validation_images(self, spec: DataSpec) -> int | None:
        """Size of the validation split, without loading an image; None if it is not known beforehand."""
        return None

    def example(self, name: str, folder: Path) -> DataSpec | None:
        """Images to test the data set by, without a network; None if there are none.

        Args:
            name: The name that it is registered by.
            folder: Empty; files may be made in it.
        """
        return DataSpec(name) if self.embedded else None

    def prepare(self, spec: DataSpec, tell: Callable[[str], None]) -> None:
        """Download or decode what is not cached yet, and tell the user what is worth knowing of the images.

        Raises:
            DataError: If they cannot be read or downloaded.
        """
        self.load_development(spec)
        self.load_test(spec)

    @abstractmethod
    def load_development(self, spec: DataSpec) -> tuple[Split, Split]:
        """Training and validation images; does not read a test image.

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
    """A path, or another text from outside, as a message may show it: escaped where it would not print."""
    return printable(os.fspath(text), _LONGEST_PATH)


DATASETS: Registry[Dataset] = Registry("data set", DataError)
DatasetClass = TypeVar("DatasetClass", bound=type[Dataset])


def register_dataset(name: str, *settings: Any, **named: Any) -> Callable[[DatasetClass], DatasetClass]:
    """Class decorator: an instance made with these settings is the data set `name`.

    A class may be registered several times, with other settings.

    Example:
        >>> @register_dataset("checkerboards", squares=4)
        ... class Checkerboards(Dataset): ...  # doctest: +SKIP

    Args:
        name: As in ``--data``.
        settings: Arguments of the class.
        named: Likewise.

    Raises:
        ValueError: If the name is taken.
    """

    def register(cls: DatasetClass) -> DatasetClass:
        DATASETS.add(name, cls(*settings, **named), origin=cls.__module__)
        return cls

    return register


_SUPPLIED: dict[tuple[str, int, int | None], Dataset] = {}


def supply(spec: DataSpec, dataset: Dataset) -> None:
    """In this process, take the images behind `spec` from `dataset`: its own files are on another machine."""
    _SUPPLIED[spec.name, spec.split_seed, spec.image_size] = dataset


def find_dataset(spec: DataSpec) -> Dataset:
    """The data set that `spec` names.

    Raises:
        DataError: If there is none of that name, or if settings do not fit it.
    """
    supplied = _SUPPLIED.get((spec.name, spec.split_seed, spec.image_size))
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
        raise DataError(f"{name} has its own image size; image_size ({spec.image_size}) goes with a folder of images")
    return dataset


def has_files(spec: DataSpec, fingerprint: str, marks: str = "") -> bool:
    """Whether this machine has the files with this fingerprint, at the same path; false for a published set.

    Args:
        spec: Whose files.
        fingerprint: As in `Dataset.fingerprint`, on the machine that asks.
        marks: As in `Dataset.file_marks` there; if they are equal here, no file is read.
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

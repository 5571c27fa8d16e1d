"""The MNIST family: 28 x 28 grey images in IDX files.

They are read directly, so that a local copy needs neither torchvision nor the files of the other split. They are
searched in torchvision's place in the data directory, then in the folder of a Debian package; otherwise torchvision
downloads them. Format: http://yann.lecun.com/exdb/mnist/ (bottom of the page); a big-endian header, then bytes.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runners.data.base import Augmentation, Dataset, DatasetInfo, Split, data_directory, legible, register_dataset
from runners.protocol import DataSpec
from search_space.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

_UNSIGNED_BYTE = 8
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_CLOTHES = Augmentation(shift=2, flip=True)


@register_dataset("mnist", "MNIST", Augmentation(shift=2), recipe={"epochs": 12, "batch_size": 128})
# A quarter of the data set, for studies and benchmarks on a few CPU cores.
@register_dataset("fashion_mnist_10k", "FashionMNIST", _CLOTHES, _DEBIAN, 10_000, 4_000, {"epochs": 16})
@register_dataset("fashion_mnist", "FashionMNIST", _CLOTHES, _DEBIAN, recipe={"epochs": 16, "batch_size": 128})
@dataclass(frozen=True)
class IdxDataset(Dataset):
    """60,000 training images, from which validation is split off, and 10,000 test images.

    Attributes:
        torchvision_class: Name of the class in `torchvision.datasets`, and of its folder.
        augmentation: As in `Dataset`.
        debian: Folder in which a Debian package installs the files, if there is one.
        train: Number of training images to keep; together with `validation` at most 60,000.
        validation: Number of validation images.
        recipe: As in `Dataset`; the registered ones are customary values, not tuned.
    """

    torchvision_class: str
    augmentation: Augmentation
    debian: Path | None = None
    train: int = 50_000
    validation: int = 10_000
    recipe: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def describe(self, spec: DataSpec) -> DatasetInfo:
        return DatasetInfo(image_size=28, in_channels=1, classes=10)

    def validation_images(self, spec: DataSpec) -> int:
        return self.validation

    def training_images(self, spec: DataSpec) -> int:
        return self.train

    def load_development(self, spec: DataSpec) -> tuple[Split, Split]:
        from runners.data.splitting import stratified

        images, labels = self._read(spec, "train")
        if len(labels) < self.train + self.validation:
            raise DataError(
                f"{self.torchvision_class} has {len(labels)} training images here; "
                f"{self.train} and {self.validation} for validation are needed"
            )
        validation, train = stratified(labels, (self.validation, self.train), spec.split_seed)
        return Split(images[train], labels[train]), Split(images[validation], labels[validation])

    def load_test(self, spec: DataSpec) -> Split:
        return Split(*self._read(spec, "t10k"))

    def _read(self, spec: DataSpec, part: str) -> tuple[Tensor, Tensor]:
        root = data_directory(spec)
        folders = [root / self.torchvision_class / "raw", *([self.debian] if self.debian else [])]
        names = f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"
        found = _find(folders, names)
        if found is None:
            from runners.data.torchvision_sets import download

            download(self.torchvision_class, root, train=part == "train")
            found = _find(folders, names)
        if found is None:
            raise DataError(
                f"torchvision downloaded {self.torchvision_class}, but {names[0]} is not in {legible(folders[0])}"
            )
        return read_idx(found[0]).unsqueeze(1), read_idx(found[1]).long()


def read_idx(path: Path) -> Tensor:
    """The array in an IDX file of unsigned bytes, plain or with gzip (``.gz``).

    Raises:
        DataError: If the file is not an IDX file, or is truncated.
    """
    import torch

    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{legible(path)} cannot be read: {error}") from error
    axes = data[3] if len(data) >= 4 else 0
    start = 4 + 4 * axes
    shape = [int.from_bytes(data[at : at + 4], "big") for at in range(4, start, 4)]
    if len(data) < 4 or data[2] != _UNSIGNED_BYTE or len(data) != start + prod(shape):
        raise DataError(f"{legible(path)} is not an IDX file of bytes, or is damaged; delete it to download it again")
    return torch.frombuffer(bytearray(data), dtype=torch.uint8, offset=start).view(shape)


def _find(folders: list[Path], names: tuple[str, str]) -> list[Path] | None:
    """Both files in the first folder that has them, with or without ``.gz``."""
    for folder in folders:
        paths = [path for name in names for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
        if len({path.name.removesuffix(".gz") for path in paths}) == len(names):
            return [next(path for path in paths if path.name.removesuffix(".gz") == name) for name in names]
    return None

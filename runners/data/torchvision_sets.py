"""Data sets that torchvision downloads and reads: CIFAR and SVHN, 32 x 32 colour images."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runners.data.base import Augmentation, Dataset, DatasetInfo, Split, data_directory, legible, register_dataset
from runners.protocol import DataSpec
from search_space.errors import DataError

_TRAIN = {"CIFAR10": 50_000, "CIFAR100": 50_000, "SVHN": 73_257}
"""Images outside of the test split, from which validation is split off."""
_COLOUR = Augmentation(shift=4, flip=True)


def _recipe(epochs: int) -> Mapping[str, Any]:
    return {"epochs": epochs, "batch_size": 128, "lr": 2e-3}  # common values, not tuned


@register_dataset("svhn", "SVHN", 10, 7_325, Augmentation(shift=2), _recipe(24))
@register_dataset("cifar100", "CIFAR100", 100, 5_000, _COLOUR, _recipe(60))
@register_dataset("cifar10", "CIFAR10", 10, 5_000, _COLOUR, _recipe(60))
@dataclass(frozen=True)
class TorchvisionDataset(Dataset):
    """A torchvision data set: validation is split off the training images; the test images are the data set's own.

    Attributes:
        torchvision_class: Name of the class in `torchvision.datasets`.
        classes: Number of classes.
        validation: Number of validation images (CIFAR: 5,000 of 50,000; SVHN: 7,325 of 73,257).
        augmentation: As in `Dataset`.
        recipe: As in `Dataset`.
    """

    torchvision_class: str
    classes: int
    validation: int
    augmentation: Augmentation
    recipe: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def describe(self, spec: DataSpec) -> DatasetInfo:
        return DatasetInfo(image_size=32, in_channels=3, classes=self.classes)

    def validation_images(self, spec: DataSpec) -> int:
        return self.validation

    def training_images(self, spec: DataSpec) -> int:
        return _TRAIN[self.torchvision_class] - self.validation

    def load_development(self, spec: DataSpec) -> tuple[Split, Split]:
        from runners.data.splitting import stratified

        whole = self._read(spec, train=True)
        sizes = self.validation, len(whole) - self.validation
        validation, train = stratified(whole.labels, sizes, spec.split_seed)
        return (
            Split(whole.images[train], whole.labels[train]),
            Split(whole.images[validation], whole.labels[validation]),
        )

    def load_test(self, spec: DataSpec) -> Split:
        return self._read(spec, train=False)

    def _read(self, spec: DataSpec, train: bool) -> Split:
        import numpy as np
        import torch

        dataset = download(self.torchvision_class, data_directory(spec), train)
        images = torch.from_numpy(np.ascontiguousarray(dataset.data))
        if images.shape[-1] == 3:  # CIFAR keeps (B, H, W, C), SVHN (B, C, H, W)
            images = images.permute(0, 3, 1, 2).contiguous()
        labels = dataset.labels if self.torchvision_class == "SVHN" else dataset.targets
        return Split(images, torch.as_tensor(labels, dtype=torch.int64))


def download(torchvision_class: str, root: Path, train: bool) -> Any:
    """The torchvision data set in `root`, downloaded if it is not there.

    Raises:
        DataError: If it cannot be downloaded; the message says where to put its files by hand.
    """
    from runners.data.torchvision_import import import_torchvision

    cls = getattr(import_torchvision().datasets, torchvision_class)
    which = {"split": "train" if train else "test"} if torchvision_class == "SVHN" else {"train": train}
    try:
        root.mkdir(parents=True, exist_ok=True)
        return cls(root, download=True, **which)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:  # URLError is an OSError
        raise DataError(
            f"{torchvision_class} is not in {legible(root)} and could not be downloaded there ({error}); "
            f"put its files where torchvision expects them, or set NAS_DATA_DIR to a folder that has them"
        ) from error

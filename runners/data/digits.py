"""scikit-learn's digits: 1,797 scanned digits of 8 x 8 pixels that come with the package; nothing is downloaded.

Source: the test part of https://archive.ics.uci.edu/dataset/80 (E. Alpaydin, C. Kaynak, 1998), 16 grey levels.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import MappingProxyType

from runners.data.base import Augmentation, Dataset, DatasetInfo, Split, register_dataset
from runners.protocol import DataSpec
from search_space.errors import DataError

IMAGES = 1797
VALIDATION = TEST = 360
"""20 % each: at 8 x 8 pixels a few images defeat every model, and with a smaller split they would decide the choice."""


@register_dataset("digits")
class Digits(Dataset):
    """1,077 training, 360 validation and 360 test images; every split follows `split_seed`."""

    embedded = True
    augmentation = Augmentation(shift=0.8, degrees=10, scale=0.1, share=0.5)
    # Tuned on validation NLL over ViT, Mixer, ResMLP, gMLP and ViP of about 34,000 parameters, two seeds and splits.
    recipe = MappingProxyType({"epochs": 20, "lr": 8e-3, "weight_decay": 0.2, "warmup": 0.2})

    def describe(self, spec: DataSpec) -> DatasetInfo:
        return DatasetInfo(image_size=8, in_channels=1, classes=10)

    def validation_images(self, spec: DataSpec) -> int:
        return VALIDATION

    def training_images(self, spec: DataSpec) -> int:
        return IMAGES - VALIDATION - TEST

    def load_development(self, spec: DataSpec) -> tuple[Split, Split]:
        _, validation, train = _load(spec.split_seed)
        return train, validation

    def load_test(self, spec: DataSpec) -> Split:
        return _load(spec.split_seed)[0]


def _load(seed: int) -> list[Split]:
    """Test, validation and training images."""
    import numpy
    import torch

    from runners.data.splitting import stratified

    table = torch.from_numpy(numpy.loadtxt(_file(), delimiter=","))
    images = table[:, :-1].mul(255 / 16).round().to(torch.uint8).view(-1, 1, 8, 8)
    labels = table[:, -1].long()
    parts = stratified(labels, (TEST, VALIDATION, IMAGES - TEST - VALIDATION), seed)
    return [Split(images[part], labels[part]) for part in parts]


def _file() -> Path:
    """The images as scikit-learn ships them. The package is not imported, which would take longer than a training."""
    package = importlib.util.find_spec("sklearn")
    folders = package.submodule_search_locations if package else None
    path = Path(folders[0]) / "datasets" / "data" / "digits.csv.gz" if folders else None
    if path is None or not path.is_file():
        raise DataError(
            "the digits come with scikit-learn, whose file digits.csv.gz is not there; pip install scikit-learn"
        )
    return path

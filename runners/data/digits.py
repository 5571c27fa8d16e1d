"""scikit-learn's digits: 1,797 scanned digits of 8 x 8 pixels that come with the package; nothing is downloaded.

Source: the test part of https://archive.ics.uci.edu/dataset/80 (E. Alpaydin, C. Kaynak, 1998), 16 grey levels.
"""

from __future__ import annotations

from types import MappingProxyType

from runners.data.base import Augmentation, Dataset, DatasetInfo, Split, register_dataset
from runners.protocol import DataSpec

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
    import torch
    from sklearn.datasets import load_digits

    from runners.data.splitting import stratified

    digits = load_digits()
    images = torch.from_numpy(digits.images).mul(255 / 16).round().to(torch.uint8).unsqueeze(1)
    labels = torch.from_numpy(digits.target).long()
    parts = stratified(labels, (TEST, VALIDATION, IMAGES - TEST - VALIDATION), seed)
    return [Split(images[part], labels[part]) for part in parts]

"""Fashion-MNIST at 14 pixels, as a plug-in: `nas search --import benchmarks/fashion_14.py --data fashion_mnist_14`."""

from __future__ import annotations

from dataclasses import replace

from nas import DatasetInfo, DataSpec, Split, register_dataset
from runners.data import Augmentation
from runners.data.base import find_dataset

WHOLE = DataSpec("fashion_mnist_10k")


@register_dataset("fashion_mnist_14")
class SmallFashion(type(find_dataset(WHOLE))):  # type: ignore[misc]  # the class of a registered data set
    """The images of ``fashion_mnist_10k``, every two by two pixels averaged into one."""

    def __init__(self) -> None:
        whole = find_dataset(WHOLE)
        super().__init__(
            whole.torchvision_class,
            Augmentation(shift=1, flip=True),
            whole.debian,
            whole.train,
            whole.validation,
            whole.recipe,
        )

    def describe(self, spec: DataSpec) -> DatasetInfo:
        return replace(super().describe(spec), image_size=14)

    def load_development(self, spec: DataSpec) -> tuple[Split, Split]:
        train, validation = super().load_development(spec)
        return halved(train), halved(validation)

    def load_test(self, spec: DataSpec) -> Split:
        return halved(super().load_test(spec))


def halved(split: Split) -> Split:
    """Images (N, 1, 28, 28) uint8 -> (N, 1, 14, 14)."""
    n, c, h, w = split.images.shape
    pixels = split.images.view(n, c, h // 2, 2, w // 2, 2).float().mean(dim=(3, 5)).round()
    return replace(split, images=pixels.byte())

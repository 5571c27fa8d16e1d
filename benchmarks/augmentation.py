"""Random augmentation in batches, against torchvision's transforms image by image and, where it has them, in batches.

python -m benchmarks.augmentation

CPU time on one core; each figure is the median of interleaved runs over the same images.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks.common import summary, write
from runners.data import Augmentation
from runners.data.torchvision_import import import_torchvision
from runners.recipe import Recipe
from runners.training.variation import Variation

RUNS, IMAGES, BATCH = 7, 1024, 128
SHAPES = {"1 x 28 x 28": (1, 28, 28), "3 x 32 x 32": (3, 32, 32), "3 x 64 x 64": (3, 64, 64)}


def main() -> None:
    torch.set_num_threads(1)
    import_torchvision()
    rows = [row for name, shape in SHAPES.items() for row in _rows(name, shape)]
    write("augmentation", {"runs": RUNS, "images": IMAGES, "rows": rows})


def _rows(name: str, shape: tuple[int, int, int]) -> Iterator[dict[str, Any]]:
    """The figures of every augmentation for images of one shape."""
    for what, (ours, theirs) in _pairs(shape).items():
        pairs = [(_seconds(ours), _seconds(theirs)) for _ in range(RUNS + 1)][1:]
        own, other = (1e6 * statistics.median(column) / IMAGES for column in zip(*pairs, strict=True))
        figures = {"us_per_image": round(own, 2), "torchvision_us_per_image": round(other, 2)}
        ratios = summary([theirs / ours for ours, theirs in pairs], digits=2)
        yield {"images": name, "what": what, **figures, "ratio": ratios}


def _pairs(shape: tuple[int, int, int]) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Ours, and torchvision's."""
    from torchvision.transforms import v2
    from torchvision.transforms.functional import InterpolationMode

    generator, draws = torch.Generator().manual_seed(0), random.Random(0)
    images = torch.randint(256, (IMAGES, *shape), dtype=torch.uint8, generator=generator)
    floats, labels = images.float(), torch.randint(10, (IMAGES,), generator=generator)
    bilinear = {"interpolation": InterpolationMode.BILINEAR}
    mixup = v2.MixUp(alpha=0.2, num_classes=10)
    erasing = Variation(Augmentation(), Recipe(epochs=1, erasing=0.25))
    mixing = Variation(Augmentation(), Recipe(epochs=1, mixup=0.2), classes=10)

    def varied(variation: Variation) -> Callable[[], object]:
        return lambda: variation.pixels(images, generator, draws)

    return {
        "RandAugment": (
            varied(Variation(Augmentation(), Recipe(epochs=1, rand_augment=9))),
            _one_by_one(v2.RandAugment(magnitude=9, **bilinear), images),
        ),
        "TrivialAugment": (
            varied(Variation(Augmentation(), Recipe(epochs=1, trivial_augment=True))),
            _one_by_one(v2.TrivialAugmentWide(**bilinear), images),
        ),
        "random resized crop": (
            varied(Variation(Augmentation(), Recipe(epochs=1, crop=0.25))),
            _one_by_one(v2.RandomResizedCrop(shape[1], (0.25, 1.0), antialias=False), images),
        ),
        "random erasing": (
            lambda: erasing.finish(floats, labels, BATCH, generator, draws),
            _one_by_one(v2.RandomErasing(0.25), floats),
        ),
        "mixup (torchvision's in batches)": (
            lambda: mixing.finish(floats, labels, BATCH, generator, draws),
            lambda: [mixup(*pair) for pair in zip(floats.split(BATCH), labels.split(BATCH), strict=True)],
        ),
    }


def _seconds(act: Callable[[], object]) -> float:
    """CPU time of one call."""
    started = time.process_time()
    act()
    return time.process_time() - started


def _one_by_one(transform: Any, images: torch.Tensor) -> Callable[[], object]:
    return lambda: torch.stack([transform(image) for image in images])


if __name__ == "__main__":
    main()

"""A folder of synthetic photographs of any number, for measurements without a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

DISTINCT = 300
SIDES = ((500, 375), (375, 500), (500, 333), (480, 360))
"""Width and height: the usual ones of ImageNet."""


def make_photographs(root: Path, images: int, classes: int = 10) -> Path:
    """`DISTINCT` JPEG files of about 40 KB under `images` names (hard links), as CLASS/IMAGE; what exists is kept."""
    rng = np.random.default_rng(0)
    originals = [root.parent / f"{root.name}-originals" / f"{number:04d}.jpg" for number in range(DISTINCT)]
    originals[0].parent.mkdir(parents=True, exist_ok=True)
    for number, original in enumerate(originals):
        if not original.exists():
            _photograph(*SIDES[number % len(SIDES)], rng).save(original, quality=85)
    for label in range(classes):
        (root / f"class-{label:04d}").mkdir(parents=True, exist_ok=True)
    for number in range(images):
        path = root / f"class-{number % classes:04d}" / f"{number:07d}.jpg"
        if not path.exists():
            path.hardlink_to(originals[number % DISTINCT])
    return root


def _photograph(width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """Smooth areas with a little noise, which compress like a photograph."""
    coarse = rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.float64)
    return Image.fromarray(np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8))

"""The fingerprint that an earlier version recorded of an image folder, so that its studies can be continued.

It identified images by name and size, took other files for images and other folders for splits, and misread some
images.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runners.data.image_layout import TEST, TRAIN, VALIDATION, Layout

_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_NAMES = {TRAIN: ("train",), VALIDATION: ("val", "validation", "valid"), TEST: ("test",)}
_FORM = re.compile(r"\d+ images, digest [0-9a-f]{12}")


def former_fingerprint(layout: Layout, recorded: str) -> str:
    """The fingerprint by the earlier version's method, if `recorded` was made by it; else "".

    If that version would have read other images, or split them in another way, the fingerprint says so and equals no
    other.
    """
    if not _FORM.fullmatch(recorded):
        return ""
    root = Path(layout.root)
    files = _images(root)
    text = "\n".join(f"{path.relative_to(root)} {path.stat().st_size}" for path in files)
    now = f"{len(files)} images, digest {hashlib.sha256(os.fsencode(text)).hexdigest()[:12]}"
    read = {split: [path for path, _ in listed] for split, listed in layout.files.items()}
    return now if _splits(root) == read and _are_read_alike(files) else f"{now}, read or split in another way"


def _are_read_alike(files: Sequence[Path]) -> bool:
    from runners.data.image_decoding import was_read_alike

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return all(pool.map(was_read_alike, map(str, files)))


def _splits(root: Path) -> dict[str, list[str]]:
    """The images that were read for every split, in order."""
    found = {split: [root / name for name in names if (root / name).is_dir()] for split, names in _NAMES.items()}
    folders = {split: paths[0] for split, paths in found.items() if paths} if found[TRAIN] else {TRAIN: root}
    return {
        split: [
            str(path)
            for name in sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
            for path in _images(folder / name)
        ]
        for split, folder in folders.items()
    }


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())

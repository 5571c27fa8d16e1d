"""``imagefolder:PATH``: a folder of images, one sub-folder a class.

Either PATH/class/image.png, from which validation and test are carved, or PATH/train/class/image.png with
PATH/val (or validation, valid) and PATH/test beside it; what is missing is carved from train.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from runners.base import DataSpec
from runners.data.base import Augmentation, Dataset, DatasetInfo, Split, data_directory
from search_space.errors import DataError
from search_space.paths import user_path

IMAGE_SIZE = 64
"""Side to which images are resized unless the spec says otherwise."""
HELD_OUT = 0.2
"""Share of the images carved for validation, and again for testing, where the folder has no such split."""
SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_VALIDATION_NAMES = ("val", "validation", "valid")

_Files = list[tuple[Path, int]]
"""Image files with their class numbers; classes are numbered in the order of their names."""


class ImageFolder(Dataset):
    """Images of any size, as RGB squares: the shorter side is resized and the middle cut out."""

    augmentation = Augmentation(shift=4, flip=True)
    takes_path = True

    def describe(self, spec: DataSpec) -> DatasetInfo:
        classes = _classes(_train_folder(_root(spec)))
        return DatasetInfo(image_size=spec.image_size or IMAGE_SIZE, in_channels=3, classes=len(classes))

    def fingerprint(self, spec: DataSpec) -> str:
        """A digest of the names and sizes of all image files."""
        root = _root(spec)
        files = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        text = "\n".join(f"{path.relative_to(root)} {path.stat().st_size}" for path in files)
        return f"{len(files)} images, digest {hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def validation_images(self, spec: DataSpec) -> int:
        return len(_plan(spec)[1])

    def load_development(self, spec: DataSpec) -> tuple[Split, Split]:
        train, validation, _ = _plan(spec)
        return _decode(train, spec), _decode(validation, spec)

    def load_test(self, spec: DataSpec) -> Split:
        return _decode(_plan(spec)[2], spec)


def _decode(files: _Files, spec: DataSpec) -> Split:
    import torch

    from runners.data.image_cache import decoded

    images = decoded([path for path, _ in files], spec.image_size or IMAGE_SIZE, data_directory(spec) / "decoded")
    return Split(images, torch.tensor([label for _, label in files]))


def _plan(spec: DataSpec) -> tuple[_Files, _Files, _Files]:
    """The files of train, validation and test; no image is opened."""
    import torch

    from runners.data.splitting import stratified

    root = _root(spec)
    train_folder = _train_folder(root)
    classes = _classes(train_folder)
    files = _list(train_folder, classes)
    given = {
        "validation": next((root / name for name in _VALIDATION_NAMES if (root / name).is_dir()), None),
        "test": root / "test" if (root / "test").is_dir() else None,
    }
    if train_folder == root:
        given = dict.fromkeys(given)
    carved = round(HELD_OUT * len(files))
    sizes = [0 if given["test"] else carved, 0 if given["validation"] else carved]
    if not all(given.values()) and carved < len(classes):
        raise DataError(
            f"{train_folder} has {len(files)} images of {len(classes)} classes, too few to carve a split from"
        )
    labels = torch.tensor([label for _, label in files])
    parts = stratified(labels, [*sizes, len(files) - sum(sizes)], spec.split_seed)
    test, validation, train = ([files[index] for index in part.tolist()] for part in parts)
    if given["validation"]:
        validation = _list(given["validation"], classes)
    if given["test"]:
        test = _list(given["test"], classes)
    return train, validation, test


def _root(spec: DataSpec) -> Path:
    root = user_path(spec.name.partition(":")[2], "the folder of images", DataError)
    if not root.is_dir():
        raise DataError(f"there is no folder {root}, which the data set {spec.name!r} names")
    return root


def _train_folder(root: Path) -> Path:
    return root / "train" if (root / "train").is_dir() else root


def _classes(folder: Path) -> list[str]:
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(names) < 2:
        raise DataError(f"{folder} needs a sub-folder for each of at least two classes; it has {len(names)}")
    return names


def _list(folder: Path, classes: list[str]) -> _Files:
    """All images below `folder`; every class has to have some."""
    if _classes(folder) != classes:
        raise DataError(f"{folder} has other classes ({', '.join(_classes(folder))}) than train ({', '.join(classes)})")
    files: _Files = []
    for number, name in enumerate(classes):
        found = sorted(path for path in (folder / name).rglob("*") if path.suffix.lower() in SUFFIXES)
        if not found:
            raise DataError(f"{folder / name} holds no image; known are {', '.join(sorted(SUFFIXES))}")
        files += [(path, number) for path in found]
    return files

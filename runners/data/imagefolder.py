"""``imagefolder:PATH``: a folder of images with one sub-folder per class.

Either PATH/class/image.png, from which validation and test are split off, or PATH/train/class/image.png with PATH/val
and PATH/test beside it (see `runners.data.image_layout` for other names); missing splits are split off train.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import count
from types import MappingProxyType
from typing import TYPE_CHECKING

from runners.data.base import Augmentation, Dataset, DatasetInfo, Split, data_directory, legible, register_dataset
from runners.data.digests import content_digests, file_contents
from runners.data.former_fingerprint import former_fingerprint
from runners.data.image_layout import TEST, TRAIN, VALIDATION, Files, Layout, counted, find_layout
from runners.data.image_tree import read_tree
from runners.protocol import DataSpec
from search_space.errors import DataError
from search_space.paths import user_path

if TYPE_CHECKING:
    from runners.data.image_cache import ImageFiles

IMAGE_SIZE = 64
"""Size to which images are resized unless the spec says otherwise."""
CHANNELS = 3
"""Channels to which images are converted unless the spec says otherwise: RGB."""
HELD_OUT = 0.2
"""Share of the images to split off for validation, and again for testing, if the folder has no such split."""


@register_dataset("imagefolder")
class ImageFolder(Dataset):
    """Images of any size and mode, in RGB unless other channels are wanted, whatever the mode of each file.

    They are resized until they cover the size wanted, and the centre is cropped.
    """

    augmentation = Augmentation(shift=4, flip=True)
    takes_path = True
    recipe = MappingProxyType({"epochs": 60, "lr": 1e-3})  # common values, not tuned

    def describe(self, spec: DataSpec) -> DatasetInfo:
        classes = _layout(spec).classes
        return DatasetInfo(spec.image_size or IMAGE_SIZE, spec.channels or CHANNELS, len(classes))

    def fingerprint(self, spec: DataSpec) -> str:
        """A digest of the names and contents of all images, following links; independent of the folder's location."""
        layout = _layout(spec)
        paths = [path for files in layout.files.values() for path, _ in files]
        digests = content_digests(paths, data_directory(spec))
        return f"{len(paths)} images, content {_digest(layout.root, paths, digests)}"

    def former_fingerprint(self, spec: DataSpec, recorded: str) -> str:
        return former_fingerprint(_layout(spec), recorded)

    def file_marks(self, spec: DataSpec) -> str:
        layout = _layout(spec)
        paths = [path for files in layout.files.values() for path, _ in files]
        states = [os.stat(path) for path in paths]
        return _digest(layout.root, paths, [f"{state.st_size} {state.st_mtime_ns}".encode() for state in states])

    def is_stored(self, spec: DataSpec) -> bool:
        files = [_image_files(files, spec) for files in _plan(spec).values()]
        return spec.image_cache != "none" and not any(split.missing for split in files)

    def validation_images(self, spec: DataSpec) -> int:
        return len(_plan(spec)[VALIDATION])

    def training_images(self, spec: DataSpec) -> int:
        return len(_plan(spec)[TRAIN])

    def prepare(self, spec: DataSpec, notify: Callable[[str], None]) -> None:
        """Decode all images once; reports what was found where, what was skipped, and what is in two splits."""
        from runners.data.image_cache import StreamedImages, choose, open_images
        from runners.data.lazy_images import LazyImages

        layout, plan = _layout(spec), _plan(spec)
        notify(_summary(layout, plan))
        for remark in layout.remarks:
            notify(remark)
        paths = [path for files in plan.values() for path, _ in files]
        digests = dict(zip(paths, content_digests(paths, data_directory(spec), notify), strict=True))
        leak = _leak(plan, digests)
        if leak:
            notify(leak)
        files = {split: _image_files(plan[split], spec) for split in plan}
        cache = choose(list(files.values()), spec.image_cache, notify)
        for split in plan:
            images = open_images(files[split], cache, notify)
            if isinstance(images, StreamedImages) and not images.levels.is_file():
                images.decode_all(notify)  # what cannot be read is found before a training finds it
            elif split == TRAIN and isinstance(images, LazyImages):
                images.statistics()  # kept for the workers

    def load_development(self, spec: DataSpec) -> tuple[Split, Split]:
        plan = _plan(spec)
        return _load(plan[TRAIN], spec), _load(plan[VALIDATION], spec)

    def load_test(self, spec: DataSpec) -> Split:
        return _load(_plan(spec)[TEST], spec)


def _load(files: Files, spec: DataSpec) -> Split:
    import torch

    from runners.data.image_cache import open_images

    images = open_images(_image_files(files, spec), spec.image_cache)
    return Split(images, torch.tensor([label for _, label in files]))


def _image_files(files: Files, spec: DataSpec) -> ImageFiles:
    from runners.data.image_cache import ImageFiles

    paths, directory = [path for path, _ in files], data_directory(spec)
    contents = file_contents(paths, directory)
    size, channels = spec.image_size or IMAGE_SIZE, spec.channels or CHANNELS
    return ImageFiles(paths, contents, size, directory / "decoded", channels)


def _plan(spec: DataSpec) -> dict[str, Files]:
    """The files of every split; no image is opened."""
    import torch

    from runners.data.splitting import stratified

    layout = _layout(spec)
    files = layout.files[TRAIN]
    carved = round(HELD_OUT * len(files))
    sizes = [0 if split in layout.files else carved for split in (TEST, VALIDATION)]
    if any(split not in layout.files for split in (TEST, VALIDATION)) and carved < len(layout.classes):
        needed = next(number for number in count(1) if round(HELD_OUT * number) >= len(layout.classes))
        raise DataError(
            f"{legible(layout.folders[TRAIN])} has {len(files)} images of {len(layout.classes)} classes, too few to "
            f"split; {needed} are needed, or folders val and test"
        )
    labels = torch.tensor([label for _, label in files])
    parts = stratified(labels, [*sizes, len(files) - sum(sizes)], spec.split_seed)
    test, validation, train = ([files[index] for index in part.tolist()] for part in parts)
    for label in sorted({*range(len(layout.classes))} - {label for _, label in train}):
        name = legible(os.path.join(layout.folders[TRAIN], layout.classes[label]))
        has = counted(int((labels == label).sum()), "image")
        raise DataError(f"{name} has {has}, and splitting leaves none to train on; add images to it")
    carvings = {TRAIN: train, VALIDATION: validation, TEST: test}
    return {split: carved if split == TRAIN else layout.files.get(split, carved) for split, carved in carvings.items()}


def _summary(layout: Layout, plan: Mapping[str, Files]) -> str:
    """What was found, such as ``the image folder /x has 3 classes: 60 training images (Train), ...``."""
    where = {split: os.path.basename(path) for split, path in layout.folders.items() if path != layout.root}
    parts = [
        f"{counted(len(files), f'{split} image')} ({legible(where[split]) if split in where else 'carved'})"
        for split, files in plan.items()
    ]
    return f"the image folder {legible(layout.root)} has {len(layout.classes)} classes: {', '.join(parts)}"


def _leak(plan: Mapping[str, Files], digests: Mapping[str, bytes]) -> str | None:
    """Says which images of validation and test are also in an earlier split."""
    first: dict[bytes, tuple[str, str]] = {}
    twice: list[tuple[str, str]] = []
    for split, files in plan.items():
        for path, _ in files:
            there, other = first.setdefault(digests[path], (split, path))
            if there != split:
                twice.append((path, other))
    if not twice:
        return None
    of = f"{counted(len(twice), 'image')} of validation or test {'is' if len(twice) == 1 else 'are'}"
    path, other = twice[0]
    return (
        f"{of} in another split too, such as {legible(path)}, which equals {legible(other)}: accuracy and NLL "
        "on them are better than on new images"
    )


def _digest(root: str, paths: Sequence[str], contents: Sequence[bytes]) -> str:
    """32 hexadecimal digits that identify the files and their paths below the root."""
    names = [os.fsencode(path.removeprefix(root).lstrip(os.sep)) for path in paths]
    lines = sorted(name + b"\0" + content for name, content in zip(names, contents, strict=True))
    return hashlib.sha256(b"\n".join(lines)).hexdigest()[:32]


def _layout(spec: DataSpec) -> Layout:
    return _found(read_tree(_root(spec)))


_found = lru_cache(maxsize=1)(find_layout)
"""Found once per tree; a change in a folder makes a new tree."""


def _root(spec: DataSpec) -> str:
    root = str(user_path(spec.name.partition(":")[2], "the folder of images", DataError).absolute())
    if not os.path.isdir(root):
        raise DataError(f"there is no folder {legible(root)}, which the data set {legible(spec.name)} names")
    return root

"""Finds which folder of an image data set holds which split and class.

Either ROOT/CLASS/IMAGE, or ROOT/SPLIT/CLASS/IMAGE with splits named as in `SPLIT_NAMES`, ignoring case. A folder of
such a name is a split if it contains folders, and a class if it contains images and is beside other classes. Anything
else is skipped and reported.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runners.data.base import legible
from runners.data.image_tree import Found, Tree
from search_space.errors import DataError

TRAIN, VALIDATION, TEST = "training", "validation", "test"
SPLIT_NAMES: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("dev", "val", "valid", "validation"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}
"""The split that a folder holds, by its name in lower case."""
_LAYOUTS = "allowed: CLASS/IMAGE, or train/CLASS/IMAGE with val/ and test/ beside train/"
_MOST_NAMED = 5

Files = list[tuple[str, int]]
"""Paths of images with their class numbers."""


@dataclass(frozen=True)
class Layout:
    """The image files of a data set.

    Attributes:
        root: Its folder.
        classes: Names of the classes, in the order of their numbers.
        folders: Folder of each existing split; without splits, the root is the folder of `TRAIN`.
        files: Images of each of these splits, in order of class and path.
        remarks: What was skipped, and why.
    """

    root: str
    classes: tuple[str, ...]
    folders: Mapping[str, str]
    files: Mapping[str, Files]
    remarks: tuple[str, ...]


def find_layout(tree: Tree) -> Layout:
    """Find the splits, classes and images.

    Raises:
        DataError: If the layout is ambiguous, or a class has no image to train on.
    """
    folders, remarks = _split_folders(tree)
    classes = sorted(tree.folder(folders[TRAIN]).folders)
    if len(classes) < 2:
        where = legible(folders[TRAIN])
        raise DataError(f"{where} needs a sub-folder for each of at least two classes; it has {len(classes)}")
    places = [(split, name) for split, path in folders.items() for name in sorted(tree.folder(path).folders)]
    found = tree.collect([os.path.join(folders[split], name) for split, name in places])
    images = dict(zip(places, found.images, strict=True))
    if not any(tree.folder(os.path.join(folders[TRAIN], name)).images for name in classes):
        remarks.append(
            f"in {legible(folders[TRAIN])} there is no image directly in any folder that was taken for a class "
            f"({some(classes)}), but deeper; folders of splits are called train, val and test"
        )
    for name in classes:
        if not images[TRAIN, name]:
            raise DataError(_why_empty(os.path.join(folders[TRAIN], name), found))
    files: dict[str, Files] = {}
    for split, folder in folders.items():
        names = [name for where, name in places if where == split and images[where, name]]
        if extra := sorted(set(names) - set(classes)):
            raise DataError(
                f"{legible(folder)} has other classes ({some(names)}) than train ({some(classes)}), which lacks "
                f"{some(extra)}"
            )
        if missing := sorted(set(classes) - set(names)):
            lacking = f"of {some(missing)}" if names else "of its own and is left alone"
            remarks.append(f"{legible(folder)} holds no image {lacking}")
        numbers = {name: number for number, name in enumerate(classes)}
        files[split] = [(path, numbers[name]) for name in names for path in images[split, name]]
    files = {split: listed for split, listed in files.items() if listed}
    folders = {split: folders[split] for split in files}
    return Layout(tree.root, tuple(classes), folders, files, (*remarks, *_left_out(tree, folders, found)))


def _split_folders(tree: Tree) -> tuple[dict[str, str], list[str]]:
    """Folders of splits that hold a folder for each class, and remarks on those that do not."""
    root = tree.folder(tree.root)
    others = [name for name in root.folders if name.lower() not in SPLIT_NAMES]
    named: dict[str, list[str]] = {TRAIN: [], VALIDATION: [], TEST: []}
    for name in root.folders:
        if split := SPLIT_NAMES.get(name.lower()):
            named[split].append(name)
    inside = {name: tree.folder(os.path.join(tree.root, name)) for names in named.values() for name in names}
    # Beside classes, images directly in `train` make it a class; otherwise they are strays.
    if not any(inside[name].folders and not (inside[name].images and others) for name in named[TRAIN]):
        _refuse_half_a_layout(tree, named, others)
        taken = [name for names in named.values() for name in names]
        remarks = [f"folders of {legible(tree.root)} that were taken for classes, not splits: {some(taken)}"]
        return {TRAIN: tree.root}, remarks if taken else []
    folders, remarks = dict[str, str](), list[str]()
    if others:
        remarks.append(f"{legible(tree.root)} holds folders besides the splits, which are left alone: {some(others)}")
    for split, names in named.items():
        if len(names) > 1:
            raise DataError(
                f"{legible(tree.root)} has {len(names)} folders of {split} images: {some(names)}; keep one of them"
            )
        for name in names:
            path = os.path.join(tree.root, name)
            if inside[name].folders:
                folders[split] = path
            elif inside[name].images:
                count = counted(len(inside[name].images), "image")
                remarks.append(f"{legible(path)} holds {count} in no folder of a class, which are left alone")
            else:
                remarks.append(f"{legible(path)} holds no image and is left alone")
    return folders, remarks


def _refuse_half_a_layout(tree: Tree, named: Mapping[str, Sequence[str]], others: Sequence[str]) -> None:
    """Refuse a root whose folders could be classes as well as splits."""
    if named[TRAIN] and not others:
        path = os.path.join(tree.root, named[TRAIN][0])
        raise DataError(f"{legible(path)} needs a sub-folder for each of at least two classes; it has 0; {_LAYOUTS}")
    for name in (*named[VALIDATION], *named[TEST]):
        inside = tree.folder(os.path.join(tree.root, name)).folders
        if inside and (not others or set(inside) & set(others)):
            raise DataError(f"{legible(tree.root)} has a split {legible(name)} and no folder train; {_LAYOUTS}")


def _why_empty(folder: str, found: Found) -> str:
    from runners.data.image_decoding import image_suffixes

    others = f"; in the classes there are {_listed(found)}" if found.others else ""
    return f"{legible(folder)} holds no image that can be read{others}; known are {', '.join(sorted(image_suffixes()))}"


def _left_out(tree: Tree, folders: Mapping[str, str], found: Found) -> list[str]:
    """Remarks on files that are not images, and on images outside the classes."""
    strays = [os.path.join(path, name) for path in folders.values() for name in tree.folder(path).images]
    remarks = []
    if strays:
        remarks.append(
            f"{counted(len(strays), 'image')} in no folder of a class, such as {legible(strays[0])}: left out"
        )
    if found.others:
        remarks.append(f"{_listed(found)} among the images, such as {legible(min(found.examples))}: left out")
    return remarks


def _listed(found: Found) -> str:
    return some(
        [
            f"{number:,} {kind.replace('{s}', '' if number == 1 else 's')}"
            for kind, number in sorted(found.others.items())
        ]
    )


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    first = ", ".join(legible(name) for name in names[:_MOST_NAMED])
    return first if len(names) <= _MOST_NAMED else f"{first} and {len(names) - _MOST_NAMED} more"


def counted(number: int, noun: str) -> str:
    """A count with its noun, such as ``3 images``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

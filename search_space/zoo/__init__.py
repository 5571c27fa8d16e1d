"""The published systems, each an exact point of the block space: parameters and MACs equal theirs as integers.

    zoo.names()                               every model
    zoo.get("mixer_b16")                      its Architecture
    zoo.get("vit_s16", image_size=384)        the same design for other images
    zoo.entry("mixer_b16").published.top1     what was published about it

A model of the zoo has no stochastic depth: its rate belongs to a recipe, and ``dataclasses.replace`` sets `drop_path`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from search_space.architecture import Architecture
from search_space.errors import ArchitectureError, allowed
from search_space.zoo import ff_only, gmlp, mixer, repmlpnet, resmlp, vip, vit
from search_space.zoo.entry import Entry, Family, Published, Variant

FAMILIES: tuple[Family, ...] = (
    vit.FAMILY,
    mixer.FAMILY,
    ff_only.FAMILY,
    resmlp.FAMILY,
    gmlp.FAMILY,
    vip.FAMILY,
    repmlpnet.FAMILY,
)


def names() -> list[str]:
    """The names of all models, family by family, smallest first."""
    return list(_entries())


def entries() -> list[Entry]:
    """Everything known of all models."""
    return list(_entries().values())


def entry(name: str) -> Entry:
    """Everything known of a model.

    Raises:
        ArchitectureError: If there is none of that name.
    """
    if name not in _entries():
        raise ArchitectureError(f"there is no model {name!r} in the zoo; {allowed(name, names())}")
    return _entries()[name]


def get(
    name: str, *, image_size: int | None = None, in_channels: int | None = None, classes: int | None = None
) -> Architecture:
    """The architecture of a published model: for ImageNet-1k at its published image size, unless said otherwise.

    Args:
        name: One of `names()`.
        image_size: Side of the images in pixels; what depends on the number of tokens follows.
        in_channels: Channels of the images.
        classes: Number of classes.

    Raises:
        ArchitectureError: If there is no such model, or it cannot exist at this size.
    """
    found = entry(name)
    architecture = found.architecture if image_size is None else found.make(image_size=image_size)
    return replace(
        architecture,
        in_channels=architecture.in_channels if in_channels is None else in_channels,
        classes=architecture.classes if classes is None else classes,
    )


@cache
def _entries() -> dict[str, Entry]:
    return {
        name: Entry(name, family, variant.published, variant.note, variant.make)
        for family in FAMILIES
        for name, variant in family.variants.items()
    }


__all__ = ["FAMILIES", "Entry", "Family", "Published", "Variant", "entries", "entry", "get", "names"]

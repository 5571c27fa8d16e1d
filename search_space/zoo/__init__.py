"""The published systems, each an exact point of the block space with the parameters and MACs of its reference code.

    zoo.names()                               every model
    zoo.get("mixer_b16")                      its Architecture
    zoo.get("vit_s16", image_size=384)        the same design for other images
    zoo.entry("mixer_b16").published.top1     a published figure

Models of the zoo have no stochastic depth: its rate belongs to a recipe; ``dataclasses.replace`` sets `drop_path`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from search_space.architecture import Architecture
from search_space.errors import ArchitectureError, allowed
from search_space.registry import Registry
from search_space.size import Size
from search_space.zoo import ff_only, gmlp, mixer, repmlpnet, resmlp, vip, vit
from search_space.zoo.entry import Entry, Family, Published, Scaled, Variant

FAMILIES: Registry[Family] = Registry("family", ArchitectureError)
"""The published families by name, in the order of their papers; a search starts with them in this order."""
for _module in (vit, mixer, ff_only, resmlp, gmlp, vip, repmlpnet):
    FAMILIES.add(_module.FAMILY.name, _module.FAMILY, origin=_module.__name__)


def names() -> list[str]:
    """The names of all models, family by family, smallest first."""
    return list(_entries())


def entries() -> list[Entry]:
    """All models with their published figures."""
    return list(_entries().values())


def entry(name: str) -> Entry:
    """A model with its published figures.

    Raises:
        ArchitectureError: If there is no model of this name.
    """
    if name not in _entries():
        raise ArchitectureError(f"there is no model {name!r} in the zoo; {allowed(name, names())}")
    return _entries()[name]


def get(
    name: str, *, image_size: Size | None = None, in_channels: int | None = None, classes: int | None = None
) -> Architecture:
    """The architecture of a published model, by default for ImageNet-1k at its published image size.

    Args:
        name: One of `names()`.
        image_size: Side of the images in pixels, or their height and width; whatever depends on the number of tokens is
            adapted.
        in_channels: Channels of the images.
        classes: Number of classes.

    Raises:
        ArchitectureError: If there is no such model, or it is impossible at this size.
    """
    found = entry(name)
    architecture = found.architecture if image_size is None else found.make(image_size=image_size)
    return replace(
        architecture,
        in_channels=architecture.in_channels if in_channels is None else in_channels,
        classes=architecture.classes if classes is None else classes,
    )


def _entries() -> dict[str, Entry]:
    return _entries_of(tuple(FAMILIES))


@lru_cache(maxsize=1)
def _entries_of(families: tuple[str, ...]) -> dict[str, Entry]:
    return {
        name: Entry(name, family, variant.published, variant.note, variant.make)
        for family in map(FAMILIES.find, families)
        for name, variant in family.variants.items()
    }


__all__ = ["FAMILIES", "Entry", "Family", "Published", "Scaled", "Variant", "entries", "entry", "get", "names"]

"""`params`, `macs` and `depth`: baselines that are known without computation, and that every other proxy must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runners.proxies.base import register_proxy

if TYPE_CHECKING:
    from runners.proxies.material import Material


@register_proxy("params")
def params(material: Material) -> float:
    """Parameters of the deployed form, as limited by a search."""
    return float(material.architecture.deployed.params)


@register_proxy("macs")
def macs(material: Material) -> float:
    """MACs of the deployed form for one image."""
    return float(material.architecture.deployed.macs)


@register_proxy("depth")
def depth(material: Material) -> float:
    """Number of blocks, with which every sum over layers grows."""
    return float(material.architecture.depth)

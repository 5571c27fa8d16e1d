"""`params`, `macs` and `depth`: what is known of an architecture anyway, and every other proxy has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runners.proxies.base import register_proxy

if TYPE_CHECKING:
    from runners.proxies.material import Material


@register_proxy("params")
def params(material: Material) -> float:
    """Parameters of the form that is shipped, as a search limits them."""
    return float(material.architecture.deployed.params)


@register_proxy("macs")
def macs(material: Material) -> float:
    """MACs for one image, likewise."""
    return float(material.architecture.deployed.macs)


@register_proxy("depth")
def depth(material: Material) -> float:
    """Number of blocks, which every sum over layers grows with."""
    return float(material.architecture.depth)

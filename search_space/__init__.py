"""The block space: architectures, their exact cost, search spaces over them, and models built from them.

Nothing is imported until it is used, so describing an architecture does not load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search_space import zoo
    from search_space.architecture import Architecture, Branch, Stage
    from search_space.models import VisionModel, build, load_published, register_layer, reparameterize
    from search_space.ops import (
        Attention,
        Cost,
        Dense,
        Gating,
        Mix,
        Mixer,
        Op,
        Permute,
        RepMLP,
        TokenShape,
        register_mixer,
        register_op,
    )
    from search_space.space import Axis, Limits, SearchSpace, list_spaces, load_space, parse_space

_HOMES = {
    "Architecture": "search_space.architecture",
    "Attention": "search_space.ops",
    "Axis": "search_space.space",
    "Branch": "search_space.architecture",
    "Cost": "search_space.ops",
    "Dense": "search_space.ops",
    "Gating": "search_space.ops",
    "Limits": "search_space.space",
    "Mix": "search_space.ops",
    "Mixer": "search_space.ops",
    "Op": "search_space.ops",
    "Permute": "search_space.ops",
    "RepMLP": "search_space.ops",
    "SearchSpace": "search_space.space",
    "Stage": "search_space.architecture",
    "TokenShape": "search_space.ops",
    "VisionModel": "search_space.models",
    "build": "search_space.models",
    "list_spaces": "search_space.space",
    "load_published": "search_space.models",
    "load_space": "search_space.space",
    "parse_space": "search_space.space",
    "register_layer": "search_space.models",
    "register_mixer": "search_space.ops",
    "register_op": "search_space.ops",
    "reparameterize": "search_space.models",
}
__all__ = [
    "Architecture",
    "Attention",
    "Axis",
    "Branch",
    "Cost",
    "Dense",
    "Gating",
    "Limits",
    "Mix",
    "Mixer",
    "Op",
    "Permute",
    "RepMLP",
    "SearchSpace",
    "Stage",
    "TokenShape",
    "VisionModel",
    "build",
    "list_spaces",
    "load_published",
    "load_space",
    "parse_space",
    "register_layer",
    "register_mixer",
    "register_op",
    "reparameterize",
    "zoo",
]


def __getattr__(name: str) -> Any:
    if name == "zoo":
        return importlib.import_module("search_space.zoo")
    if name not in _HOMES:
        raise AttributeError(f"module 'search_space' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)

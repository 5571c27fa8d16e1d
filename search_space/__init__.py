"""The block space: architectures, their exact cost, search spaces over them, and models built from them.

Nothing is imported until it is used, so that describing an architecture does not load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search_space import zoo
    from search_space.architecture import Architecture, Branch, Stage
    from search_space.models.deployment import reparameterize
    from search_space.models.model import VisionModel, build
    from search_space.models.published import load_published
    from search_space.ops import Attention, Cost, Dense, Gating, Permute, RepMLP
    from search_space.space import Limits, SearchSpace, list_spaces, load_space

_HOMES = {
    "Architecture": "search_space.architecture",
    "Attention": "search_space.ops",
    "Branch": "search_space.architecture",
    "Cost": "search_space.ops",
    "Dense": "search_space.ops",
    "Gating": "search_space.ops",
    "Limits": "search_space.space",
    "Permute": "search_space.ops",
    "RepMLP": "search_space.ops",
    "SearchSpace": "search_space.space",
    "Stage": "search_space.architecture",
    "VisionModel": "search_space.models.model",
    "build": "search_space.models.model",
    "list_spaces": "search_space.space",
    "load_published": "search_space.models.published",
    "load_space": "search_space.space",
    "reparameterize": "search_space.models.deployment",
}
__all__ = [
    "Architecture",
    "Attention",
    "Branch",
    "Cost",
    "Dense",
    "Gating",
    "Limits",
    "Permute",
    "RepMLP",
    "SearchSpace",
    "Stage",
    "VisionModel",
    "build",
    "list_spaces",
    "load_published",
    "load_space",
    "reparameterize",
    "zoo",
]


def __getattr__(name: str) -> Any:
    if name == "zoo":
        return importlib.import_module("search_space.zoo")
    if name not in _HOMES:
        raise AttributeError(f"module 'search_space' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)

"""Networks built from architectures, in PyTorch.

Nothing is imported until it is used, so importing this package does not load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search_space.models.building import build
    from search_space.models.deployment import reparameterize
    from search_space.models.layers.registry import register_layer
    from search_space.models.model import VisionModel, set_generator
    from search_space.models.published import load_published

_HOMES = {
    "VisionModel": "search_space.models.model",
    "build": "search_space.models.building",
    "load_published": "search_space.models.published",
    "register_layer": "search_space.models.layers.registry",
    "reparameterize": "search_space.models.deployment",
    "set_generator": "search_space.models.model",
}
__all__ = ["VisionModel", "build", "load_published", "register_layer", "reparameterize", "set_generator"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)

"""Architecture search over the MLP family of vision models.

`search` is `nas search` for Python; `baselines` are the competitors that every search has to beat. Nothing heavy is
imported until it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.api import search
    from nas.config import SearchConfig
    from search_space.zoo.baselines import baselines

_HOMES = {"SearchConfig": "nas.config", "baselines": "search_space.zoo.baselines", "search": "nas.api"}
__all__ = ["SearchConfig", "baselines", "search"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nas' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)

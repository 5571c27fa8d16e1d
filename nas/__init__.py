"""Architecture search over the MLP family of vision models.

`search` is `nas search` for Python; `baselines` are the competitors that every search has to beat. Nothing heavy is
imported until it is used.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
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
    _check_neighbours()
    return getattr(importlib.import_module(_HOMES[name]), name)


def _check_neighbours() -> None:
    """Check that Python finds the packages beside this one, and not the user's own modules of the same name.

    Raises:
        ImportError: If not.
    """
    for name in ("search_space", "runners", "results"):
        beside, spec = Path(__file__).parents[1] / name / "__init__.py", importlib.util.find_spec(name)
        found = spec.origin if spec else None
        if found and beside.exists() and not beside.samefile(found):
            raise ImportError(
                f"{found} hides the package {name!r} of mlp-nas; rename it, or run Python elsewhere or as python -P"
            )

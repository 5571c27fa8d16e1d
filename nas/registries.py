"""What is registered, by kind. It imports every registry, and is for what lists or tests all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nas.strategy.pruners import PRUNERS
from nas.strategy.samplers.registry import SAMPLERS
from results.database.objectives import OBJECTIVES
from results.export import EXPORTERS
from runners.data import DATASETS
from runners.measuring.targets import LATENCY_TARGETS
from runners.proxies import PROXIES
from runners.registry import RUNNERS
from search_space.ops import MIXERS, OPS
from search_space.plugins import Plugin, load_installed, provider

REGISTRIES: Mapping[str, Mapping[str, Any]] = {
    "op": OPS,
    "token mixer": MIXERS,
    "data set": DATASETS,
    "sampler": SAMPLERS,
    "pruner": PRUNERS,
    "proxy": PROXIES,
    "objective": OBJECTIVES,
    "latency target": LATENCY_TARGETS,
    "runner": RUNNERS,
    "exporter": EXPORTERS,
}
"""Every kind of plug-in with its registry."""


@dataclass(frozen=True)
class Entry:
    """Something that is registered.

    Attributes:
        kind: What it is, such as "data set".
        name: Its name within the kind.
        plugin: The plug-in that it comes from; None for this program's own.
    """

    kind: str
    name: str
    plugin: Plugin | None


def entries() -> tuple[Entry, ...]:
    """All that is registered, installed plug-ins included, by kind.

    Raises:
        ConfigError: If an installed plug-in cannot be imported.
    """
    load_installed()
    return tuple(
        Entry(kind, name, one.plugin if (one := provider(kind, name)) else None)
        for kind, registry in REGISTRIES.items()
        for name in registry
    )

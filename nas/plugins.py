"""Everything that is registered, by kind, and the plug-ins that a study depends on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nas.strategy.pruners import PRUNERS
from nas.strategy.samplers.registry import SAMPLERS
from results.database.objectives import OBJECTIVES
from runners.data import DATASETS
from runners.proxies import PROXIES
from runners.registry import RUNNERS
from search_space.ops import MIXERS
from search_space.plugins import Plugin, load, load_installed, provider

REGISTRIES: Mapping[str, Mapping[str, Any]] = {
    "token mixer": MIXERS,
    "data set": DATASETS,
    "sampler": SAMPLERS,
    "pruner": PRUNERS,
    "proxy": PROXIES,
    "objective": OBJECTIVES,
    "runner": RUNNERS,
}
"""Every kind of plug-in with its registry."""


@dataclass(frozen=True)
class Entry:
    """Something that is registered.

    Attributes:
        kind: What it is, such as "data set".
        name: Its name within the kind.
        plugin: The plug-in that it comes from; None if it is built in.
    """

    kind: str
    name: str
    plugin: Plugin | None


def entries() -> tuple[Entry, ...]:
    """Everything that is registered, by kind, including installed plug-ins.

    Raises:
        ConfigError: If an installed plug-in cannot be imported.
    """
    load_installed()
    return tuple(
        Entry(kind, name, one.plugin if (one := provider(kind, name)) else None)
        for kind, registry in REGISTRIES.items()
        for name in registry
    )


def plugins_of(imports: Iterable[str], used: Iterable[tuple[str, str]]) -> tuple[Plugin, ...]:
    """The plug-ins that a study depends on: those that its settings name, and those that register what it uses.

    Args:
        imports: Modules and files, as in ``--import``.
        used: Kind and name of what it uses.

    Raises:
        ConfigError: If a module or file cannot be imported.
    """
    named = [load(name) for name in imports]
    providers = [one.plugin for kind, name in used if (one := provider(kind, name))]
    return tuple(dict.fromkeys([*named, *providers]))

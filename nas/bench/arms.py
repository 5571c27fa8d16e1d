"""Strategies as they take part in a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from nas.bench.comparison import RANDOM
from nas.bench.simulation import Arm
from nas.strategies import STRATEGIES
from search_space.errors import ConfigError, allowed


def arms(names: Sequence[str] = ()) -> list[Arm]:
    """The strategies of these names, all by default; random search, the measure of all, comes first in any case.

    Raises:
        ConfigError: If there is no such strategy.
    """
    for name in names:
        if name not in STRATEGIES:
            raise ConfigError(f"--strategies names {name!r}; {allowed(name, STRATEGIES)}")
    chosen = dict.fromkeys([RANDOM, *(names or STRATEGIES)])
    return [_arm(name) for name in chosen]


def _arm(name: str) -> Arm:
    strategy = STRATEGIES[name]
    modelled = strategy.ranker == "model"
    # A table has two search seeds: one for the trials, so one is left for finalists.
    settings = {"strategy": name, "seeds": 1} if modelled else {"strategy": name, "finalists": 0}
    return Arm(name, settings, plans=strategy.ranker != "none")

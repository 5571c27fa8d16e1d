"""The strategies of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from nas.bench.comparison import RANDOM
from nas.bench.simulation import Arm
from nas.config import SearchConfig, flag
from nas.strategy.presets import STRATEGIES, Strategy
from search_space.errors import ConfigError, allowed

_PARTS = tuple(field.name for field in fields(Strategy) if field.name != "summary")
_SWITCHES = ("families", "local")


def arms(names: Sequence[str] = ()) -> list[Arm]:
    """Return the strategies of these names, all by default. Random search, the baseline, is always the first.

    Args:
        names: Strategies, or strategies with parts replaced by flags of `nas search`: "auto --no-families".

    Raises:
        ConfigError: If there is no such strategy, or no such flag.
    """
    chosen = dict.fromkeys([RANDOM, *(names or STRATEGIES)])
    return [_arm(name) for name in chosen]


def _arm(name: str) -> Arm:
    strategy, *flags = name.split()
    if strategy not in STRATEGIES:
        raise ConfigError(f"--strategies names {strategy!r}; {allowed(strategy, STRATEGIES)}")
    settings = {"strategy": strategy, **_parts(flags)}
    parts = SearchConfig.make(**settings).parts
    # A table has two search seeds: one is for the trials, which leaves one for finalists.
    settings |= {"seeds": 1} if parts.has_surrogate else {"finalists": 0}
    return Arm(name, settings, plans=parts.has_surrogate or parts.ranker != "none" or parts.families)


def _parts(flags: Sequence[str]) -> dict[str, Any]:
    """Settings of `SearchConfig` for the flags that replace parts of a strategy."""
    settings: dict[str, Any] = {}
    rest = list(flags)
    while rest:
        word = rest.pop(0)
        name = word.removeprefix("--no-").removeprefix("--")
        known = [*(flag(part) for part in _PARTS), *(f"--no-{switch}" for switch in _SWITCHES)]
        if word not in known:
            raise ConfigError(f"--strategies has the flag {word!r}; {allowed(word, known)}")
        if name in _SWITCHES:
            settings[name] = not word.startswith("--no-")
        elif rest:
            settings[name] = rest.pop(0)
        else:
            raise ConfigError(f"--strategies has the flag {word!r} without a value")
    return settings

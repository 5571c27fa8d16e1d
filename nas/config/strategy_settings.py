"""How it is searched: a strategy, and settings that replace parts of it."""

from __future__ import annotations

from dataclasses import dataclass

from nas.config.setting import setting
from nas.config.values import Kind, NamesNow, choice, name_list, switch
from nas.strategy.presets import STRATEGIES, ranker_names, ranker_problem
from nas.strategy.pruners import PRUNERS, pruner_problem
from nas.strategy.samplers.registry import SAMPLERS, sampler_problem
from runners.proxies import PROXIES
from search_space.errors import allowed


def _unknown_proxy(names: tuple[str, ...]) -> str | None:
    unknown = [name for name in names if name not in PROXIES]
    return allowed(unknown[0], PROXIES) if unknown else None


@dataclass(frozen=True)
class StrategySettings:
    """How it is searched."""

    strategy: str = setting("auto", choice(STRATEGIES), "NAME", "Strategy (the next six flags replace parts of it)")
    sampler: str | None = setting(
        None,
        Kind("name", sampler_problem, choices=SAMPLERS),
        "NAME|MODULE:CLASS",
        "Sampler that proposes architectures, or the class of an Optuna sampler",
        otherwise="by strategy",
    )
    ranker: str | None = setting(
        None,
        Kind("name", ranker_problem, choices=NamesNow(ranker_names)),
        "NAME",
        "What chooses among the proposals",
        otherwise="by strategy",
    )
    proxies: tuple[str, ...] | None = setting(
        None,
        name_list("proxies", PROXIES, _unknown_proxy, or_none=True),
        "NAMES",
        "Proxies that the surrogate sees in addition to the architecture, separated by commas; or none",
        otherwise="by strategy",
    )
    pruner: str | None = setting(
        None,
        Kind("name", pruner_problem, choices=PRUNERS),
        "NAME",
        "Pruner that stops trials early",
        otherwise="by strategy",
    )
    families: bool | None = setting(
        None, switch(), "", "Whether the hand-designed families are tried first", otherwise="by strategy"
    )
    local: bool | None = setting(
        None,
        switch(),
        "",
        "Whether neighbours of the best architectures are candidates of the surrogate, too",
        otherwise="by strategy",
    )
    control: str | None = setting(
        None,
        choice(("random",)),
        "NAME",
        "Strategy to compare with, which searches afterwards with equal compute",
        otherwise="no control",
    )

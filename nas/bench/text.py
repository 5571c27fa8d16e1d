"""A comparison in words and columns."""

from __future__ import annotations

from collections.abc import Iterator

from nas.bench.comparison import BandResult, Comparison, StrategyResult
from nas.bench.contest import BUDGETS, RANDOM_BUDGET, TOP
from nas.bench.estimates import Estimate, Reached
from nas.commands.tables import table

MILLI = 1000
SHOWN_BUDGET = 32.0
"""FTE at which the figures that depend on the budget are shown; JSON has them all."""

_LEGEND = f"""\
regret          true NLL of what a search would deliver minus that of the best in the band, in 0.001 nats, by FTE spent
FTE             full-training equivalents: all compute of a search over that of one full training
+-              half of a 95 % interval, over runs and over bootstrap samples of the band's architectures
area            under the regret over log2 FTE from {BUDGETS[0]:g} to {BUDGETS[-1]:g}
to random-{RANDOM_BUDGET:g}   FTE until the mean true NLL is that of random search with {RANDOM_BUDGET:g} FTE (or all)
vs random       regret minus that of random search, at {SHOWN_BUDGET:g} FTE, paired
wrongly stopped share of the true best {TOP:.0%}, as far as started, that stood stopped early, at {SHOWN_BUDGET:g} FTE
cost ratio      CPU seconds of a FTE over those of a mean full training, at {SHOWN_BUDGET:g} FTE"""


def render(comparison: Comparison) -> str:
    """The whole comparison; held-out bands come last and say so."""
    parts = [_band(band) for band in sorted(comparison.bands, key=lambda band: band.held_out)]
    note = (
        "Design: searches are judged by the design seeds; the truth seeds and the held-out bands are left alone.\n\n"
        if comparison.design
        else ""
    )
    return note + "\n\n".join([*parts, _LEGEND])


def _band(band: BandResult) -> str:
    tau = "-" if band.test_retest_tau is None else f"{band.test_retest_tau:.2f}"
    aside = ", HELD OUT" if band.held_out else ""
    untrained = f" ({band.untrained} more are not trained yet)" if band.untrained else ""
    runs = next(iter(band.strategies.values())).runs
    head = (
        f"{band.table}, band {band.band}{aside}: {band.architectures} architectures{untrained}, "
        f"{runs} runs a strategy\n"
        f"test-retest tau {tau}; best true NLL {band.best:.4f}, random search with {RANDOM_BUDGET:g} FTE "
        f"{band.random_200:.4f}; a full training takes {band.full_seconds:.3g} CPU s"
    )
    regrets = [["regret at FTE", *(f"{budget:g}" for budget in BUDGETS)]]
    rest = [["", "area", f"to random-{RANDOM_BUDGET:g}", "vs random", "wrongly stopped", "cost ratio"]]
    for name, result in band.strategies.items():
        regrets.append([name, *(_milli(result.regret[budget]) for budget in BUDGETS)])
        rest.append([name, *_rest(result)])
    return "\n".join([head, "", *table(regrets), "", *table(rest)])


def _rest(result: StrategyResult) -> Iterator[str]:
    yield _milli(result.area)
    yield _reached(result.fte_to_random_200)
    yield _milli(result.versus_random[SHOWN_BUDGET], sign="+")
    share, ratio = result.wrongly_stopped[SHOWN_BUDGET], result.cost_ratio[SHOWN_BUDGET]
    yield "-" if share is None else f"{share:.0%}"
    yield "-" if ratio is None else f"{ratio:.2f}"


def _milli(figure: Estimate, sign: str = "") -> str:
    return f"{MILLI * figure.mean:{sign}.1f}+-{MILLI * (figure.high - figure.mean):.1f}"


def _reached(figure: Reached) -> str:
    value, low, high = (
        f">{BUDGETS[-1]:g}" if end is None else f"{end:.3g}" for end in (figure.value, figure.low, figure.high)
    )
    return f"{value} ({low} to {high})"

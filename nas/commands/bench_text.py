"""A comparison of strategies as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from nas.bench.comparison import BandResult, Comparison, StrategyResult
from nas.bench.contest import BUDGETS, RANDOM_BUDGET, TOP
from nas.bench.estimates import Estimate, Reached
from nas.commands.tables import blocks, facts, wrapped

MILLI = 1000
SHOWN_BUDGET = 32.0
"""FTE at which figures that depend on the budget are shown; JSON has all of them."""

_LEGEND = (
    (
        "regret",
        "true NLL of what a search would deliver minus that of the best in the band, in 0.001 nats, by FTE spent",
    ),
    ("FTE", "full-training equivalents: the compute of a search divided by that of one full training"),
    ("+-", "half of a 95 % interval, over runs and over bootstrap samples of the band's architectures"),
    ("area", f"area under the regret over log2 FTE from {BUDGETS[0]:g} to {BUDGETS[-1]:g}"),
    (
        f"to random-{RANDOM_BUDGET:g}",
        f"FTE until the mean true NLL is that of random search with {RANDOM_BUDGET:g} FTE",
    ),
    ("vs random", f"regret minus that of random search, at {SHOWN_BUDGET:g} FTE, paired"),
    (
        "wrongly stopped",
        f"share of the started architectures among the true best {TOP:.0%} that had been stopped early at "
        f"{SHOWN_BUDGET:g} FTE; of n, counted over all runs",
    ),
    ("cost ratio", f"CPU seconds of an FTE over those of a mean full training, at {SHOWN_BUDGET:g} FTE"),
)


def render(comparison: Comparison) -> str:
    """The whole comparison; held-out bands come last and are marked."""
    lines: list[str] = []
    if comparison.design:
        note = "searches are scored by the design seeds; the truth seeds and the held-out bands are not read"
        lines += [*wrapped(note, "Design: "), ""]
    for band in sorted(comparison.bands, key=lambda band: band.held_out):
        lines += [*_band(band), ""]
    return "\n".join([*lines, *facts(_LEGEND, indent="")])


def _band(band: BandResult) -> Iterator[str]:
    tau = "-" if band.test_retest_tau is None else f"{band.test_retest_tau:.2f}"
    untrained = f" ({band.untrained} more are not trained yet)" if band.untrained else ""
    runs = next(iter(band.strategies.values())).runs
    yield from wrapped(
        f"{band.architectures} architectures{untrained}, {runs} runs a strategy",
        f"{band.table}, band {band.band}{', HELD OUT' if band.held_out else ''}: ",
    )
    yield from wrapped(
        f"test-retest tau {tau}; best true NLL {band.best:.4f}, random search with {RANDOM_BUDGET:g} FTE "
        f"{band.random_200:.4f}; a full training takes {band.full_seconds:.3g} CPU s",
        "",
    )
    results = band.strategies.values()
    regrets = [[f"{budget:g}", *(_milli(result.regret[budget]) for result in results)] for budget in BUDGETS]
    yield from blocks(["regret at FTE", *band.strategies], regrets)
    titles = ("area", f"to random-{RANDOM_BUDGET:g}", "vs random", "wrongly stopped", "cost ratio")
    rest = zip(*map(_rest, results), strict=True)
    yield from blocks(["", *band.strategies], [[title, *cells] for title, cells in zip(titles, rest, strict=True)])


def _rest(result: StrategyResult) -> Iterator[str]:
    yield _milli(result.area)
    yield _reached(result.fte_to_random_200)
    yield _milli(result.versus_random[SHOWN_BUDGET], sign="+")
    stopped, ratio = result.wrongly_stopped[SHOWN_BUDGET], result.cost_ratio[SHOWN_BUDGET]
    yield "-" if stopped.share is None else f"{stopped.share:.0%} of {stopped.n:,}"
    yield "-" if ratio is None else f"{ratio:.2f}"


def _milli(figure: Estimate, sign: str = "") -> str:
    return f"{MILLI * figure.mean:{sign}.1f}+-{MILLI * (figure.high - figure.mean):.1f}"


def _reached(figure: Reached) -> str:
    value, low, high = (
        f">{BUDGETS[-1]:g}" if end is None else f"{end:.3g}" for end in (figure.value, figure.low, figure.high)
    )
    return f"{value} ({low} to {high})"

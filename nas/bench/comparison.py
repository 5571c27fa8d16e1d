"""Comparing strategies over tables: the simulations, and the true quality of what they deliver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas.bench.contest import BUDGETS, RANDOM_BUDGET, Contest, Scale
from nas.bench.estimates import Estimate, Floats, Reached, area, estimate, reached
from nas.bench.parallel import Progress, simulate
from nas.bench.simulation import Arm, Records
from nas.bench.table import Table

RANDOM = "random"
"""The strategy that all others are compared with."""


@dataclass(frozen=True)
class Share:
    """A share of architectures, counted over all runs.

    Attributes:
        share: None if there are none.
        n: The number of architectures, counted run by run.
    """

    share: float | None
    n: int


@dataclass(frozen=True)
class StrategyResult:
    """The result of a strategy over a band; mappings are by budget in FTE.

    Attributes:
        regret: Mean true regret in nats: true NLL of the delivered architecture minus that of the best in the pool.
        versus_random: Regret minus that of random search with the same compute, run by run and pool by pool.
        area: Area under the regret over log2 FTE, in nats times octaves.
        fte_to_random_200: FTE to the mean true NLL of random search with RANDOM_BUDGET.
        fte: FTE that were spent.
        wrongly_stopped: The share of the started architectures among the true best TOP that was stopped early.
        cost_ratio: CPU seconds of one FTE over those of a mean full training in the band; above 1 if slow architectures
            are preferred.
        runs: Runs over the whole band.
    """

    regret: Mapping[float, Estimate]
    versus_random: Mapping[float, Estimate]
    area: Estimate
    fte_to_random_200: Reached
    fte: Mapping[float, float]
    wrongly_stopped: Mapping[float, Share]
    cost_ratio: Mapping[float, float | None]
    runs: int

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "regret": {f"{budget:g}": figure.to_dict() for budget, figure in self.regret.items()},
            "versus_random": {f"{budget:g}": figure.to_dict() for budget, figure in self.versus_random.items()},
            "auc": self.area.to_dict(),
            "fte_to_random_200": self.fte_to_random_200.to_dict(),
            "fte": _keys(self.fte),
            "wrongly_stopped": {f"{budget:g}": asdict(share) for budget, share in self.wrongly_stopped.items()},
            "cost_ratio": _keys(self.cost_ratio),
            "runs": self.runs,
        }


@dataclass(frozen=True)
class BandResult:
    """The results of all strategies over a band.

    Attributes:
        table: Name of the table.
        band: Name of the band.
        held_out: Whether it was not used while strategies were designed.
        architectures: The number that took part.
        untrained: The number that did not, because they are not trained yet; 0 except in a design contest.
        test_retest_tau: Kendall's tau between two trainings of the same architectures; None if there is only one.
        full_seconds: Mean CPU seconds of a full training.
        random_200: True NLL that random search reaches with RANDOM_BUDGET.
        best: The best true NLL.
        strategies: The results by strategy.
    """

    table: str
    band: str
    held_out: bool
    architectures: int
    untrained: int
    test_retest_tau: float | None
    full_seconds: float
    random_200: float
    best: float
    strategies: Mapping[str, StrategyResult]

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        plain = {**vars(self), "strategies": {name: it.to_dict() for name, it in self.strategies.items()}}
        del plain["table"], plain["band"]
        return plain


@dataclass(frozen=True)
class Comparison:
    """The results of all strategies over all bands.

    Attributes:
        design: Whether the design seeds were used for scoring, and the truth seeds were not read.
        bands: The results.
    """

    design: bool
    bands: tuple[BandResult, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain data, by table and band."""
        tables: dict[str, dict[str, Any]] = {}
        for band in self.bands:
            tables.setdefault(band.table, {})[band.band] = band.to_dict()
        return {"design": self.design, "tables": tables}


@dataclass(frozen=True)
class _Scored:
    """True quality of the runs of a strategy over a band, and over resampled pools.

    Attributes:
        nll: [runs, budgets] true NLL of the delivered architecture.
        regret: [runs, budgets] that minus the best.
        pool_nll: [pools, runs of a pool, budgets] the same over the pools.
        pool_regret: [pools, runs of a pool, budgets] the same.
        records: Of the runs over the whole band.
    """

    nll: Floats
    regret: Floats
    pool_nll: Floats
    pool_regret: Floats
    records: Records


def compare(
    contests: Sequence[Contest],
    arms: Sequence[Arm],
    scale: Scale,
    *,
    jobs: int = 0,
    cache_folder: Path | None = None,
    on_progress: Progress = lambda done, total: None,
) -> Comparison:
    """Compare strategies.

    Args:
        contests: The bands to compare them over.
        arms: The strategies; random search has to be one of them.
        scale: The number of runs.
        jobs: Number of processes; 0 to stay in this one.
        cache_folder: Where results of simulations are cached; None to cache none.
        on_progress: Called after every simulation.

    Returns:
        The results, bands in the order of the contests, strategies in that of the arms.
    """
    pairs = [(contest, arm) for contest in contests for arm in arms]
    plans = [list(contest.simulations(arm, scale, _budgets(arm))) for contest, arm in pairs]
    flat = [simulation for plan in plans for simulation in plan]
    tables: dict[str, Table] = {contest.table.name: contest.table.visible() for contest in contests}
    records = iter(simulate(flat, tables, jobs=jobs, cache_folder=cache_folder, on_progress=on_progress))
    results = {
        (id(contest), arm.name): _score(contest, scale, [next(records) for _ in plan])
        for (contest, arm), plan in zip(pairs, plans, strict=True)
    }
    return Comparison(
        contests[0].design,
        tuple(
            _band_result(contest, {arm.name: results[id(contest), arm.name] for arm in arms}) for contest in contests
        ),
    )


def _budgets(arm: Arm) -> tuple[float, ...]:
    return (*BUDGETS, RANDOM_BUDGET) if arm.name == RANDOM else BUDGETS


def _score(contest: Contest, scale: Scale, parts: list[Records]) -> _Scored:
    pools = contest.pools(scale.pools)
    whole = Records.join(parts[: -len(pools)])
    nll = contest.quality(whole.chosen, contest.members)
    pool_nll, pool_regret = [], []
    for pool, part in zip(pools, parts[-len(pools) :], strict=True):
        pool_nll.append(contest.quality(part.chosen, pool))
        pool_regret.append(pool_nll[-1] - contest.best(pool))
    regret = nll - contest.best(contest.members)
    return _Scored(nll, regret, np.array(pool_nll), np.array(pool_regret), whole)


def _band_result(contest: Contest, scored: Mapping[str, _Scored]) -> BandResult:
    random = scored[RANDOM]
    return BandResult(
        contest.table.name,
        contest.band.name,
        contest.band.held_out,
        len(contest.members),
        len(contest.table.band(contest.band.name)) - len(contest.members),
        contest.test_retest_tau,
        contest.full_seconds,
        float(random.nll[:, -1].mean()),
        contest.best(contest.members),
        {name: _result(contest, it, random) for name, it in scored.items()},
    )


def _result(contest: Contest, scored: _Scored, random: _Scored) -> StrategyResult:
    count, records = len(BUDGETS), scored.records
    budgets = (*BUDGETS, RANDOM_BUDGET)[: scored.nll.shape[1]]
    regret, pool_regret = scored.regret[..., :count], scored.pool_regret[..., :count]
    gap, pool_gap = regret - random.regret[..., :count], pool_regret - random.pool_regret[..., :count]
    spent, seconds = records.fte.sum(axis=0), records.seconds.sum(axis=0)
    return StrategyResult(
        regret={b: estimate(scored.regret[:, i], scored.pool_regret[:, :, i]) for i, b in enumerate(budgets)},
        versus_random={b: estimate(gap[:, i], pool_gap[:, :, i]) for i, b in enumerate(BUDGETS)},
        area=estimate(area(regret, BUDGETS), area(pool_regret, BUDGETS)),
        fte_to_random_200=reached(
            np.concatenate([scored.nll[..., :count], random.nll[..., -1:]], axis=-1),
            np.concatenate([scored.pool_nll[..., :count], random.pool_nll[..., -1:]], axis=-1),
            BUDGETS,
        ),
        fte={b: float(records.fte[:, i].mean()) for i, b in enumerate(budgets)},
        wrongly_stopped=dict(zip(budgets, wrongly_stopped(contest, records), strict=True)),
        cost_ratio={b: _ratio(seconds[i], spent[i] * contest.full_seconds) for i, b in enumerate(budgets)},
        runs=len(scored.nll),
    )


def wrongly_stopped(contest: Contest, records: Records) -> list[Share]:
    """The share of the started architectures among the true best `TOP` that was stopped early, by budget.

    Args:
        contest: The band.
        records: The runs over the whole band.
    """
    stopped, started = ((marks & contest.top).sum(axis=(0, 2)) for marks in (records.stopped, records.started))
    return [Share(_ratio(part, whole), int(whole)) for part, whole in zip(stopped, started, strict=True)]


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def _keys(figures: Mapping[float, float | None]) -> dict[str, float | None]:
    return {f"{budget:g}": figure for budget, figure in figures.items()}

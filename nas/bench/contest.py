"""A band of a table that strategies are compared over: the simulations, and the true quality of its architectures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from nas.bench.definition import Band
from nas.bench.estimates import Floats
from nas.bench.simulation import NOTHING, Arm, Simulation, mean_seconds
from nas.bench.table import Table
from search_space.errors import DataError

BUDGETS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
"""Budgets, in FTE, at which strategies are compared: powers of two, up to about the size of a band."""
RANDOM_BUDGET = 200.0
"""FTE of the random search whose quality is the target; smaller bands are exhausted by then. Arbitrary."""
TOP = 0.1
"""The share of a band that counts as its best. Arbitrary."""
RUNS_PER_TASK = 10
"""Runs in one task of a process: a few dozen seconds with the slowest strategies. Arbitrary."""
FEWEST_POOLS = 10
"""Minimum number of resampled pools. Arbitrary."""


@dataclass(frozen=True)
class Scale:
    """The number of runs.

    Attributes:
        runs: Runs of every strategy over the whole band; a fifth as many are added over resampled pools.
    """

    runs: int = 500

    @property
    def pools(self) -> int:
        """Number of resampled pools."""
        return max(FEWEST_POOLS, self.runs // 10)

    @property
    def runs_per_pool(self) -> int:
        """Runs over each pool."""
        return max(1, round(self.runs / 5 / self.pools))


class Contest:
    """One band of a table.

    In a design contest, the design seeds are the truth, and the truth seeds are not read.

    Args:
        table: The table.
        band: The band.
        design: Whether this is a design contest.

    Attributes:
        scoring_seeds: The seeds whose test figures are the truth of this contest.
        members: Indices in the band of the architectures that take part: all or, in a design contest, those trained so
            far.
    """

    def __init__(self, table: Table, band: Band, *, design: bool) -> None:
        self.table, self.band, self.design = table, band, design
        self._entries = table.band(band.name)
        definition = table.definition
        self.scoring_seeds = definition.design_seeds if design else definition.truth_seeds
        if not self.scoring_seeds:
            raise DataError(f"{table.folder} has no design seeds, which a design contest needs")
        needed = (*definition.search_seeds, *self.scoring_seeds)
        trained = [
            all((entry.architecture.hash, seed) in table.trainings for seed in needed) for entry in self._entries
        ]
        if not any(trained) or not (design or all(trained)):
            remedy = "finish the table" if design else "finish the table, or take --design"
            raise DataError(
                f"{table.folder}: {trained.count(False)} of the {len(trained)} architectures of the band {band.name} "
                f"lack trainings with the seeds {', '.join(map(str, needed))}; {remedy}"
            )
        self.members = tuple(place for place, is_there in enumerate(trained) if is_there)

    @property
    def name(self) -> str:
        """Table and band."""
        return f"{self.table.name}/{self.band.name}"

    # Simulations.

    def simulations(self, arm: Arm, scale: Scale, budgets: tuple[float, ...]) -> Iterator[Simulation]:
        """All runs of a strategy: over the whole band, then over the resampled pools one by one."""
        for start in range(0, scale.runs, RUNS_PER_TASK):
            yield self._simulation(arm, self.members, range(start, min(start + RUNS_PER_TASK, scale.runs)), budgets)
        for number, pool in enumerate(self.pools(scale.pools)):
            start = scale.runs + number * scale.runs_per_pool
            yield self._simulation(arm, pool, range(start, start + scale.runs_per_pool), budgets)

    def _simulation(self, arm: Arm, members: tuple[int, ...], runs: range, budgets: tuple[float, ...]) -> Simulation:
        return Simulation(arm, self.table.name, self.band.name, members, runs, budgets)

    def pools(self, count: int) -> list[tuple[int, ...]]:
        """Bootstrap samples of the members, without repeats."""
        rng = np.random.default_rng(count)
        draws = rng.choice(self.members, size=(count, len(self.members)))
        return [tuple(np.unique(draw).tolist()) for draw in draws]

    # True quality.

    @cached_property
    def truth(self) -> Floats:
        """True NLL of the band's architectures, of shape [architectures]: the mean test NLL over `scoring_seeds`.

        A failed training counts as the worst of the others. NaN for an architecture that does not take part.
        """
        seeds = self.scoring_seeds
        figures = np.full((len(self._entries), len(seeds)), np.nan)
        for place in self.members:
            name = self._entries[place].architecture.hash
            nlls = [self.table.trainings[name, seed].test_nll for seed in seeds]
            figures[place] = [math.inf if nll is None else nll for nll in nlls]
        failed = np.isinf(figures)
        if failed.any():
            figures[failed] = np.nanmax(figures[~failed])
        means: Floats = figures.mean(axis=1)
        return means

    def quality(self, chosen: NDArray[np.int16], members: tuple[int, ...]) -> Floats:
        """True NLL of the delivered architectures, of shape [runs, budgets]; none counts as a random member."""
        return np.where(chosen == NOTHING, self.truth[list(members)].mean(), self.truth[chosen])

    def best(self, members: tuple[int, ...]) -> float:
        """The best possible true NLL."""
        return float(self.truth[list(members)].min())

    @cached_property
    def top(self) -> NDArray[np.bool_]:
        """Which architectures are the true best TOP of the members, of shape [architectures]."""
        marks = np.zeros(self.truth.shape, dtype=bool)
        marks[np.argsort(self.truth)[: math.ceil(TOP * len(self.members))]] = True  # NaN is sorted last
        return marks

    # Properties of the band.

    @cached_property
    def test_retest_tau(self) -> float | None:
        """Kendall's tau of the final validation NLL between search seeds, the mean over pairs.

        It bounds how well one training predicts another; None with a single search seed.
        """
        from scipy.stats import kendalltau

        seeds = self.table.definition.search_seeds
        finals = {seed: [self._final_nll(place, seed) for place in self.members] for seed in seeds}
        taus = [float(kendalltau(finals[one], finals[other]).statistic) for one, other in combinations(seeds, 2)]
        return float(np.mean(taus)) if taus else None

    def _final_nll(self, place: int, seed: int) -> float:
        training = self.table.trainings[self._entries[place].architecture.hash, seed]
        return math.inf if training.cause is not None else training.nll[-1]

    @cached_property
    def full_seconds(self) -> float:
        """Mean CPU seconds of a full training."""
        return mean_seconds(self.table, self.band.name)

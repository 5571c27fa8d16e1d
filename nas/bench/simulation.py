"""Runs of a strategy over a pool: the real search, with a replayed table instead of a GPU.

A simulation gets tables without truth (`Table.visible`), and returns the architecture that would be delivered at every
budget. It cannot find out how good these are; `nas.bench.contest` scores them.

Compute is counted in FTE, full-training equivalents (`results.report.compute`); the full training that the seconds of
proxies are compared with is the mean of the band.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.bench.memory import MemoryStudy, NoFiles, SimulatedSpec
from nas.bench.pool import Members, Pool
from nas.bench.replay import Replay
from nas.bench.table import Table
from nas.config import SearchConfig
from nas.study.search import Search
from results.database.schema import State
from results.report.compute import FullTraining
from runners.data import validation_images
from runners.execution import execute
from runners.protocol import DataSpec, Decision, EpochResult, Job
from search_space.space import Limits

NOTHING = -1
"""Marks a budget at which no architecture could be delivered."""
ONE_TRAINING = 1.0
"""FTE of a full training: while this much is left, a limit does not affect which trials are started and resumed."""
STOPPED_EARLY = frozenset({State.PAUSED, State.PRUNED})
"""States of trials that were stopped before their end."""
_CLOSE = 1e-9


@dataclass(frozen=True)
class Arm:
    """A strategy that takes part.

    Attributes:
        name: Its name.
        settings: Settings of its searches; see `nas.config.SearchConfig`.
        plans: Whether its budget affects more than the last FTE. If not, one run covers all smaller budgets.
    """

    name: str
    settings: Mapping[str, Any]
    plans: bool = False


@dataclass(frozen=True)
class Simulation:
    """Some runs of one strategy over one pool.

    Attributes:
        arm: The strategy.
        table: Name of the table.
        band: Name of the band.
        members: The pool, as indices in the band.
        runs: Numbers of the runs; a run's number is the seed of its search.
        budgets: Budgets in FTE, ascending.
    """

    arm: Arm
    table: str
    band: str
    members: tuple[int, ...]
    runs: range
    budgets: tuple[float, ...]

    def seeds(self, run: int, search_seeds: Sequence[int]) -> tuple[int, ...]:
        """The seeds of the table that a run sees, in order: run r begins with the r-th, cyclically."""
        turn = run % len(search_seeds)
        return (*search_seeds[turn:], *search_seeds[:turn])


@dataclass(frozen=True)
class Records:
    """The results of runs; R runs, B budgets, N architectures of the band.

    Attributes:
        chosen: [R, B] index in the band of the architecture that would be delivered; NOTHING for none.
        fte: [R, B] FTE spent by then.
        seconds: [R, B] CPU seconds spent by then.
        started: [R, B, N] which architectures had been started.
        stopped: [R, B, N] which of them were stopped early.
    """

    chosen: NDArray[np.int16]
    fte: NDArray[np.float32]
    seconds: NDArray[np.float32]
    started: NDArray[np.bool_]
    stopped: NDArray[np.bool_]

    @classmethod
    def join(cls, parts: Sequence[Records]) -> Records:
        """All runs of several records, in order."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__annotations__))


class Simulator:
    """Runs simulations over tables.

    Args:
        tables: The tables by name, without truth.
    """

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = tables
        self._members: dict[tuple[str, str, tuple[int, ...]], Members] = {}

    def run(self, simulation: Simulation) -> Records:
        """Execute all runs of a simulation."""
        table = self._tables[simulation.table]
        band = table.band(simulation.band)
        key = simulation.table, simulation.band, simulation.members
        if key not in self._members:
            self._members[key] = Members(table.space, [band[place] for place in simulation.members])
        members = self._members[key]
        unit = FullTraining(table.recipe.epochs, mean_seconds(table, simulation.band))
        snapshots: list[_Snapshot] = []
        for run in simulation.runs:
            replay = Replay(table, simulation.seeds(run, table.definition.search_seeds), first=run)
            for arm, budgets in _portions(simulation.arm, simulation.budgets, len(simulation.members)):
                snapshots += _snapshots(_Run(arm, Pool(members), replay, run, budgets[-1], unit), budgets)
        return _records(snapshots, len(simulation.budgets), simulation.members, len(band))


def _portions(arm: Arm, budgets: Sequence[float], members: int) -> list[tuple[Arm, Sequence[float]]]:
    """The searches that make up a run of an arm, each with the budgets that it covers."""
    if arm.plans:
        return [(arm, (budget,)) for budget in budgets]
    # A budget that trains the whole pool gives the same result in any order; random search is the quickest.
    tight = [budget for budget in budgets if budget < members]
    ample = [budget for budget in budgets if budget >= members]
    return [(one, some) for one, some in ((arm, tight), (_ANY_ORDER, ample)) if some]


_ANY_ORDER = Arm("any order", {"strategy": "random", "finalists": 0})


def mean_seconds(table: Table, band: str) -> float:
    """Mean CPU seconds of a full training in a band, over the search seeds."""
    names = {entry.architecture.hash for entry in table.band(band)}
    return mean(
        training.seconds
        for (name, seed), training in table.trainings.items()
        if name in names and seed in table.definition.search_seeds and training.cause is None
    )


@dataclass(frozen=True)
class _Snapshot:
    """The state of a search at some moment; architectures are indices in the pool."""

    chosen: int = NOTHING
    fte: float = 0.0
    seconds: float = 0.0
    started: tuple[int, ...] = ()
    stopped: tuple[int, ...] = ()


def _snapshots(run: _Run, budgets: Sequence[float]) -> list[_Snapshot]:
    """The state that each budget ends with.

    A search is the same for all budgets until one of them has less than a training left; a separate search completes
    that one.
    """
    found = []
    for budget in budgets[:-1]:
        while not run.is_over and run.search.budget.fte + ONE_TRAINING <= budget + _CLOSE:
            run.step()
        found.append(run.with_limit(budget).finish(budget))
    return [*found, run.finish(budgets[-1])]


class _Run:
    """One search, and what it has spent.

    Args:
        arm: The strategy.
        pool: The space.
        replay: The evaluator.
        seed: Seed of the search.
        max_fte: Its limit on compute.
        unit: A full training.

    Attributes:
        search: The search.
        is_over: Whether it has no more trials and no finalists to train.
    """

    def __init__(self, arm: Arm, pool: Pool, replay: Replay, seed: int, max_fte: float, unit: FullTraining) -> None:
        self._arm, self._pool, self._replay, self._seed, self._unit = arm, pool, replay, seed, unit
        config = SearchConfig.make(
            **arm.settings, seed=seed, budget=len(pool.members) + 1, max_fte=max_fte, runner="inline"
        )
        data, recipe = DataSpec(replay.table.definition.data), replay.table.recipe
        spec = SimulatedSpec(pool, Limits(), data, recipe, config, validation_images(data))
        self.search = Search(spec, MemoryStudy(pool), NoFiles())
        self.is_over = False
        self._epochs, self._training_s, self._scoring_s = 0, 0.0, 0.0

    @property
    def fte(self) -> float:
        """FTE spent so far."""
        return self._unit.equivalents(self._epochs, self._scoring_s)

    def with_limit(self, max_fte: float) -> _Run:
        """Return a copy of this run that continues with another limit on compute, too small to start another trial.

        This run is not changed. As nothing is proposed any more, the copy needs no sampler that has learned from the
        trials.
        """
        arm = replace(self._arm, settings={**self._arm.settings, "sampler": "random"})
        other = _Run(arm, self._pool, self._replay, self._seed, max_fte, self._unit)
        other.search.others.apply(other.search.book.adopt(self.search.book.by_key.values()))
        other.is_over = self.is_over
        other._epochs, other._training_s, other._scoring_s = self._epochs, self._training_s, self._scoring_s
        return other

    def finish(self, budget: float) -> _Snapshot:
        """Run to the end; returns the last state at which no more than the budget had been spent."""
        last = self._look()
        while not self.is_over and self.fte <= budget + _CLOSE:
            if self.fte + ONE_TRAINING + _CLOSE >= budget:
                last = self._look()
            self.step()
        return self._look() if self.fte <= budget + _CLOSE else last

    def step(self) -> None:
        """Execute the next job of the search."""
        job = self.search.ask()
        if job is None or job.task == "test":
            self.is_over = True
        else:
            self._execute(job)

    def _execute(self, job: Job) -> None:
        outcome = execute(job, self._replay, self._report)
        if job.task == "score":  # the time of the original scoring counts
            seconds = sum(score.seconds for scores in outcome.measured.scores for score in scores.values())
            outcome = replace(outcome, seconds=seconds)
            self._scoring_s += seconds
        self.search.tell(job.key, outcome)

    def _report(self, key: str, epochs: Sequence[EpochResult]) -> Decision:
        self._epochs += len(epochs)
        self._training_s += sum(epoch.seconds for epoch in epochs)
        return self.search.report(key, epochs)

    def _look(self) -> _Snapshot:
        chosen = self.search.choice()
        trials = self.search.book.searched
        return _Snapshot(
            NOTHING if chosen is None else self._pool.index(chosen),
            self.fte,
            self._training_s + self._scoring_s,
            tuple(self._pool.index(trial.architecture) for trial in trials),
            tuple(self._pool.index(trial.architecture) for trial in trials if trial.state in STOPPED_EARLY),
        )


def _records(snapshots: Sequence[_Snapshot], budgets: int, members: Sequence[int], size: int) -> Records:
    """Snapshots as arrays by run and budget, with indices in a band of this size."""
    place = [*members, NOTHING]  # NOTHING indexes the last, and stays NOTHING

    def where(attribute: str) -> NDArray[np.bool_]:
        marks = np.zeros((len(snapshots), size), dtype=bool)
        for mark, snapshot in zip(marks, snapshots, strict=True):
            mark[[place[index] for index in getattr(snapshot, attribute)]] = True
        return marks.reshape(-1, budgets, size)

    return Records(
        np.array([place[snapshot.chosen] for snapshot in snapshots], dtype=np.int16).reshape(-1, budgets),
        np.array([snapshot.fte for snapshot in snapshots], dtype=np.float32).reshape(-1, budgets),
        np.array([snapshot.seconds for snapshot in snapshots], dtype=np.float32).reshape(-1, budgets),
        where("started"),
        where("stopped"),
    )

"""Runs of a strategy over a pool: the real search, with a replayed table in the place of a GPU.

A simulation is handed tables without truth (`Table.visible`) and returns which architecture would have been delivered
at every budget. How good those are is not its business, and it could not find out.

Compute is counted in FTE, full-training equivalents: epochs over the epochs of a full training, plus the seconds of
training-free proxies over the mean seconds of a full training in the band.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.bench.pool import Pool
from nas.bench.stand_ins import NoFolder, NoStudy, SimulatedQuestion
from nas.bench.tabular import Replay, Table
from nas.config import SearchConfig
from nas.strategy.candidates import Known
from nas.study.search import Search
from results.database.schema import Role, State
from runners.data import validation_images
from runners.protocol import DataSpec, Decision, Evaluation, Job, Outcome
from search_space.architecture import Architecture
from search_space.space import Limits

NOTHING = -1
"""What was delivered before anything could be."""
ONE_TRAINING = 1.0
"""FTE of a full training: with so much left, a search starts trials and lets them go on as if it had no limit."""
STOPPED_EARLY = frozenset({State.PAUSED, State.PRUNED})
"""States of trials that stand stopped before their end."""
_CLOSE = 1e-9


@dataclass(frozen=True)
class Arm:
    """A strategy that takes part.

    Attributes:
        name: Its name.
        settings: Settings of its searches; see `nas.config.SearchConfig`.
        plans: Whether its budget decides more than what is done with the last FTE. If not, a run tells of all smaller
            budgets, too.
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
        members: The pool: places in the band.
        runs: Numbers of the runs; a run's number is the seed of its search.
        budgets: In FTE, ascending.
    """

    arm: Arm
    table: str
    band: str
    members: tuple[int, ...]
    runs: range
    budgets: tuple[float, ...]

    def seeds(self, run: int, search_seeds: Sequence[int]) -> tuple[int, ...]:
        """The seeds of the table that a run sees, in order: run r begins with the r-th, in a circle."""
        turn = run % len(search_seeds)
        return (*search_seeds[turn:], *search_seeds[:turn])


@dataclass(frozen=True)
class Records:
    """What runs came to; R runs, B budgets, N architectures of the band.

    Attributes:
        chosen: [R, B] place in the band of what would be delivered; NOTHING for nothing.
        fte: [R, B] FTE spent by then.
        seconds: [R, B] CPU seconds spent by then.
        started: [R, B, N] which architectures had been started.
        stopped: [R, B, N] which of them stood stopped early.
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
        self._pools: dict[tuple[str, str, tuple[int, ...]], Pool] = {}

    def run(self, simulation: Simulation) -> Records:
        """Do all runs of a simulation."""
        table = self._tables[simulation.table]
        band = table.band(simulation.band)
        key = simulation.table, simulation.band, simulation.members
        if key not in self._pools:
            self._pools[key] = Pool(table.space, [band[place] for place in simulation.members])
        pool = self._pools[key]
        search_seeds = table.definition.search_seeds
        full_seconds = mean_seconds(table, simulation.band)
        budgets = simulation.budgets
        snapshots = []
        for run in simulation.runs:
            replay = Replay(table, simulation.seeds(run, search_seeds), first=run)
            for arm, portion in _portions(simulation.arm, budgets, len(simulation.members)):
                snapshots += _Run(arm, pool.fresh(), replay, run, portion, full_seconds).snapshots()
        return _records(snapshots, len(budgets), simulation.members, len(band))


def _portions(arm: Arm, budgets: Sequence[float], members: int) -> list[tuple[Arm, Sequence[float]]]:
    """The searches that a run of an arm consists of, each with the budgets it tells of."""
    if arm.plans:
        return [(arm, (budget,)) for budget in budgets]
    # A budget that trains the whole pool comes to the same in whichever order: random search is the quickest to tell.
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
    """A search at some moment; architectures by their places in the pool."""

    chosen: int = NOTHING
    fte: float = 0.0
    seconds: float = 0.0
    started: tuple[int, ...] = ()
    stopped: tuple[int, ...] = ()


class _Run:
    """One search, and what it comes to at each of its budgets."""

    def __init__(
        self, arm: Arm, pool: Pool, replay: Replay, seed: int, budgets: Sequence[float], full_seconds: float
    ) -> None:
        self.pool, self.replay, self.budgets, self.full_seconds = pool, replay, budgets, full_seconds
        config = SearchConfig.make(
            **arm.settings, seed=seed, budget=len(pool.members) + 1, max_fte=budgets[-1], runner="inline"
        )
        data, recipe = DataSpec(replay.table.definition.data), replay.table.recipe
        spec = SimulatedQuestion(pool, Limits(), data, recipe, config, validation_images(data))
        self.search = Search(spec, NoStudy(pool), NoFolder())
        self.full_epochs = recipe.epochs
        self.epochs, self.epoch_seconds, self.proxy_seconds = 0, 0.0, 0.0
        self.over = False

    @property
    def fte(self) -> float:
        """FTE spent so far."""
        return self.epochs / self.full_epochs + self.proxy_seconds / self.full_seconds

    def snapshots(self) -> list[_Snapshot]:
        """What is delivered with each budget: the search is the same for all until a budget has less than a training
        left, and its end is played in a copy.
        """
        found = []
        for budget in self.budgets[:-1]:
            while not self.over and self.search.fte + ONE_TRAINING <= budget + _CLOSE:
                self._step()
            found.append(self._with_budget(budget)._end(budget))
        return [*found, self._end(self.budgets[-1])]

    def _with_budget(self, budget: float) -> _Run:
        """A copy of all that changes, with another limit on compute; it cannot start trials any more."""
        candidates = self.search.planner.candidates
        shared = (self.pool, *self.pool.members, self.replay, self.search.spec)
        copy = deepcopy(self, {id(one): one for one in shared} | {id(candidates): _Deaf()})
        copy.search.config = replace(self.search.config, max_fte=budget)
        return copy

    def _end(self, budget: float) -> _Snapshot:
        """Go on until the end: what stood at the last moment when no more than the budget had been spent."""
        last = self._look()
        while not self.over and self.fte <= budget + _CLOSE:
            if self.fte + ONE_TRAINING + _CLOSE >= budget:
                last = self._look()
            self._step()
        return self._look() if self.fte <= budget + _CLOSE else last

    def _step(self) -> None:
        """Do what the search asks for next."""
        job = self.search.ask()
        if job is None or job.task == "test":
            self.over = True
        else:
            self._execute(job)

    def _execute(self, job: Job) -> None:
        evaluation = Evaluation(job, self.replay)
        outcome: Outcome | None = None
        while outcome is None:
            epochs, outcome = evaluation.advance()
            self.epochs += len(epochs)
            self.epoch_seconds += sum(epoch.seconds for epoch in epochs)
            decision = self.search.report(job.key, epochs) if epochs else Decision.CONTINUE
            if outcome is None and decision is Decision.STOP:
                outcome = evaluation.stop()
        if job.task == "score":  # replaying them took no time
            outcome = replace(
                outcome, seconds=sum(score.seconds for one in outcome.measured.scores for score in one.values())
            )
            self.proxy_seconds += outcome.seconds
        self.search.tell(job.key, outcome)

    def _look(self) -> _Snapshot:
        chosen = self.search.choice()
        trials = self.search.of(Role.TRIAL)
        return _Snapshot(
            NOTHING if chosen is None else self.pool.index(chosen),
            self.fte,
            self.epoch_seconds + self.proxy_seconds,
            tuple(self.pool.index(trial.architecture) for trial in trials),
            tuple(self.pool.index(trial.architecture) for trial in trials if trial.state in STOPPED_EARLY),
        )


class _Deaf:
    """In the place of a proposer of which no more proposals are wanted."""

    def learn(self, architecture: Architecture, known: Known) -> None:
        pass

    def draw(self) -> None:
        pass


def _records(snapshots: Sequence[_Snapshot], budgets: int, members: Sequence[int], size: int) -> Records:
    """Snapshots, budget by budget and run by run, with places in a band of this size."""
    place = [*members, NOTHING]  # so that NOTHING, the last, stays what it is

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

"""The cost of a large search besides its trainings: time per trial, memory of the driver, size of the database.

Evaluations do nothing, and 64 of them are running at any time, as on a cluster of 64 GPUs; Ray is not used, so only the
search and its database are measured. The overhead of a trial is the time of all its calls: ask, report and tell. The
curve has a point for every tenth of the trials.

    python -m benchmarks.scale [--trials 1000 10000] [--postgresql] [--strategy auto]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
import sqlalchemy as sa

from benchmarks.common import write
from benchmarks.postgresql import Database
from nas.config import SearchConfig
from nas.study.opening import open_folder, open_store, open_with_files
from nas.study.search import Search
from nas.study.spec import make_spec
from results.store.store import Store
from runners.execution import Execution
from runners.protocol import EpochResult, Job, Measured, Score
from runners.synthetic import synthetic

SLOTS = 64
Answer = TypeVar("Answer")


def nothing(job: Job) -> Generator[EpochResult, None, Measured]:
    """Synthetic epochs and scores, without delay."""
    if job.task == "score":
        scores = [{name: Score(float(architecture.params), 0.0) for name in job.proxies} for architecture in job.batch]
        return Measured(scores=tuple(scores))
    return (yield from synthetic(job))


class Clock:
    """Measures the seconds of every ask, and of all calls by trial."""

    def __init__(self) -> None:
        self.asks: list[float] = []
        self.by_trial = defaultdict[str, float](float)
        self._mark = 0.0

    def ask(self, search: Search) -> Job | None:
        """`Search.ask`, timed."""
        started = time.perf_counter()
        job = search.ask()
        if job is not None:
            self.asks.append(time.perf_counter() - started)
            self.by_trial[job.key] += self.asks[-1]
        return job

    def timed(self, key: str, call: Callable[..., Answer], *arguments: object) -> Answer:
        """A call for a trial, timed."""
        started = time.perf_counter()
        answer = call(key, *arguments)
        self.by_trial[key] += time.perf_counter() - started
        return answer


def run(trials: int, **settings: Any) -> dict[str, Any]:
    """The cost of a search with this number of trials."""
    with tempfile.TemporaryDirectory() as out:
        config = SearchConfig.make(budget=trials, epochs=4, finalists=0, out=out, study=f"scale-{trials}", **settings)
        folder = open_folder(config)
        store = open_store(config, folder)
        spec = make_spec(config)
        search = Search(spec, open_with_files(store, spec, folder)[0], folder)
        clock, curve = Clock(), list[dict[str, Any]]()
        under_way = deque[Execution]()
        started, since, process = time.perf_counter(), 0, psutil.Process()
        while True:
            while len(under_way) < SLOTS and (job := clock.ask(search)) is not None:
                under_way.append(Execution(job, nothing))
            if not under_way:
                break
            execution = under_way.popleft()
            outcome = execution.turn(lambda key, epochs: clock.timed(key, search.report, epochs))
            if outcome is None:
                under_way.append(execution)
            else:
                clock.timed(execution.job.key, search.tell, outcome)
            if len(search.book.searched) >= (len(curve) + 1) * trials // 10:
                asks, since = clock.asks[since:], len(clock.asks)
                memory = round(process.memory_info().rss / 2**20)
                curve.append(
                    {"trials": len(search.book.searched), "ask_ms": _median_and_p99(asks), "driver_mib": memory}
                )
                print(f"  {curve[-1]}, {time.perf_counter() - started:.0f} s", flush=True)
        total = time.perf_counter() - started
        search.close()
        facts = {
            "trials": search.budget.spent,
            "seconds": round(total, 1),
            "overhead_ms_a_trial": _median_and_p99(list(clock.by_trial.values())),
            "ask_ms": _median_and_p99(clock.asks),
            "driver_mib": max(point["driver_mib"] for point in curve),
            "database_mib": round(_size(store, Path(out)) / 2**20, 1),
            "curve": curve,
        }
        store.close()
        return facts


def _median_and_p99(seconds: list[float]) -> dict[str, float]:
    figures = 1000 * np.percentile(seconds, [50, 99])
    return {"median": round(float(figures[0]), 1), "p99": round(float(figures[1]), 1)}


def _size(store: Store, out: Path) -> int:
    if store.engine.dialect.name == "sqlite":
        return sum(file.stat().st_size for file in out.glob("nas.db*"))
    with store.engine.connect() as connection:
        return int(connection.scalar(sa.text("SELECT pg_database_size(current_database())")) or 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--strategy", default="auto")
    parser.add_argument("--postgresql", action="store_true", help="a server on this machine instead of a SQLite file")
    given = parser.parse_args()
    with ExitStack() as stack:
        storage = None
        if given.postgresql:
            database = Database(Path(tempfile.mkdtemp(prefix="nas-scale-")))
            stack.callback(database.close)
            storage = database.make("scale")
        runs = {str(trials): run(trials, strategy=given.strategy, storage=storage) for trials in given.trials}
    name = "scale_postgresql" if given.postgresql else "scale"
    write(name, {"slots": SLOTS, "strategy": given.strategy, "runs": runs})


if __name__ == "__main__":
    main()

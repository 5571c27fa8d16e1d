"""What a large search costs beside its trainings: time a trial, memory of the driver, size of the database.

The evaluation does nothing, and 64 of them are under way at any time, as on a cluster of 64 GPUs; there is no Ray, so
that what is measured is the search and its database. An ask is timed from the question to the job.

    python -m benchmarks.scale [--trials 1000 10000] [--storage URL] [--strategy auto]
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from benchmarks.common import write
from nas.config import SearchConfig
from nas.engine import Search
from nas.evaluator import WithProxies
from nas.run_folder import storage_url
from nas.study import make_question, open_folder, open_study
from results.store import Store
from runners.base import Decision, Evaluation
from runners.synthetic import synthetic

SLOTS = 64


def run(trials: int, **settings: Any) -> dict[str, Any]:
    """A search of so many trials; what it took."""
    with tempfile.TemporaryDirectory() as out:
        config = SearchConfig.make(budget=trials, epochs=4, finalists=0, out=out, study=f"scale-{trials}", **settings)
        store = Store(storage_url(config.storage, config.out))
        folder = open_folder(config)
        folder.make()
        question = make_question(config)
        search = Search(question, open_study(store, question)[0], folder)
        evaluator, asks = WithProxies(synthetic), list[float]()
        under_way = deque[Evaluation]()
        started = time.perf_counter()
        while True:
            while len(under_way) < SLOTS:
                asked = time.perf_counter()
                job = search.ask()
                if job is None:
                    break
                asks.append(time.perf_counter() - asked)
                under_way.append(Evaluation(job, evaluator))
            if not under_way:
                break
            evaluation = under_way.popleft()
            epochs, outcome = evaluation.advance()
            stop = bool(epochs) and search.report(evaluation.job.key, epochs) is Decision.STOP
            if outcome is None and stop:
                outcome = evaluation.stop()
            if outcome is None:
                under_way.append(evaluation)
            else:
                search.tell(evaluation.job.key, outcome)
        total = time.perf_counter() - started
        search.close()
        facts = {
            "trials": search.spent,
            "ms_a_trial": round(1000 * total / trials, 1),
            "ask_ms": _median_and_p99(asks),
            "ask_ms_last_tenth": _median_and_p99(asks[-len(asks) // 10 :]),
            "driver_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            "database_mib": round(_size(store, Path(out)) / 2**20, 1),
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
    parser.add_argument("--storage", help="database URL [a SQLite file]")
    given = parser.parse_args()
    figures: dict[str, Any] = {"slots": SLOTS, "strategy": given.strategy}
    for trials in given.trials:  # smallest first: the peak of the memory is that of the process
        figures[str(trials)] = run(trials, strategy=given.strategy, storage=given.storage)
        print(trials, figures[str(trials)], flush=True)
    write("scale", figures)


if __name__ == "__main__":
    main()

"""One or two drivers on one study in PostgreSQL: the throughput, and whether anything is trained twice.

The evaluation sleeps, so that the drivers and not the trainings compete for this machine. Each driver is a process that
evaluates one trial at a time. A study is run by one driver, then by two, alternately.

    python -m benchmarks.sharing [--trials 120] [--pairs 3]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from benchmarks.common import summary, write
from benchmarks.postgresql import Database
from nas import search
from results.store.store import Role, Store
from runners.protocol import EpochResult, Job, Measured
from runners.synthetic import synthetic

EPOCHS = 4
EPOCH_S = 0.1


def evaluate(job: Job) -> Generator[EpochResult, None, Measured]:
    """Synthetic epochs of `EPOCH_S` each."""
    for epoch in synthetic(job):
        time.sleep(EPOCH_S)
        yield epoch
    return Measured()


def drive(trials: int, out: str) -> None:
    """Search, once all drivers are ready."""
    print("ready", flush=True)
    sys.stdin.readline()
    search(
        evaluator=evaluate,
        storage=os.environ["NAS_STORAGE"],
        out=out,
        runner="inline",
        strategy="random",
        budget=trials,
        epochs=EPOCHS,
        finalists=0,
        study="shared",
    )


def run(url: str, drivers: int, trials: int) -> tuple[float, int]:
    """Seconds from the first start of a trial to the last end, and the number of architectures trained twice."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "benchmarks.sharing", "--drive", out, "--trials", str(trials)]
        environment = {**os.environ, "NAS_STORAGE": url}
        processes = [
            subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(drivers)
        ]
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        codes = [process.wait() for process in processes]
    assert codes == [0] * drivers, codes
    store = Store(url, create=False)
    study = store.study("shared")
    assert study is not None
    rows = study.evaluations(Role.TRIAL)
    store.close()
    assert len(rows) == trials, len(rows)
    ends = [row.finished_at for row in rows if row.finished_at is not None]
    taken = (max(ends) - min(row.started_at for row in rows)).total_seconds()
    return taken, trials - len({row.architecture.hash for row in rows})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=120)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--drive", metavar="OUT", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.drive:
        drive(given.trials, given.drive)
        return
    database = Database(Path(tempfile.mkdtemp(prefix="nas-sharing-postgres-")))
    ratios, doubled, times = [], 0, list[dict[str, Any]]()
    try:
        for pair in range(given.pairs):
            alone, twice_alone = run(database.make(f"alone_{pair}"), 1, given.trials)
            together, twice = run(database.make(f"together_{pair}"), 2, given.trials)
            ratios.append(alone / together)
            doubled += twice_alone + twice
            times.append({"one_s": round(alone, 1), "two_s": round(together, 1)})
    finally:
        database.close()
    write(
        "sharing", {"trials": given.trials, "throughput_ratio": summary(ratios, 2), "doubled": doubled, "times": times}
    )


if __name__ == "__main__":
    main()

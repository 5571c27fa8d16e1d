"""Chaos: a search on a Ray cluster and PostgreSQL while everything it depends on is killed, and what it still delivers.

python -m benchmarks.chaos [--seed 0] [--trials 200] [--faults 24]

Four Ray nodes on this machine, a PostgreSQL server, and trials that sleep instead of training but write and read real
checkpoints. While they run, faults are drawn from the seed:

    worker      a process that evaluates is killed
    node        a node is killed, with everything on it, and replaced
    driver      the search is killed by SIGKILL, and the same command is run again
    database    the server is stopped as if its machine had died, and started again
    checkpoint  all checkpoints are truncated, and a worker that needs its own is killed
    disk        the disk of the checkpoints is full for a while (a small file system; mounting it needs root)

The same search runs once more without faults. The last line is JSON; the exit code is 0 if nothing was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import torch

from benchmarks.common import RESULTS, write
from benchmarks.environment import NODES, STUDY, Environment, disk
from benchmarks.postgresql import Database
from nas.api import search
from results.database.schema import FINAL_STATES, EvaluationRow, FinalistRow, Role, State
from results.store.store import Store
from runners.protocol import EpochResult, Job, Measured
from runners.synthetic import synthetic
from runners.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from search_space.errors import NasError

EPOCHS = 4
EPOCH_S = 0.25
KINDS = ("worker", "node", "driver", "database", "checkpoint", "disk")
PATIENCE_S = 1800.0
RESULT = RESULTS / "chaos.json"


def evaluate(job: Job) -> Generator[EpochResult, None, Measured]:
    """Synthetic epochs of `EPOCH_S` each, with a checkpoint after each; without one it restarts."""
    torch.manual_seed(0)
    model = torch.nn.Linear(64, 64)
    found = None if job.checkpoint is None else load_checkpoint(job.checkpoint, job, model)
    done = () if found is None else found.curve
    yield from done[job.reported :]
    steps = synthetic(replace(job, reported=len(done)))
    while True:
        try:
            epoch = next(steps)
        except StopIteration as end:
            measured: Measured = end.value
            return measured
        time.sleep(EPOCH_S)
        done = (*done, epoch)
        if job.checkpoint is not None:
            save_checkpoint(job.checkpoint, job, Checkpoint(done, model.state_dict(), {}))
        yield epoch


def drive(storage: str, out: str, address: str, trials: int) -> int:
    """Run the search once; returns the exit code of `nas search`."""
    try:
        search(
            evaluator=evaluate,
            storage=storage,
            out=out,
            address=address,
            budget=trials,
            epochs=EPOCHS,
            strategy="random",
            study=STUDY,
            finalists=3,
            seeds=2,
        )
    except NasError as error:
        print(f"nas: {error}", file=sys.stderr)
        return 2
    return 0


Seen = dict[str, tuple[str, int, float | None]]
"""State, epochs and validation NLL of ended evaluations, by key."""


def ended(storage: str) -> Seen | None:
    """The evaluations that have ended so far; None while the database cannot be read."""
    engine = sa.create_engine(storage, poolclass=sa.NullPool)
    columns = sa.select(EvaluationRow.key, EvaluationRow.state, EvaluationRow.epochs_trained, EvaluationRow.nll)
    try:
        with engine.connect() as connection:
            rows = connection.execute(columns.where(EvaluationRow.state.in_(FINAL_STATES))).all()
    except sa.exc.SQLAlchemyError:
        return None
    return {row[0]: (row[1], row[2], row[3]) for row in rows}


def play(environment: Environment, kinds: list[str]) -> tuple[Counter[str], Seen, int]:
    """Run the search while faults occur, evenly spread over its trials.

    Returns:
        How often each fault occurred, the evaluations seen to end during the run, and how many of these changed later.
    """
    faults, seen, undone = Counter[str](), Seen(), 0
    moments = [environment.trials * (index + 1) // (len(kinds) + 2) for index in range(len(kinds))]
    waiting, started = list(zip(moments, kinds, strict=True)), time.monotonic()
    while not environment.is_done():
        if time.monotonic() - started > PATIENCE_S:
            raise TimeoutError(f"the search is not done after {PATIENCE_S:g} s; {len(seen)} evaluations have ended")
        now = ended(environment.storage)
        if now is not None:
            undone += sum(now.get(key) != value for key, value in seen.items())
            seen |= now
        if waiting and len(seen) >= waiting[0][0]:
            _, kind = waiting[0]
            if environment.cause(kind):
                waiting.pop(0)
                faults[kind] += 1
                print(f"  {len(seen)} have ended: {kind}", file=sys.stderr)
        time.sleep(0.1)
    return faults, seen, undone


def ranking(storage: str) -> dict[str, Any]:
    """The results in the database at the end."""
    store = Store(storage, create=False)
    study = store.study(STUDY)
    assert study is not None
    rows = study.evaluations()
    trials = [row for row in rows if row.role == Role.TRIAL]
    hashes = Counter(row.architecture.hash for row in trials)
    winners = [row.architecture.hash for row in study.finalists() if row.rank == 1]
    with store.session() as session:
        tested = session.scalars(sa.select(FinalistRow.test_nll).where(FinalistRow.rank == 1)).all()
    facts = {
        "trials": len(trials),
        "complete": sum(row.state == State.COMPLETE for row in trials),
        "doubled": sum(count - 1 for count in hashes.values()),
        "running_left": sum(row.state not in FINAL_STATES for row in rows),
        "workers_lost": sum(row.attempts - 1 for row in rows),
        "winner": winners[0] if winners else None,
        "tested": [None if nll is None else round(nll, 9) for nll in tested],
    }
    store.close()
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--faults", type=int, default=24)
    parser.add_argument("--drive", nargs=2, metavar=("OUT", "ADDRESS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.drive:
        sys.exit(drive(os.environ["NAS_STORAGE"], *given.drive, given.trials))
    rng = random.Random(given.seed)
    with ExitStack() as stack:
        # Not under a folder that only root may enter: the server runs as another user.
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nas-chaos-")))
        server_folder = Path(tempfile.mkdtemp(prefix="nas-chaos-postgres-"))
        database = Database(server_folder)
        stack.callback(database.close)
        is_small = stack.enter_context(disk(scratch / "runs"))
        kinds = [kind for kind in KINDS if kind != "disk" or is_small]
        order = [kinds[index % len(kinds)] for index in range(given.faults)]
        rng.shuffle(order)
        results: list[dict[str, Any]] = []
        for name, faults in (("undisturbed", []), ("disturbed", order)):
            print(f"{name}: {given.trials} trials, {len(faults)} faults", file=sys.stderr)
            environment = Environment(database.make(name), database, scratch / "runs" / name, given.trials, rng)
            try:
                struck, seen, undone = play(environment, faults)
            finally:
                environment.close()
            end = ended(environment.storage) or {}
            results.append(
                {
                    **ranking(environment.storage),
                    "faults": dict(struck),
                    "lives": environment.lives,
                    "lost": sum(key not in end for key in seen),
                    "undone": undone,
                }
            )
    calm, stormy = results
    line = {
        "seed": given.seed,
        "faults": sum(stormy["faults"].values()),
        "trials_finished": stormy["complete"],
        "lost": stormy["lost"],
        "trained_twice": stormy["doubled"] + stormy["undone"],
        "running_left": stormy["running_left"],
        "budget_exact": stormy["trials"] == given.trials == stormy["complete"],
        "same_winner": None not in (stormy["winner"], *stormy["tested"])
        and all(stormy[name] == calm[name] for name in ("winner", "tested")),
        "workers_lost": stormy["workers_lost"],
        "driver_lives": stormy["lives"],
        "by_kind": stormy["faults"],
    }
    known = json.loads(RESULT.read_text(encoding="utf-8"))["runs"] if RESULT.exists() else []
    runs = sorted([*(run for run in known if run["seed"] != given.seed), line], key=lambda run: run["seed"])
    write("chaos", {"trials": given.trials, "nodes": NODES, "runs": runs})
    print(json.dumps(line))
    fine = (
        line["budget_exact"]
        and line["same_winner"]
        and not (line["lost"] or line["trained_twice"] or line["running_left"])
    )
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()

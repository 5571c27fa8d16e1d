"""The runner that executes jobs on a Ray cluster, or on a Ray that it starts on this machine.

Ray makes no decisions and keeps no state: workers (`runners.on_ray.pool`) are given the jobs of the source, and every
report is answered by the source.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

# Ray reads these when it is imported or started.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# Otherwise Ray's core treats SIGTERM as a crash and prints a stack, and a search cannot stop cleanly.
os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")

import ray
from ray.exceptions import RayError

from runners.on_ray.address import check_address, cluster_address
from runners.on_ray.connection import connection, first_words, quiet
from runners.on_ray.folders import check_ray_folders, check_temporary
from runners.on_ray.images import WithImages, send
from runners.on_ray.pool import WorkerPool
from runners.on_ray.watchdog import RayGone, Watchdog
from runners.on_ray.worker import Setup
from runners.protocol import DataSpec, Evaluator, TrialSource
from runners.resources import check_resources, check_this_machine
from search_space.errors import RunnerError
from search_space.plugins import Plugin
from search_space.signals import first_ctrl_c_recorded

log = logging.getLogger(__name__)

NOTIFY_AFTER_S = 60.0
"""How long a cluster may lack resources for a trial before the user is notified. Arbitrary."""

MOST_STARTS = 4
"""How many times Ray is started on this machine if it keeps dying. Arbitrary."""


@dataclass(frozen=True)
class RayRunner:
    """Executes jobs on Ray.

    Attributes:
        address: Address of a running cluster ("auto", "HOST:PORT", "ray://HOST:PORT"); None for ``RAY_ADDRESS``, or to
            start Ray here if that is not set.
        cpus_per_trial: CPU cores a job reserves.
        gpus_per_trial: GPUs a job reserves; None for 1 if the cluster has GPUs, else 0.
        packages: Packages that are sent to workers on a cluster.
        plugins: Plug-ins that every worker imports.
        images: Images to send to the nodes of a cluster that lack them; None if no job needs images.
        notice: Shows a message to the user.
        notify_after_s: Seconds that trials wait for resources before the user is notified.
    """

    address: str | None = None
    cpus_per_trial: float = 1.0
    gpus_per_trial: float | None = None
    packages: tuple[str, ...] = ("search_space", "runners")
    plugins: tuple[Plugin, ...] = ()
    images: DataSpec | None = None
    notice: Callable[[str], None] = log.warning
    notify_after_s: float = NOTIFY_AFTER_S

    def check(self) -> None:
        """Check that a cluster listens at the address, or that this machine has what Ray and a job need.

        Raises:
            RunnerError: If not.
        """
        check_temporary()
        if self._address is None:
            check_ray_folders(os.environ)
            check_this_machine(self.cpus_per_trial, self.gpus_per_trial or 0.0)
        else:
            check_address(self._address)

    def run(self, source: TrialSource, evaluator: Evaluator) -> None:
        """Execute until the source is done.

        Raises:
            KeyboardInterrupt: On Ctrl-C, after the workers have written their checkpoints.
            RunnerError: If Ray cannot be reached or started, or a job needs more than there is.
            DataError: If `images` must be sent to a cluster, and this machine lacks them, too.
        """
        with first_ctrl_c_recorded() as stopped:
            for starts in range(1, MOST_STARTS + 1):
                if source.done:
                    return
                gone = self._run_until_ray_is_gone(source, evaluator, stopped.is_set, is_last=starts == MOST_STARTS)
                if stopped.is_set():
                    raise KeyboardInterrupt
                if gone is not None:
                    self.notice(f"{gone}; Ray is restarted, and trials resume from their checkpoints")

    def _run_until_ray_is_gone(
        self, source: TrialSource, evaluator: Evaluator, is_interrupted: Callable[[], bool], *, is_last: bool
    ) -> str | None:
        """Execute until the source is done, or until Ctrl-C; returns what has died if Ray may be restarted."""
        with connection(self._address, self.packages) as is_new, quiet(), Watchdog(self._address) as watchdog:
            pool: WorkerPool | None = None
            try:
                setup = self._setup(evaluator)
                pool = WorkerPool(source, setup, self._resources(), watchdog, self.notice, self.notify_after_s)
                try:
                    pool.run(is_interrupted)
                finally:
                    pool.close()
            except (RayGone, Exception) as error:
                gone = watchdog.gone
                if gone is None:
                    if isinstance(error, RayError):
                        raise RunnerError(f"Ray failed: {first_words(error)}") from error
                    raise
                if not isinstance(error, (RayGone, RayError)):
                    raise
                if pool is not None:
                    pool.all_lost(gone)
                if self._address is not None or not is_new:
                    raise RunnerError(
                        f"{gone}. Nothing is lost; once it is back, the same command continues the study"
                    ) from None
                if is_last:
                    raise RunnerError(
                        f"{gone} {MOST_STARTS} times. Nothing is lost; the same command continues the study"
                    ) from None
                return gone
        return None

    def _setup(self, evaluator: Evaluator) -> Setup:
        on_cluster, threads = self._address is not None, max(1, int(self.cpus_per_trial))
        parcel = send(self.images) if on_cluster and self.images else None
        work = WithImages(evaluator, parcel) if parcel else evaluator
        return Setup(self.plugins, work, threads, on_cluster, os.environ.get("NAS_DATA_DIR"), self.images)

    def _resources(self) -> dict[str, float]:
        """What a worker reserves, by Ray's names."""
        total = ray.cluster_resources()
        gpus = self.gpus_per_trial
        if gpus is None:
            gpus = 1.0 if total.get("GPU", 0) else 0.0
        wanted = {"CPU": self.cpus_per_trial, "GPU": gpus}
        if self._address is None:  # a cluster may still grow, this machine cannot
            check_resources(wanted, total)
        return {kind: amount for kind, amount in wanted.items() if amount}

    @property
    def _address(self) -> str | None:
        return cluster_address(self.address)

"""The runner that executes jobs on a Ray cluster, through Ray Tune.

Tune places trials, packs fractional GPUs, reuses worker processes and grows autoscaling clusters. It neither makes
decisions nor keeps state: a `Searcher` hands out the jobs of the source, and a `TrialScheduler` passes reports on and
stops what the source decides to stop. Tune's own experiment state is never read back.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, cast

# Tune reads these when it is imported or started.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1000000000")
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
os.environ.setdefault("TUNE_WARN_THRESHOLD_S", "60")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
# Ray's core reads this: otherwise it treats SIGTERM as a crash and prints a stack, and a search cannot stop cleanly.
os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune.error import TuneError
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from runners.on_ray.address import CLIENT, check_address, cluster_address
from runners.on_ray.connection import connection, first_words, quiet
from runners.on_ray.folders import check_ray_folders, check_temporary
from runners.on_ray.images import WithImages, send
from runners.on_ray.losses import loss, waiting
from runners.on_ray.ray_private import tune_on_a_client
from runners.on_ray.watchdog import RayGone, Watchdog
from runners.on_ray.worker import EvaluationTrainable, Packed
from runners.protocol import (
    Cause,
    DataSpec,
    Decision,
    EpochResult,
    Evaluator,
    Job,
    Outcome,
    TrialSource,
)
from runners.resources import check_resources, check_this_machine
from search_space.errors import RunnerError
from search_space.plugins import Plugin
from search_space.signals import handlers_kept

log = logging.getLogger(__name__)

NOTIFY_AFTER_S = 60.0
"""How long a cluster may lack resources for a trial before the user is notified. Arbitrary."""

MOST_STARTS = 4
"""How many times Ray is started on this machine if it keeps dying. Arbitrary."""

Answer = TypeVar("Answer")


class _Bridge:
    """Connects Tune's callbacks to the source. Tune swallows exceptions in callbacks, so they are kept for later."""

    def __init__(self, source: TrialSource, pack: Callable[[Job], Packed], watchdog: Watchdog) -> None:
        self.source, self.pack, self.watchdog = source, pack, watchdog
        self.error: Exception | None = None
        self.keys: dict[str, str] = {}  # Tune's trial id -> job key
        self.reasons: dict[str, tuple[Cause, str]] = {}  # Tune's trial id -> why its worker was lost

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Pickle to nothing: Tune saves its state at the start, which is never read, and the source cannot be
        pickled.
        """
        return object, ()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        def ask() -> dict[str, Any] | str | None:
            job = self.source.ask()
            if job is not None:
                self.keys[trial_id] = job.key
                return {"packed": self.pack(job)}
            return Searcher.FINISHED if self.source.done else None

        finished: dict[str, Any] | str | None = Searcher.FINISHED
        return self._guarded(ask, finished)

    def report(self, trial_id: str, result: dict[str, Any]) -> str:
        epochs: list[EpochResult] = result["epochs"]

        def report() -> str:
            stop = epochs and self.source.report(self.keys[trial_id], epochs) is Decision.STOP
            return TrialScheduler.STOP if stop else TrialScheduler.CONTINUE

        return self._guarded(report, TrialScheduler.STOP)

    def complete(self, trial_id: str, result: dict[str, Any] | None, error: bool) -> None:
        def tell() -> None:
            key = self.keys.pop(trial_id)
            if error or result is None:
                cause, words = self.reasons.pop(trial_id, (Cause.WORKER_LOST, "the worker process or its node died"))
                self.source.tell(key, Outcome("failed", 0.0, cause, words))
                return
            outcome: Outcome | None = result["outcome"]
            if outcome is None:
                outcome = Outcome("stopped", result["time_total_s"])
            elif result["epochs"]:
                self.source.report(key, result["epochs"])
            self.source.tell(key, outcome)

        self._guarded(tell, None)

    def lost(self, trial: Trial) -> None:
        """Record why a worker was lost, unless Ray itself is."""
        self.watchdog.check()
        self.reasons[trial.trial_id] = loss(trial)

    def all_lost(self, words: str) -> None:
        """Tell the source that all running jobs are lost with Ray."""
        for key in self.keys.values():
            self.source.tell(key, Outcome("failed", 0.0, Cause.NODE_LOST, words))

    def idle(self) -> None:
        self._guarded(self.source.idle, None)

    def _guarded(self, act: Callable[[], Answer], otherwise: Answer) -> Answer:
        if self.error is None:
            try:
                with self.watchdog.suspended():
                    return act()
            except Exception as error:  # noqa: BLE001 (raised again by RayTuneRunner.run)
                self.error = error
        return otherwise


class _AskSource(Searcher):
    """Asks the source for the next job when Tune has room, and tells it how every job ended."""

    def __init__(self, bridge: _Bridge) -> None:
        super().__init__()
        self._bridge = bridge

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        return cast("dict[str, Any] | None", self._bridge.suggest(trial_id))  # Tune's own type omits FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._bridge.complete(trial_id, result, error)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the database is the only state."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: there is nothing to restore."""


class _TellSource(FIFOScheduler):
    """Passes every report on to the source, and its decision back to Tune."""

    def __init__(self, bridge: _Bridge) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._bridge = bridge

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> str:
        return self._bridge.report(trial.trial_id, result)

    def on_trial_error(self, tune_controller: object, trial: Trial) -> None:
        self._bridge.lost(trial)


class _Idle(tune.Callback):
    """Lets the search update its display, and reports once if trials wait for resources and none is running."""

    def __init__(self, bridge: _Bridge, notice: Callable[[str], None], notify_after_s: float) -> None:
        self._bridge, self._notice, self._patience_s = bridge, notice, notify_after_s
        self._idle_since: float | None = None
        self._said = False

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._bridge.watchdog.check()

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._bridge.idle()
        self._bridge.watchdog.check()
        if self._said:
            return
        states = {trial.status for trial in trials}
        if Trial.PENDING not in states or Trial.RUNNING in states:
            self._idle_since = None
            return
        now = time.monotonic()
        self._idle_since = now if self._idle_since is None else self._idle_since
        if now - self._idle_since >= self._patience_s:
            self._said = True
            pending = next(trial for trial in trials if trial.status == Trial.PENDING)
            demand = pending.placement_group_factory
            self._notice(waiting(demand.required_resources if demand else {}))


@dataclass(frozen=True)
class RayTuneRunner:
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
        for starts in range(1, MOST_STARTS + 1):
            if source.done:
                return
            gone = self._run_until_ray_is_gone(source, evaluator, is_last=starts == MOST_STARTS)
            if gone is None:
                break
            self.notice(f"{gone}; Ray is restarted, and trials resume from their checkpoints")
        if not source.done:  # Tune stops its loop on Ctrl-C, lets the workers clean up, and returns
            raise KeyboardInterrupt

    def _run_until_ray_is_gone(self, source: TrialSource, evaluator: Evaluator, is_last: bool) -> str | None:
        """Execute until the source is done, or until Ctrl-C; returns what has died if Ray may be restarted."""
        kept = handlers_kept(signal.SIGINT, signal.SIGUSR1)  # Tune does not restore them
        with connection(self._address, self.packages) as is_new, quiet(), kept, Watchdog(self._address) as watchdog:
            on_cluster = self._address is not None
            threads, data_dir = max(1, int(self.cpus_per_trial)), os.environ.get("NAS_DATA_DIR")
            work = evaluator
            bridge = _Bridge(
                source, lambda job: Packed(job, work, threads, on_cluster, data_dir, self.plugins), watchdog
            )
            try:
                parcel = send(self.images) if on_cluster and self.images else None
                work = WithImages(evaluator, parcel) if parcel else evaluator
                self._tune(bridge)
            except (RayGone, Exception) as error:
                gone = watchdog.gone
                if gone is None:
                    if isinstance(error, (RayError, TuneError)):
                        raise RunnerError(f"Ray failed: {first_words(error)}") from error
                    raise
                if bridge.error is None:
                    bridge.all_lost(gone)
                    if on_cluster or not is_new:
                        raise RunnerError(
                            f"{gone}. Nothing is lost; once it is back, the same command continues the study"
                        ) from None
                    if is_last:
                        raise RunnerError(
                            f"{gone} {MOST_STARTS} times. Nothing is lost; the same command continues the study"
                        ) from None
                    return gone
        if bridge.error is not None:
            raise bridge.error
        return None

    def _tune(self, bridge: _Bridge) -> None:
        """Execute in Tune's loop until the source is done, or until Ctrl-C."""
        with ExitStack() as undo:
            # The experiment state that Tune writes is never read.
            notes = undo.enter_context(TemporaryDirectory(prefix="nas-tune-", ignore_cleanup_errors=True))
            if (self._address or "").startswith(CLIENT):
                undo.enter_context(tune_on_a_client(notes))
            # Not `tune.Tuner`: through Ray's client it would run on the cluster, away from the source.
            tune.run(
                EvaluationTrainable,
                name="tune",
                resources_per_trial=self._resources(),
                num_samples=-1,
                storage_path=notes,
                search_alg=_AskSource(bridge),
                scheduler=_TellSource(bridge),
                callbacks=[_Idle(bridge, self.notice, self.notify_after_s)],
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                trial_name_creator=_name,
                trial_dirname_creator=_name,
                reuse_actors=True,
                raise_on_failed_trial=False,
                verbose=0,
                _remote=False,
            )

    def _resources(self) -> dict[str, float]:
        total = ray.cluster_resources()
        gpus = self.gpus_per_trial
        if gpus is None:
            gpus = 1.0 if total.get("GPU", 0) else 0.0
        wanted = {"cpu": self.cpus_per_trial, "gpu": gpus}
        if self._address is None:  # a cluster may still grow, this machine cannot
            check_resources({kind.upper(): amount for kind, amount in wanted.items()}, total)
        return {kind: amount for kind, amount in wanted.items() if amount}

    @property
    def _address(self) -> str | None:
        return cluster_address(self.address)


def _name(trial: Trial) -> str:
    """Tune's name for a trial: the job's key, made unique for jobs that are retried."""
    return f"{trial.config['packed']!r}-{trial.trial_id[-6:]}"

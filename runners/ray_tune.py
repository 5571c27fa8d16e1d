"""The runner that executes jobs on a Ray cluster, through Ray Tune.

Tune places trials, packs fractional GPUs, reuses worker processes and grows autoscaling clusters. It does not decide
and does not remember: a `Searcher` hands out what the source asks to be run, a `TrialScheduler` passes reports on and
stops what the source wants stopped. Nothing of Tune's own experiment state is ever read back.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

# Tune reads these when it is imported or started.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1000000000")
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
os.environ.setdefault("TUNE_WARN_THRESHOLD_S", "60")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
# And its core reads this: else it takes SIGTERM for a crash, prints a stack, and a search cannot stop cleanly.
os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from runners.base import (
    Cause,
    Decision,
    EpochResult,
    Evaluation,
    Evaluator,
    Job,
    Outcome,
    TrialSource,
)
from search_space.errors import RunnerError

CONNECT_TIMEOUT_S = 5.0

Answer = TypeVar("Answer")


class _Packed:
    """A job and what evaluates it, opaque to Tune, which would otherwise flatten, copy and print it."""

    def __init__(self, job: Job, evaluator: Evaluator, threads: int) -> None:
        self.job, self.evaluator, self.threads = job, evaluator, threads

    def __deepcopy__(self, memo: object) -> _Packed:
        return self

    def __repr__(self) -> str:
        return self.job.key


class EvaluationTrainable(tune.Trainable):
    """Advances one evaluation a step; the same process serves many jobs, one after the other."""

    def setup(self, config: dict[str, Any]) -> None:
        import torch

        packed: _Packed = config["packed"]
        torch.set_num_threads(packed.threads)
        self._evaluation: Evaluation | None = Evaluation(packed.job, packed.evaluator)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        if self._evaluation is not None:  # the search has stopped it
            self._evaluation.stop()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        assert self._evaluation is not None
        epochs, outcome = self._evaluation.advance()
        if outcome is not None:
            self._evaluation = None
        return {"epochs": epochs, "outcome": outcome, "done": outcome is not None}

    def cleanup(self) -> None:
        """Let an evaluation write its checkpoint, in case that it was interrupted."""
        evaluation: Evaluation | None = getattr(self, "_evaluation", None)
        if evaluation is not None:
            evaluation.interrupt()
        self._evaluation = None


class _Bridge:
    """Between Tune's callbacks and the source. Tune swallows exceptions in callbacks, so they are kept for later."""

    def __init__(self, source: TrialSource, pack: Callable[[Job], _Packed]) -> None:
        self.source, self.pack = source, pack
        self.error: Exception | None = None
        self.keys: dict[str, str] = {}  # Tune's trial id -> job key
        self.reasons: dict[str, str] = {}  # Tune's trial id -> why its worker was lost

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Tune saves its state as it starts; nobody reads it, and the source cannot be pickled."""
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
                reason = self.reasons.pop(trial_id, "the worker process or its node died")
                self.source.tell(key, Outcome("failed", 0.0, Cause.WORKER_LOST, reason))
                return
            outcome: Outcome | None = result["outcome"]
            if outcome is None:
                outcome = Outcome("stopped", result["time_total_s"])
            elif result["epochs"]:
                self.source.report(key, result["epochs"])
            self.source.tell(key, outcome)

        self._guarded(tell, None)

    def idle(self) -> None:
        self._guarded(self.source.idle, None)

    def _guarded(self, act: Callable[[], Answer], otherwise: Answer) -> Answer:
        if self.error is None:
            try:
                return act()
            except Exception as error:  # noqa: BLE001 (raised again by RayTuneRunner.run)
                self.error = error
        return otherwise


class _AskSource(Searcher):
    """Tune's question for the next trial, and its word of every end."""

    def __init__(self, bridge: _Bridge) -> None:
        super().__init__()
        self._bridge = bridge

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        return cast("dict[str, Any] | None", self._bridge.suggest(trial_id))  # Tune's own type leaves FINISHED out

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._bridge.complete(trial_id, result, error)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the database is the only state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class _TellSource(FIFOScheduler):
    """Tune's word of every report."""

    def __init__(self, bridge: _Bridge) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._bridge = bridge

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> str:
        return self._bridge.report(trial.trial_id, result)

    def on_trial_error(self, tune_controller: object, trial: Trial) -> None:
        self._bridge.reasons[trial.trial_id] = _reason(trial)


class _Idle(tune.Callback):
    def __init__(self, bridge: _Bridge) -> None:
        self._bridge = bridge

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._bridge.idle()


@dataclass(frozen=True)
class RayTuneRunner:
    """Executes jobs on Ray.

    Attributes:
        folder: Where Tune may write; on a cluster a path that all nodes share.
        address: Of a running cluster ("auto", "HOST:PORT"); None for ``RAY_ADDRESS``, else to start Ray here.
        cpus_per_trial: CPU cores a job reserves.
        gpus_per_trial: GPUs a job reserves; None for 1 where the cluster has GPUs, else 0.
    """

    folder: Path
    address: str | None = None
    cpus_per_trial: float = 1.0
    gpus_per_trial: float | None = None

    def check(self) -> None:
        """See whether something listens at the address, or whether this machine has what a job reserves.

        Raises:
            RunnerError: If not.
        """
        address = self._address
        if address is None:
            self._check_resources({"CPU": float(os.cpu_count() or 1), "GPU": self._local_gpus()})
            return
        host, colon, port = address.removeprefix("ray://").rpartition(":")
        if address == "auto":
            return
        if not colon or not port.isdigit():
            raise RunnerError(f"the Ray address is {address!r}; allowed: auto, HOST:PORT, ray://HOST:PORT")
        try:
            socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
        except (OSError, OverflowError) as error:
            raise RunnerError(f"no Ray cluster answers at {address}: {error}") from None

    def run(self, source: TrialSource, evaluator: Evaluator) -> None:
        """Execute until the source is done.

        Raises:
            KeyboardInterrupt: On Ctrl-C, after the workers have written their checkpoints.
            RunnerError: If Ray cannot be reached or started, or a job needs more than there is.
        """
        if source.done:
            return
        with self._ray(), _quiet():
            threads = max(1, int(self.cpus_per_trial))
            bridge = _Bridge(source, lambda job: _Packed(job, evaluator, threads))
            tuner = tune.Tuner(
                tune.with_resources(EvaluationTrainable, self._resources()),
                tune_config=tune.TuneConfig(
                    num_samples=-1,
                    search_alg=_AskSource(bridge),
                    scheduler=_TellSource(bridge),
                    reuse_actors=True,
                    trial_name_creator=_name,
                    trial_dirname_creator=_name,
                ),
                run_config=tune.RunConfig(
                    name="tune",
                    storage_path=str(self.folder.resolve()),
                    verbose=0,
                    callbacks=[_Idle(bridge)],
                    checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                ),
            )
            tuner.fit()
        if bridge.error is not None:
            raise bridge.error
        if not source.done:  # Tune stops its loop on Ctrl-C, lets the workers clean up, and returns
            raise KeyboardInterrupt

    @contextmanager
    def _ray(self) -> Iterator[None]:
        """A connection to Ray; one that existed before is used and left as it is."""
        if ray.is_initialized():
            yield
            return
        address = self._address
        options: dict[str, Any] = {"address": address} if address else {"include_dashboard": False}
        try:
            with _quiet(), _own_sigterm():
                ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
            where = f"no Ray cluster answers at {address}" if address else "Ray could not be started on this machine"
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise RunnerError(f"{where}: {reason}") from None
        try:
            yield
        finally:
            with suppress(KeyboardInterrupt):
                ray.shutdown()

    def _resources(self) -> dict[str, float]:
        total = ray.cluster_resources()
        gpus = self.gpus_per_trial
        if gpus is None:
            gpus = 1.0 if total.get("GPU", 0) else 0.0
        wanted = {"cpu": self.cpus_per_trial, "gpu": gpus}
        if self._address is None:  # a cluster may still grow, this machine cannot
            self._check_resources(total)
        return {kind: amount for kind, amount in wanted.items() if amount}

    def _check_resources(self, total: Mapping[str, float]) -> None:
        for kind, amount in (("CPU", self.cpus_per_trial), ("GPU", self.gpus_per_trial or 0.0)):
            there = total.get(kind, 0.0)
            if amount > there:
                raise RunnerError(f"--{kind.lower()}s-per-trial is {amount:g}, but there are {there:g} {kind}s")

    def _local_gpus(self) -> float:
        if not self.gpus_per_trial:
            return 0.0
        import torch

        return float(torch.cuda.device_count())

    @property
    def _address(self) -> str | None:
        return self.address or os.environ.get("RAY_ADDRESS") or None


def _name(trial: Trial) -> str:
    """Tune's name of a trial: the job's key, made unique for jobs that are tried again."""
    return f"{trial.config['packed']!r}-{trial.trial_id[-6:]}"


def _reason(trial: Trial) -> str:
    """Why Tune gave up on a trial: the last line of the error it keeps in a file."""
    try:
        lines = Path(trial.error_file).read_text(encoding="utf-8").strip().splitlines()
    except (OSError, TypeError):
        lines = []
    return lines[-1][:500] if lines else "the worker process or its node died"


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep what the process does on SIGTERM; Ray would have it exit at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray's notes and warnings, which the user can do nothing about, out of the progress display."""
    for name in ("ray", "ray.tune", "ray.data", "ray.air", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

"""The code that runs in Ray's worker processes.

Tune splits the loop of `runners.execution` in two: a worker advances a job once per step, the driver decides on its
report (`runners.on_ray.runner`), and a decision to stop arrives as the next job or as the end of the worker.
"""

from __future__ import annotations

import os
from typing import Any

from ray import tune

from runners.execution import Execution
from runners.on_ray.losses import located, node_name
from runners.protocol import Cause, Evaluator, Job, Outcome
from search_space.plugins import Plugin


class Packed:
    """A job and its evaluator, opaque to Tune, which would otherwise flatten, copy and print them.

    Args:
        job: The job.
        evaluator: Its evaluator.
        threads: Threads that torch uses.
        on_cluster: Whether to report the node it runs on.
        data_dir: ``NAS_DATA_DIR`` for nodes that have none of their own.
        plugins: Plug-ins that the worker imports.
    """

    def __init__(
        self,
        job: Job,
        evaluator: Evaluator,
        threads: int,
        on_cluster: bool = False,
        data_dir: str | None = None,
        plugins: tuple[Plugin, ...] = (),
    ) -> None:
        self.plugins = plugins  # pickled first: a plug-in is imported on arrival, and the job may use its classes
        self.job, self.evaluator, self.threads = job, evaluator, threads
        self.on_cluster, self.data_dir = on_cluster, data_dir

    def __deepcopy__(self, memo: object) -> Packed:
        return self

    def __repr__(self) -> str:
        return self.job.key


class EvaluationTrainable(tune.Trainable):
    """Advances a job by one portion per step; the same process executes many jobs, one after another."""

    def setup(self, config: dict[str, Any]) -> None:
        from runners.measuring.device import set_threads  # loads torch

        packed: Packed = config["packed"]
        set_threads(packed.threads)
        if packed.data_dir:
            os.environ.setdefault("NAS_DATA_DIR", packed.data_dir)
        self._node = node_name() if packed.on_cluster else ""
        self._problem = next((plugin.problem for plugin in packed.plugins if plugin.problem), "")
        self._execution: Execution | None = Execution(packed.job, packed.evaluator)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        if self._execution is not None:  # the search stopped it
            self._execution.stop()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        assert self._execution is not None
        if self._problem:
            self._execution = None
            return {"epochs": [], "outcome": Outcome("failed", 0.0, Cause.BUG, self._problem), "done": True}
        epochs, outcome = self._execution.advance()
        if outcome is not None:
            self._execution = None
        epochs, outcome = located(epochs, outcome, self._node)
        return {"epochs": epochs, "outcome": outcome, "done": outcome is not None}

    def cleanup(self) -> None:
        """Make a running job write its checkpoint, since the runner was interrupted."""
        execution: Execution | None = getattr(self, "_execution", None)
        if execution is not None:
            execution.interrupt()
        self._execution = None

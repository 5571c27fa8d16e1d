"""What runs in the worker processes of Ray."""

from __future__ import annotations

import os
from typing import Any

from ray import tune

from runners.on_ray.losses import located, node_name
from runners.protocol import Cause, Evaluation, Evaluator, Job, Outcome
from search_space.plugins import Plugin


class Packed:
    """A job and what evaluates it, opaque to Tune, which would otherwise flatten, copy and print it.

    Args:
        job: The job.
        evaluator: What evaluates it.
        threads: Threads that torch uses.
        on_cluster: Whether it matters on which node it runs.
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
        self.plugins = plugins  # pickled first: a plug-in is imported as it arrives, and the job may be of its classes
        self.job, self.evaluator, self.threads = job, evaluator, threads
        self.on_cluster, self.data_dir = on_cluster, data_dir

    def __deepcopy__(self, memo: object) -> Packed:
        return self

    def __repr__(self) -> str:
        return self.job.key


class EvaluationTrainable(tune.Trainable):
    """Advances one evaluation a step; the same process serves many jobs, one after the other."""

    def setup(self, config: dict[str, Any]) -> None:
        import torch

        packed: Packed = config["packed"]
        torch.set_num_threads(packed.threads)
        if packed.data_dir:
            os.environ.setdefault("NAS_DATA_DIR", packed.data_dir)
        self._node = node_name() if packed.on_cluster else ""
        self._problem = next((plugin.problem for plugin in packed.plugins if plugin.problem), "")
        self._evaluation: Evaluation | None = Evaluation(packed.job, packed.evaluator)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        if self._evaluation is not None:  # the search has stopped it
            self._evaluation.stop()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        assert self._evaluation is not None
        if self._problem:
            self._evaluation = None
            return {"epochs": [], "outcome": Outcome("failed", 0.0, Cause.BUG, self._problem), "done": True}
        epochs, outcome = self._evaluation.advance()
        if outcome is not None:
            self._evaluation = None
        epochs, outcome = located(epochs, outcome, self._node)
        return {"epochs": epochs, "outcome": outcome, "done": outcome is not None}

    def cleanup(self) -> None:
        """Let an evaluation write its checkpoint, in case that it was interrupted."""
        evaluation: Evaluation | None = getattr(self, "_evaluation", None)
        if evaluation is not None:
            evaluation.interrupt()
        self._evaluation = None

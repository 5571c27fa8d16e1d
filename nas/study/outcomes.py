"""What is written down of an evaluation, and what a sampler is told of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from nas.strategy.candidates import Known
from nas.strategy.trial import Trial
from results.database.schema import State
from results.report.objectives import Objective
from results.store.store import Ending, Facts
from runners.protocol import INFEASIBLE_CAUSES


def facts(trial: Trial) -> Facts:
    """What was found out about an evaluation besides its epochs."""
    measured = trial.measured
    return Facts(
        latency_ms=measured.latency_ms,
        latency=None if measured.latency is None else asdict(measured.latency),
        peak_memory_mib=measured.peak_memory_mib,
        micro_batch=measured.micro_batch,
        weights_sha256=measured.weights_sha256,
        device=measured.device,
        versions=measured.versions,
    )


def ending(trial: Trial, objectives: Sequence[Objective], seconds: float, message: str = "") -> Ending:
    """The end of an evaluation as the database keeps it.

    Args:
        trial: The evaluation, in its final state.
        objectives: Of the study.
        seconds: To be added to what it has taken so far.
        message: Why it failed.
    """
    attrs: dict[str, object] = {"seconds": round(trial.seconds, 3)}
    values: list[float] | None = None
    if trial.state != State.FAILED and trial.epochs:
        attrs |= {"val_accuracy": trial.figures.accuracy, "val_nll": trial.figures.nll}
        attrs |= {"epochs_trained": trial.epoch}
        if trial.state == State.COMPLETE:
            values = [objective.value(trial.figures) for objective in objectives]
        elif len(objectives) == 1:  # Optuna's convention: a pruned trial has its last intermediate value
            values = [objectives[0].value(trial.figures)]
    if trial.cause is not None:
        attrs["cause"] = trial.cause
    if trial.measured.latency_ms is not None:
        attrs["latency_ms"] = trial.measured.latency_ms
    return Ending(
        **vars(facts(trial)),
        state=trial.state,
        seconds=seconds,
        cause=trial.cause,
        message=message or None,
        values=values,
        attrs=attrs,
    )


def known(trial: Trial, objectives: Sequence[Objective]) -> Known:
    """What the sampler learns of a trial that has ended, or waits."""
    if trial.state == State.FAILED:
        return Known(infeasible=trial.cause in INFEASIBLE_CAUSES)
    first = objectives[0]
    curve = {epoch: loss if first.direction == "minimize" else -loss for epoch, loss in trial.losses.items()}
    if trial.state != State.COMPLETE:
        return Known(curve=curve)
    return Known(values=[objective.value(trial.figures) for objective in objectives], curve=curve)

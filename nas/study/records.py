"""The records that a move of the planner adds to the database, and those of the end of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from nas.strategy.candidates import Known
from nas.strategy.planner import ScoreBatch, Start
from nas.strategy.trial import Trial
from nas.study.spec import StudySpec
from results.database.names import evaluation_key
from results.database.objectives import QUALITY_FIGURES, Objective
from results.database.schema import Role, State
from results.store.records import Ending, Facts, NewEvaluation, attrs_at_end, attrs_at_start
from runners.protocol import INFEASIBLE_CAUSES


def new_trial(spec: StudySpec, start: Start, number: int) -> NewEvaluation:
    """The record of trial `number`."""
    architecture = start.architecture
    choices = {**spec.space.encode(architecture), **spec.tuning.of(architecture)}
    return NewEvaluation(
        key=evaluation_key(Role.TRIAL, number),
        role=Role.TRIAL,
        number=number,
        architecture=architecture,
        origin=start.origin,
        phase=start.phase,
        choices=choices,
        seed=spec.config.seed,
        epochs_planned=spec.recipe.epochs,
        attrs=attrs_at_start(architecture, choices, start.origin, start.phase),
    )


def new_scoring(spec: StudySpec, move: ScoreBatch, number: int) -> NewEvaluation:
    """The record of the scoring of batch `number`."""
    return NewEvaluation(
        key=evaluation_key(Role.PROXIES, number),
        role=Role.PROXIES,
        number=number,
        architecture=move.architectures[0],
        origin=spec.config.parts.ranker,
        phase="proxies",
        choices={},
        seed=spec.config.seed,
        epochs_planned=0,
    )


def new_training(trial: Trial, key: str, seed: int, epochs: int) -> NewEvaluation:
    """The record of the training of a finalist, with a fresh seed."""
    return _repeated(trial, Role.FINALIST, key, seed, epochs)


def new_test(training: Trial, key: str, epochs: int) -> NewEvaluation:
    """The record of the test of a finalist's weights."""
    return _repeated(training, Role.TEST, key, training.seed, epochs)


def _repeated(trial: Trial, role: Role, key: str, seed: int, epochs: int) -> NewEvaluation:
    return NewEvaluation(
        key=key,
        role=role,
        number=trial.number,
        architecture=trial.architecture,
        origin=trial.origin,
        choices=trial.choices,
        seed=seed,
        epochs_planned=epochs,
    )


def facts(trial: Trial) -> Facts:
    """What was measured in addition to the epochs."""
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


def ending(
    trial: Trial, objectives: Sequence[Objective], state: State, cause: str | None = None, message: str = ""
) -> Ending:
    """The record of the end of an evaluation.

    Args:
        trial: The evaluation before its end; its unbilled seconds are added to its total.
        objectives: The objectives of the study.
        state: Its final state.
        cause: Why it failed.
        message: Why it failed, in a sentence.
    """
    values: list[float] | None = None
    trained = trial.figures if state != State.FAILED and trial.epochs else None
    if trained is not None:
        if state == State.COMPLETE:
            values = [objective.value(trained) for objective in objectives]
        elif len(objectives) == 1:  # Optuna's convention: a pruned trial has its last intermediate value
            values = [objectives[0].value(trained)]
    return Ending(
        **vars(facts(trial)),
        state=state,
        seconds=trial.unbilled,
        cause=cause,
        message=message or None,
        values=values,
        attrs=attrs_at_end(
            seconds=trial.seconds + trial.unbilled,
            epochs_trained=None if trained is None else trial.epoch,
            quality={} if trained is None else {name: getattr(trained, name) for name in QUALITY_FIGURES},
            latency_ms=trial.measured.latency_ms,
            cause=cause,
        ),
    )


def known(trial: Trial, objectives: Sequence[Objective]) -> Known:
    """What the sampler learns from a trial that has ended or waits at a rung."""
    if trial.state == State.FAILED:
        return Known(infeasible=trial.cause in INFEASIBLE_CAUSES)
    first = objectives[0]
    curve = {epoch: loss if first.direction == "minimize" else -loss for epoch, loss in trial.losses.items()}
    if trial.state != State.COMPLETE:
        return Known(curve=curve)
    return Known(values=[objective.value(trial.figures) for objective in objectives], curve=curve)

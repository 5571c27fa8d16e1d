"""What is entered in the database for a move of the planner, and what a runner gets to do for an evaluation."""

from __future__ import annotations

from dataclasses import replace

from nas.strategy.planner import ScoreBatch, Start
from nas.strategy.trial import Trial
from nas.study.files import RunFolder
from nas.study.opening import StudySpec
from nas.study.scoring import Scoring
from results.database.names import evaluation_key
from results.database.schema import Role
from results.store.records import NewEvaluation
from runners.protocol import Job
from search_space.space import mixers_of


def new_trial(spec: StudySpec, start: Start, number: int) -> NewEvaluation:
    """Trial `number`, as it enters the database."""
    architecture = start.architecture
    choices = spec.space.encode(architecture)
    return NewEvaluation(
        key=evaluation_key(Role.TRIAL, number),
        role=Role.TRIAL,
        number=number,
        architecture=architecture,
        origin=start.origin,
        stage=start.stage,
        choices=choices,
        seed=spec.config.seed,
        epochs_planned=spec.recipe.epochs,
        attrs={
            "architecture": architecture.hash,
            "mixers": mixers_of(choices),
            "params": architecture.deployed.params,
            "macs": architecture.deployed.macs,
            "origin": start.origin,
            "stage": start.stage,
        },
    )


def new_scoring(spec: StudySpec, move: ScoreBatch, number: int) -> NewEvaluation:
    """The scoring of a batch, as it enters the database."""
    return NewEvaluation(
        key=evaluation_key(Role.PROXIES, number),
        role=Role.PROXIES,
        number=number,
        architecture=move.architectures[0],
        origin=spec.config.parts.ranker,
        stage="proxies",
        choices={},
        seed=spec.config.seed,
        epochs_planned=0,
    )


def job_of(
    trial: Trial,
    spec: StudySpec,
    folder: RunFolder,
    scoring: Scoring,
    rungs: tuple[int, ...],
    training: Trial | None = None,
) -> Job:
    """What a runner gets to do.

    Args:
        trial: The evaluation.
        spec: What is searched for.
        folder: Where weights and checkpoints lie.
        scoring: What is to be scored, for batches of proxies.
        rungs: Where the trial has to wait.
        training: What wrote the weights that are to be tested.
    """
    config = spec.config
    job = Job(trial.key, trial.architecture, spec.data, spec.recipe, trial.seed, device=config.device)
    if trial.role == Role.PROXIES:
        return replace(job, task="score", batch=scoring.batches[trial.key], proxies=scoring.proxies)
    if training is not None:
        written = training.measured.weights_sha256
        return replace(job, task="test", weights=folder.weights(training.key), weights_sha256=written)
    is_trial = trial.role == Role.TRIAL
    return replace(
        job,
        rungs=rungs,
        reported=trial.epoch,
        checkpoint=folder.checkpoint(trial.key),
        weights=folder.weights(trial.key),
        measure_latency=is_trial and (config.max_latency_ms is not None or "latency" in config.objective),
        max_latency_ms=config.max_latency_ms if is_trial else None,
        timeout_s=config.trial_timeout,
        gpus=max(1, int(config.gpus_per_trial or 1)),
    )

"""Handing out jobs: queued evaluations first, then the moves of the planner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from nas.strategy.planner import Move, Planner, Resume, ScoreBatch, Start
from nas.strategy.scoring import Scoring
from nas.strategy.trial import Trial
from nas.study.budget import Budget
from nas.study.evaluations import Evaluations
from nas.study.protocols import Files
from nas.study.records import new_scoring, new_trial
from nas.study.spec import StudySpec
from results.database.schema import Role, State
from runners.protocol import Cause, Job


class Dispatch:
    """Turns queued evaluations and moves of the planner into jobs for a runner.

    Args:
        spec: The study's specification.
        book: All evaluations.
        planner: Knows the rungs of a trial.
        budget: Decides whether a planned trial may still start.
        scoring: Batches of architectures to score.
        files: Where weights and checkpoints are.
        decide: Returns the next move; may queue evaluations instead.

    Attributes:
        ahead: The next move, if it was decided before a runner asked for a job.
    """

    def __init__(
        self,
        spec: StudySpec,
        book: Evaluations,
        planner: Planner,
        budget: Budget,
        scoring: Scoring,
        files: Files,
        decide: Callable[[], Move | None],
    ) -> None:
        self._spec, self._book, self._planner, self._budget = spec, book, planner, budget
        self._scoring, self._files, self._decide = scoring, files, decide
        self.ahead: Move | None = None

    def next_job(self) -> Job | None:
        """Return the next job; None if there is none until a pending evaluation has ended."""
        self._give_up_tests()
        move = None if self._next_queued() else self.peek()  # which may queue finalists and tests
        trial = self._next_queued()
        if trial is not None:
            self._book.resume(trial)
            return self._job(trial)
        if isinstance(move, Resume):
            trial = move.trial
            self._book.resume(trial)
            trial.passed.add(trial.epoch)
        elif isinstance(move, ScoreBatch):
            trial = self._book.start(new_scoring(self._spec, move, len(self._book.of(Role.PROXIES))))
            self._scoring.begin(trial.key, move.architectures)
        elif isinstance(move, Start):
            trial = self._book.start(new_trial(self._spec, move, len(self._book.searched)))
        else:
            return None
        self.ahead = None
        return self._job(trial)

    def peek(self) -> Move | None:
        """Return the next move; None if there is none, or none until a pending evaluation has ended."""
        if self.ahead is None:
            self.ahead = self._decide()
        return self.ahead

    def reconsider(self, changed: Sequence[Trial]) -> None:
        """Drop the next move if changes by other drivers have made it invalid."""
        if changed and not self._still_holds(self.ahead):
            self.ahead = None

    def _still_holds(self, move: Move | None) -> bool:
        if isinstance(move, Start):
            is_new = all(trial.architecture != move.architecture for trial in self._book.searched)
            return self._budget.can_start() and is_new
        return isinstance(move, ScoreBatch)

    def _next_queued(self) -> Trial | None:
        """The oldest queued evaluation that can run; a test waits while its training is repeated."""
        for trial in self._book.queue:
            training = self._book.training_of(trial)
            if training is None or training.state == State.COMPLETE:
                return trial
        return None

    def _give_up_tests(self) -> None:
        """Fail the tests that wait for a failed training."""
        for trial in list(self._book.queue):
            training = self._book.training_of(trial)
            if training is not None and training.state == State.FAILED:
                message = f"its weights were lost, and {training.key} could not be trained again ({training.cause})"
                self._book.finish(trial, State.FAILED, Cause.WEIGHTS, message)

    def _job(self, trial: Trial) -> Job:
        config, files = self._spec.config, self._files
        spec, device = self._spec, config.training_device
        job = Job(trial.key, trial.architecture, spec.data, spec.recipe_of(trial.choices), trial.seed, device=device)
        if trial.role == Role.PROXIES:
            batch = self._scoring.batches[trial.key]
            return replace(job, task="score", batch=batch, proxies=self._scoring.proxies)
        training = self._book.training_of(trial)
        if training is not None:
            written = training.measured.weights_sha256
            return replace(job, task="test", weights=files.weights(training.key), weights_sha256=written)
        is_trial = trial.role == Role.TRIAL
        return replace(
            job,
            rungs=self._planner.rungs(trial) if is_trial else (),  # finalists are trained in full
            reported=trial.epoch,
            checkpoint=files.checkpoint(trial.key),
            weights=files.weights(trial.key),
            measure_latency=is_trial and config.measures_latency,
            latency_target=config.latency_target,
            max_latency_ms=config.max_latency_ms if is_trial else None,
            timeout_s=config.trial_timeout,
            gpus=max(1, int(config.gpus_per_trial or 1)),
        )

"""The search: it gives jobs to a runner, and receives their outcomes.

A study has three phases. Each begins when nothing of the previous one is running any more:

    trials     what the planner starts and resumes (`nas.strategy.planner`), until the budget is spent
    finalists  the best trials trained again in full with fresh seeds, ranked by the mean of the first objective
    test       the winner's models evaluated on the test split

All state that matters is in the database before a job is handed out, and as soon as anything is reported. So opening
the same study again continues it. Several processes may search the same study: each reads what the others have changed,
and makes no decision on outdated information; see `results.store.driver`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from nas.strategy.planner import Move, Planner, ScoreBatch
from nas.strategy.scoring import Scoring
from nas.strategy.trial import Trial
from nas.study.budget import Budget
from nas.study.dispatch import Dispatch
from nas.study.drivers import OtherDrivers
from nas.study.evaluations import Evaluations
from nas.study.failure_limits import FailureLimits
from nas.study.finalists import Finalists
from nas.study.protocols import Files, Study
from nas.study.records import known
from nas.study.spec import StudySpec
from results.database.names import evaluation_key
from results.database.schema import Role, State
from results.store.driver import Outdated
from runners.protocol import Cause, Decision, EpochResult, Job, Measured, Outcome
from search_space.architecture import Architecture
from search_space.errors import LeaseLost, StorageError
from search_space.signals import uninterrupted

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 5
"""Number of attempts after which an evaluation whose worker dies has failed; arbitrary."""
SEED_OF_NEXT_DRIVER = 7919
"""Distance between the seeds of concurrent drivers; an arbitrary prime."""


class Search:
    """One run of a study; a `runners.protocol.TrialSource`.

    Args:
        spec: The study's specification.
        study: Where everything is stored.
        folder: Where weights and checkpoints are.
        on_change: Called after every change, for a progress display.
        on_notice: Called with a sentence that the user should see.

    Attributes:
        book: All evaluations, those of earlier runs included.
        planner: Decides which trials to start and resume.
        budget: The limits of the search, and what is left.
        scoring: Scores by training-free proxies.
        others: Other drivers of the same study.
        finalists: The trials that are trained again.
        dispatch: Hands out jobs.
        finished_here: How many evaluations have ended, or paused at a rung, in this run.
    """

    def __init__(
        self,
        spec: StudySpec,
        study: Study,
        folder: Files,
        on_change: Callable[[Search], None] = lambda _: None,
        on_notice: Callable[[str], None] = log.warning,
    ) -> None:
        self.spec, self.study, self.folder, self.config = spec, study, folder, spec.config
        self._on_change, self._on_notice = on_change, on_notice
        self._failure_limits = FailureLimits()
        self.started, self.finished_here = time.monotonic(), 0
        self.driver = study.drive()
        self.book = Evaluations(spec, self.driver, folder)
        self.scoring = Scoring(self.config.parts.scored_by, spec.scoring_context, study.store)
        others = self.driver.take_over()
        changed = self.book.merge()
        problem = replace(spec.problem, seed=self.config.seed + SEED_OF_NEXT_DRIVER * others)
        self.planner = Planner(problem, self.book.searched, self.scoring)
        self.budget = Budget(self.config, spec.recipe.epochs, self.book, self.planner)
        self.finalists = Finalists(spec, study, self.driver, self.book, self.budget, self.planner.ranking)
        self.dispatch = Dispatch(
            spec, self.book, self.planner, self.budget, self.scoring, folder, decide=self._decide_next
        )
        self.others = OtherDrivers(
            self.driver, self.book, self.planner, self.scoring, self._learn, self._reconsider, count=others
        )
        self.others.apply(changed)

    @property
    def phase(self) -> str:
        """The current phase of the study: trials, finalists or test."""
        roles = {trial.role for trial in self.book.pending}
        if self.finalists.chosen is None and Role.FINALIST not in roles:
            return "trials"
        return "test" if Role.TEST in roles else "finalists"

    def choice(self) -> Architecture | None:
        """The winner, once it is decided; until then the most promising trial, a complete one if there is any."""
        winner = next((row for row in self.study.finalists() if row.rank == 1), None)
        if winner is not None:
            return self.book.by_key[evaluation_key(Role.TRIAL, winner.number)].architecture
        searched = self.book.searched
        complete = [trial for trial in searched if trial.state == State.COMPLETE]
        best = self.planner.ranking.best(complete or searched, 1)
        return best[0].architecture if best else None

    # TrialSource: every step is one of these.

    @property
    def done(self) -> bool:
        """Whether nothing is left to hand out, and nothing is running."""
        with uninterrupted():
            return self.others.retry_if_outdated(lambda: self.dispatch.peek() is None and not self.book.pending)

    @uninterrupted()
    def ask(self) -> Job | None:
        """Return the next job; None if there is none until a pending evaluation has ended."""
        self.others.poll()
        job = self.others.retry_if_outdated(self.dispatch.next_job)
        if job is not None:
            self._on_change(self)
        return job

    @uninterrupted()
    def report(self, key: str, epochs: Sequence[EpochResult]) -> Decision:
        """Record new epochs, and decide at a rung whether the training continues."""
        trial = self.book.by_key[key]
        self.book.record(trial, epochs)
        decision = self.others.retry_if_outdated(lambda: self._decide(trial))
        self._on_change(self)
        return decision

    @uninterrupted()
    def tell(self, key: str, outcome: Outcome) -> None:
        """Record the outcome of an evaluation: it pauses at a rung, is queued again, or has ended."""
        trial = self.book.by_key[key]
        trial.unbilled = max(trial.unbilled, outcome.seconds)
        if self._is_continued(trial, outcome):
            return
        if outcome.cause == Cause.WEIGHTS:
            if self._can_reach_weights(trial):  # then the worker's machine cannot
                outcome = replace(outcome, cause=Cause.DATA)
            elif self.others.retry_if_outdated(lambda: self._train_again(trial, outcome.message)):
                return
        if outcome.measured != Measured():
            trial.measured = outcome.measured
        if outcome.status == "stopped":
            self._pause(trial)
        else:
            self._finish(trial, outcome)

    @uninterrupted()
    def idle(self) -> None:
        """Follow other drivers; a runner calls this repeatedly while it waits."""
        self.others.poll_if_due()
        self._on_change(self)

    @uninterrupted()
    def close(self) -> None:
        """Queue what is still running here, and delete the checkpoints of trials that have ended."""
        with suppress(LeaseLost, StorageError):  # other drivers queue it when this lease has expired
            for key in sorted(self.book.here):
                with suppress(Outdated):  # the connection failed, and its end was recorded without an answer
                    self.book.requeue(self.book.by_key[key])
        self.driver.leave(self.folder.sweep)

    # Phases.

    def _decide_next(self) -> Move | None:
        """Return the next move of the trials; None if there is none, which may queue finalists or tests."""
        if self.finalists.chosen is None:
            move: Move | None = self.planner.next(self.budget.can_start, self.budget.can_resume)
            if move is None and not self.book.pending and (self.budget.has_compute_to_use_up or self.book.best is None):
                move = self.planner.last_resort(self.budget.can_resume)
            if isinstance(move, ScoreBatch) and self.scoring.look_up(move.architectures):
                return self._decide_next()
            if move is not None:
                return move
        if not self.book.pending:
            self._queue_next_phase()
        return None

    def _queue_next_phase(self) -> None:
        """Queue the trainings of finalists after the trials, and the test of the winner after those."""
        if self.finalists.chosen is None:
            self._prune_waiting()
            chosen = self.finalists.choose()
            self.book.enqueue(self.finalists.trainings(chosen))  # fails if others have chosen in the meantime
            self.finalists.enter(chosen)
        if not self.book.queue:
            self.book.enqueue(self.finalists.tests())
        if not self.book.queue:
            self.finalists.record_test()

    def _prune_waiting(self) -> None:
        """Prune the trials that still wait at a rung, as no trial will be resumed."""
        for trial in self.book.searched:
            if trial.state == State.PAUSED:
                self.book.finish(trial, State.PRUNED)
                self.folder.discard(trial.key)

    def _reconsider(self, changed: Sequence[Trial]) -> None:
        self.dispatch.reconsider(changed)
        self.finalists.reconsider(changed)

    # Decisions about one evaluation.

    def _decide(self, trial: Trial) -> Decision:
        if not self._is_at_rung(trial):
            return Decision.CONTINUE
        if self.planner.is_promoted(trial) and self.budget.can_resume(trial):
            if self.study.is_shared:  # another driver may have spent the same compute on another promotion
                self.driver.decide()
            trial.passed.add(trial.epoch)
            return Decision.CONTINUE
        return Decision.STOP

    def _is_at_rung(self, trial: Trial) -> bool:
        """Whether a trial has reached a rung, and has not been promoted."""
        if trial.role != Role.TRIAL:
            return False
        return trial.epoch in self.planner.rungs(trial) and trial.epoch not in trial.passed

    def _is_continued(self, trial: Trial, outcome: Outcome) -> bool:
        """Handle an interruption that the evaluation did not cause; returns whether it was one.

        Raises:
            StorageError: If there was no room for a checkpoint.
        """
        if outcome.cause == Cause.STORAGE:
            self.book.requeue(trial)
            reason = f"{trial.key} was stopped: {outcome.message}"
            raise StorageError(f"{reason}. Nothing is lost; the same command continues the study")
        worker_died = outcome.cause == Cause.WORKER_LOST
        if not worker_died and outcome.cause != Cause.NODE_LOST:
            return False
        if self._is_at_rung(trial):  # it had finished its epochs until the rung
            self._pause(trial)
        elif worker_died and trial.attempts >= MAX_ATTEMPTS:
            return False
        else:
            self.book.requeue(trial, worker_died=worker_died)
        return True

    def _pause(self, trial: Trial) -> None:
        self.book.pause(trial)
        self.finished_here += 1
        self._failure_limits.reset(trial)
        self._learn(trial)
        self._on_change(self)

    def _finish(self, trial: Trial, outcome: Outcome) -> None:
        if trial.role == Role.PROXIES:
            self.scoring.learn(trial.key, outcome)
        message = outcome.message
        if outcome.status != "complete":
            self.book.finish(trial, State.FAILED, outcome.cause or Cause.BUG, message)
        elif not trial.epochs and trial.role != Role.PROXIES:
            message = "the evaluation ended without an epoch"
            self.book.finish(trial, State.FAILED, Cause.BUG, message)
        else:
            self.book.finish(trial, State.COMPLETE, message=message)
        self.finished_here += 1
        self._learn(trial)
        self._failure_limits.check(trial, message, self.book.searched, self.config.max_latency_ms)
        self._on_change(self)

    def _learn(self, trial: Trial) -> None:
        """Learn from a trial that has ended or waits at a rung."""
        if trial.role == Role.TRIAL:
            self.planner.learn(trial, known(trial, self.config.objectives))
            if trial.state != State.PAUSED:
                self.book.kept.add(trial)

    def _can_reach_weights(self, test: Trial) -> bool:
        """Whether the weights to be tested can be read from here, unchanged."""
        training = self.book.training_of(test)
        return training is not None and self.folder.has_weights(training.key, training.measured.weights_sha256)

    def _train_again(self, test: Trial, message: str) -> bool:
        """Queue a training whose weights were lost before their test; False if it has had too many attempts."""
        training = self.book.training_of(test)
        if training is None or training.attempts >= MAX_ATTEMPTS:
            return False
        self.book.train_again(training, test)
        self._on_notice(f"{training.key} is trained again, because its weights were lost: {message}")
        self._on_change(self)
        return True

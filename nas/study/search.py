"""The search itself: it decides what to evaluate next, when to stop it, and which architecture wins.

`Search` is a `runners.protocol.TrialSource`: a runner asks it for jobs and tells it what became of them. A study goes
through three phases, and each begins where the one before has nothing running any more:

    trials     what the planner starts and lets go on (`nas.strategy.planner`), until the budget is spent
    finalists  the best ones trained in full again with several seeds, ranked by the mean of the first objective
    test       the winner's models evaluated on the test split

All state that matters is in the database before anything is handed out and as soon as anything is reported. Opening the
same study again rebuilds the rest, queues what was running, and goes on. Several processes may search the same study:
each takes in what the others have changed, and decides on nothing that it has not seen; see `results.store.driver`.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from nas.strategy.planner import Move, Planner, Resume, ScoreBatch, Start
from nas.strategy.scoring import Scoring
from nas.strategy.trial import Trial
from nas.study import finalists
from nas.study.compute import Compute
from nas.study.failure_limits import FailureLimits
from nas.study.files import RunFolder
from nas.study.jobs import job_of, new_scoring, new_trial
from nas.study.kept_weights import BestTrials
from nas.study.opening import StudySpec
from nas.study.outcomes import ending, facts, known
from nas.study.signals import uninterrupted
from results.database.damage import architecture_of
from results.database.names import evaluation_key
from results.database.schema import EpochRow, EvaluationRow, damaged
from results.store.driver import Outdated
from results.store.store import FINAL_STATES, Ending, EpochRecord, NewEvaluation, Role, State, StudyStore
from runners.protocol import Cause, Decision, EpochResult, Job, Measured, Outcome
from search_space.architecture import Architecture
from search_space.errors import LeaseLost, StorageError

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 5
"""How many worker processes an evaluation may cost before it counts as lost."""
LOOK_EVERY_S = 1.0
"""How often others are looked after while nothing else happens."""

Answer = TypeVar("Answer")


class Search:
    """One run of a study; see the module's description.

    Args:
        question: What is searched for.
        study: Where everything is stored.
        folder: Where weights and checkpoints lie.
        on_change: Called after every change, for a progress display.
        on_notice: Called with a sentence that the user should see.

    Attributes:
        trials: All evaluations by key, earlier runs included.
        searched: The trials among them, in order.
        scoring: Their scores by proxies.
        planner: What decides about trials.
        others: How many other drivers are at work on the study.
        finalists: The trials that are trained again; None while that is open.
    """

    def __init__(
        self,
        spec: StudySpec,
        study: StudyStore,
        folder: RunFolder,
        on_change: Callable[[Search], None] = lambda _: None,
        on_notice: Callable[[str], None] = log.warning,
    ) -> None:
        self.spec, self.study, self.folder = spec, study, folder
        self.driver = study.drive()
        self.config = spec.config
        self.objectives = self.config.objectives
        self.started = time.monotonic()
        self.finished_here = 0
        self._failure_limits = FailureLimits()
        self.trials: dict[str, Trial] = {}
        self.searched: list[Trial] = []
        self._pending: dict[str, Trial] = {}
        self._best = BestTrials(self.objectives, folder)
        self._compute = Compute(spec.recipe.epochs)
        self._on_change, self._on_notice = on_change, on_notice
        self._axes = {axis.name: axis for axis in spec.space.axes}
        self._queue: deque[Trial] = deque()  # what anybody may run
        self._here: set[str] = set()  # keys of what runs here
        self.finalists: list[Trial] | None = None
        self._ahead: Move | None = None  # what comes next, if that was asked for
        self._looked_at = self.started
        self.scoring = Scoring(spec.config.parts.scored_by, spec.scoring_context, study.store)
        self.others = self.driver.take_over()
        changed = self._merge()
        # Drivers that search side by side draw differently.
        problem = replace(spec.problem, seed=self.config.seed + 7919 * self.others)
        self.planner = Planner(problem, self.searched, self.scoring)
        self._take_in(changed)

    # What stands where.

    def of(self, role: Role, *states: State) -> list[Trial]:
        """The evaluations of a role, in these states if any are named."""
        return [trial for trial in self.trials.values() if trial.role == role and (not states or trial.state in states)]

    @property
    def spent(self) -> int:
        """Distinct architectures that count towards the budget: all but those rejected as too slow."""
        return sum(1 for trial in self.searched if trial.cause != Cause.TOO_SLOW)

    @property
    def fte(self) -> float:
        """Compute spent so far, in full-training equivalents; see `nas.study.compute`."""
        return self._compute.fte

    @property
    def pending(self) -> list[Trial]:
        """Evaluations that are running or queued."""
        return list(self._pending.values())

    @property
    def best(self) -> Trial | None:
        """The complete trial with the best quality."""
        return self._best.best

    def choice(self) -> Architecture | None:
        """What would be delivered if the search ended now: the winner, else the best complete trial, else the best."""
        winner = next((row for row in self.study.finalists() if row.rank == 1), None)
        if winner is not None:
            return self.trials[evaluation_key(Role.TRIAL, winner.number)].architecture
        complete = [trial for trial in self.searched if trial.state == State.COMPLETE]
        best = self.planner.ranking.best(complete or self.searched, 1)
        return best[0].architecture if best else None

    def loss(self, trial: Trial) -> float:
        """The first objective of a trial, turned so that less is better."""
        return self.objectives[0].loss(trial.figures)

    def losses(self, trial: Trial) -> list[float]:
        """All objectives of a trial, turned so that less is better."""
        return [objective.loss(trial.figures) for objective in self.objectives]

    @property
    def phase(self) -> str:
        """Which phase the study is in: trials, finalists or test."""
        if self.finalists is None and not any(trial.role == Role.FINALIST for trial in self.pending):
            return "trials"
        return "test" if any(trial.role == Role.TEST for trial in self.pending) else "finalists"

    # TrialSource.

    @property
    def done(self) -> bool:
        with uninterrupted():
            return self._consistently(lambda: self._peek() is None and not self._pending)

    @uninterrupted()
    def ask(self) -> Job | None:
        self._look_around()
        return self._consistently(self._hand_out)

    @uninterrupted()
    def report(self, key: str, epochs: Sequence[EpochResult]) -> Decision:
        trial = self.trials[key]
        self._record(trial, epochs)
        decision = self._consistently(lambda: self._decide(trial))
        self._on_change(self)
        return decision

    @uninterrupted()
    def tell(self, key: str, outcome: Outcome) -> None:
        trial = self.trials[key]
        lost = outcome.cause in (Cause.WORKER_LOST, Cause.NODE_LOST)
        if lost and self._is_at_rung(trial):  # it was done with what it had to do
            self._pause(trial, max(outcome.seconds, trial.unbilled))
            return
        if outcome.cause == Cause.STORAGE:  # nothing is wrong with it: it goes on once there is room
            trial.unbilled = max(trial.unbilled, outcome.seconds)
            self._requeue(trial, died=False)
            self._queue.append(trial)
            raise StorageError(f"{key} was stopped: {outcome.message}. Nothing is lost; the same command goes on")
        if outcome.cause == Cause.NODE_LOST or (lost and trial.attempts < MAX_ATTEMPTS):
            trial.unbilled = max(trial.unbilled, outcome.seconds)
            self._requeue(trial, died=outcome.cause == Cause.WORKER_LOST)  # a node's end is not its doing
            self._queue.append(trial)
            return
        if outcome.cause == Cause.WEIGHTS:
            if self._can_reach_weights(trial):  # so it is the worker's machine that cannot
                outcome = replace(outcome, cause=Cause.DATA)
            elif self._consistently(lambda: self._train_again(trial, outcome)):
                return
        if outcome.measured != Measured():
            trial.measured = outcome.measured
        seconds = max(outcome.seconds, trial.unbilled)
        if outcome.status == "stopped":
            self._pause(trial, seconds)
            return
        if trial.role == Role.PROXIES:
            self.scoring.learn(key, outcome)
        state = State.COMPLETE if outcome.status == "complete" else State.FAILED
        message = outcome.message
        if state == State.COMPLETE and not trial.epochs and trial.role != Role.PROXIES:
            state, message = State.FAILED, "the evaluation ended without an epoch"
        trial.state, trial.seconds = state, trial.seconds + seconds
        trial.cause = (outcome.cause or Cause.BUG) if state == State.FAILED else None
        self.driver.finish(key, ending(trial, self.objectives, seconds, message))
        self._ended_here(trial)
        self.folder.discard_checkpoint(key)
        self.finished_here += 1
        self._learn(trial)
        self._failure_limits.check(trial, message, self.searched, self.config.max_latency_ms)
        self._on_change(self)

    def _can_reach_weights(self, test: Trial) -> bool:
        """Whether the weights that are to be tested are there as they were written, seen from here."""
        training = finalists.training_of(self, test)
        return training is not None and self.folder.has_weights(training.key, training.measured.weights_sha256)

    def _train_again(self, test: Trial, outcome: Outcome) -> bool:
        """Queue the training whose weights were lost before they were tested; whether that may still help."""
        training = finalists.training_of(self, test)
        if training is None or training.attempts >= MAX_ATTEMPTS:
            return False
        seconds = max(outcome.seconds, test.unbilled)
        self.driver.train_again(training.key, test.key, seconds)
        training.forget()
        training.state, training.attempts = State.QUEUED, training.attempts + 1
        test.state, test.seconds, test.unbilled = State.QUEUED, test.seconds + seconds, 0.0
        self._here.discard(test.key)
        self._pending[training.key] = training
        self._queue.extend((training, test))
        self._on_notice(f"{training.key} is trained again, because its weights were lost: {outcome.message}")
        self._on_change(self)
        return True

    @uninterrupted()
    def idle(self) -> None:
        if time.monotonic() - self._looked_at >= LOOK_EVERY_S:
            self._look_around()
        self._on_change(self)

    @uninterrupted()
    def close(self) -> None:
        """Queue what is running, in case that the runner was stopped, and delete checkpoints that nobody needs."""
        with suppress(LeaseLost, StorageError):  # then others queue it, once this lease has lapsed
            for key in sorted(self._here):
                with suppress(Outdated):  # it was not known that it has ended: the connection broke
                    self._requeue(self.trials[key], died=False)
        self.driver.leave(self.folder.sweep)

    def _requeue(self, trial: Trial, *, died: bool) -> None:
        self.driver.set_pending(trial.key, State.QUEUED, seconds=trial.unbilled, died=died)
        trial.state, trial.attempts = State.QUEUED, trial.attempts + died
        trial.seconds, trial.unbilled = trial.seconds + trial.unbilled, 0.0
        self._here.discard(trial.key)

    # Other drivers.

    def _consistently(self, act: Callable[[], Answer]) -> Answer:
        """Decide on what is known, and once more whenever another driver was quicker."""
        while True:
            try:
                return act()
            except Outdated:
                self._take_in(self._merge())

    def _look_around(self) -> None:
        """Take in what others have changed, and take over from those that are gone."""
        self._looked_at = time.monotonic()
        self.others = self.driver.take_over()
        self._take_in(self._merge())

    def _merge(self) -> list[Trial]:
        """Bring the evaluations up to date; returns those that stand differently now."""
        changes = self.driver.changes()
        changed = [row.key for row in changes.evaluations if self._update(row, changes.curves.get(row.key, ()))]
        return [self.trials[key] for key in changed]

    def _update(self, row: EvaluationRow, curve: Sequence[EpochRow]) -> bool:
        """Bring an evaluation up to date; returns whether it is new or stands differently now."""
        trial = self.trials.get(row.key)
        stood = None if trial is None else (trial.state, trial.epoch, trial.is_orphan)
        if trial is None:
            trial = self.trials[row.key] = Trial(row, architecture_of(row.architecture))
            self._list(trial)
        known_epochs, epochs_run = len(trial.epochs), trial.epochs_run
        trial.update(row, curve, self.objectives[0])
        for epoch in trial.epochs[known_epochs:]:
            self._compute.time(trial, epoch)
        self._compute.run(trial, trial.epochs_run - epochs_run)
        return stood != (trial.state, trial.epoch, trial.is_orphan)

    def _take_in(self, changed: Sequence[Trial]) -> None:
        """Decide what becomes of what others have changed, or an earlier run has left."""
        for trial in changed:
            if trial in self._queue:
                self._queue.remove(trial)
            self._pending.pop(trial.key, None)
            self._here.discard(trial.key)
            if trial.role == Role.TRIAL:
                self.planner.entered(trial)
            with suppress(Outdated):  # another driver has taken it up; that comes with the next changes
                self._take_up(trial)
            if trial.state in FINAL_STATES or trial.state == State.PAUSED:
                self._learn(trial)
            else:
                self._pending[trial.key] = trial
        if changed and not self._still_holds(self._ahead):
            self._ahead = None
        if self.finalists is not None and any(self._is_news(trial, self.finalists) for trial in changed):
            self.finalists = None

    @staticmethod
    def _is_news(trial: Trial, chosen: Sequence[Trial]) -> bool:
        """Whether finalists were chosen without knowing of this."""
        if trial.role == Role.FINALIST:
            return all(trial.number != finalist.number for finalist in chosen)
        return trial.role == Role.TRIAL

    def _still_holds(self, move: Move | None) -> bool:
        """Whether what was to come next may still come."""
        if isinstance(move, Start):
            return self._can_start() and all(trial.architecture != move.architecture for trial in self.searched)
        return isinstance(move, ScoreBatch)

    # What comes next.

    def _hand_out(self) -> Job | None:
        self._give_up_tests()
        move = None if self._next_queued() else self._peek()  # which may queue finalists and tests
        waiting = self._next_queued()
        if waiting is not None:
            job = self._run_again(waiting)
            self._queue.remove(waiting)
            return job
        if isinstance(move, Resume):
            job = self._run_again(move.trial)
            move.trial.passed.add(move.trial.epoch)
        elif isinstance(move, ScoreBatch):
            job = self._run(new_scoring(self.spec, move, self._compute.scorings), move.architectures)
        elif isinstance(move, Start):
            job = self._run(new_trial(self.spec, move, len(self.searched)))
        else:
            return None
        self._ahead = None
        return job

    def _next_queued(self) -> Trial | None:
        """What has waited longest and may run: a test waits for a training that is repeated."""
        for trial in self._queue:
            training = finalists.training_of(self, trial)
            if training is None or training.state == State.COMPLETE:
                return trial
        return None

    def _give_up_tests(self) -> None:
        """End the tests that wait for a training which has failed."""
        for trial in list(self._queue):
            training = finalists.training_of(self, trial)
            if training is not None and training.state == State.FAILED:
                message = f"its weights were lost, and {training.key} could not be trained again ({training.cause})"
                end = Ending(state=State.FAILED, seconds=0.0, cause=Cause.WEIGHTS, message=message)
                self.driver.finish(trial.key, end)
                trial.state, trial.cause = State.FAILED, Cause.WEIGHTS
                self._queue.remove(trial)
                del self._pending[trial.key]

    def _peek(self) -> Move | None:
        """What comes next; None if there is nothing, or nothing until a pending evaluation has been told."""
        if self._ahead is None:
            self._ahead = self._decide_next()
        return self._ahead

    def _decide_next(self) -> Move | None:
        if self.finalists is None:
            move = self.planner.next(self._can_start, self._can_resume)
            if move is None and not self._pending and (self._has_compute_left or self.best is None):
                move = self.planner.last_chance(self._can_resume)
            if isinstance(move, ScoreBatch) and self.scoring.look_up(move.architectures):
                return self._decide_next()
            if move is not None:
                return move
        if not self._pending:
            self._plan_ahead()
        return None

    @property
    def _has_compute_left(self) -> bool:
        """Whether it is the limit on compute, not the budget, that ends the trials: then what is left of it is used."""
        return self.config.max_fte is not None and (self.planner.exhausted or self.spent < self.config.budget)

    def _can_start(self) -> bool:
        """Whether there is budget for a new trial, and compute for it and for its going on where it is good."""
        return self.spent < self.config.budget and self._affordable(1.0)

    def _can_resume(self, trial: Trial) -> bool:
        return self._affordable(1.0 - trial.epoch / self.spec.recipe.epochs, besides=trial)

    def _affordable(self, fte: float, besides: Trial | None = None) -> bool:
        """Whether so much compute is left for a trial beside the others that run and what the finalists need."""
        if self.config.max_fte is None:
            return True
        epochs = self.spec.recipe.epochs
        running = sum(
            min([rung for rung in self._rungs(trial) if rung > trial.epoch], default=epochs) - trial.epoch
            for trial in self._pending.values()
            if trial.role == Role.TRIAL and trial is not besides
        )
        left = self.config.max_fte - finalists.reserve(self.config) - self.fte - running / epochs
        return fte <= left + 1e-9

    def _plan_ahead(self) -> None:
        """The trials are over: plan finalists and, once those are over too, the test of the winner."""
        if self.finalists is None:
            self._prune_waiting()
            chosen = finalists.choose(self)
            self._enqueue(finalists.trainings(self, chosen))  # or else others have chosen meanwhile
            finalists.enter(self, chosen)
            self.finalists = chosen
        if not self._queue:
            self._enqueue(finalists.tests(self, self.finalists))
        if not self._queue:
            finalists.record_test(self)

    def _enqueue(self, news: Iterable[NewEvaluation]) -> None:
        """Enter evaluations for whoever has time for them."""
        entered = list(news)
        if not entered:
            return
        self.driver.enqueue(entered, self._axes)
        for new in entered:
            trial = self.trials[new.key] = self._pending[new.key] = Trial(new, new.architecture)
            trial.state = State.QUEUED
            self._queue.append(trial)

    def _prune_waiting(self) -> None:
        """The trials are over: whoever still waits was pruned."""
        for trial in self.searched:
            if trial.state == State.PAUSED:
                trial.state = State.PRUNED
                try:
                    self.driver.finish(trial.key, ending(trial, self.objectives, 0.0))
                except Outdated:
                    trial.state = State.PAUSED
                    raise
                self.folder.discard(trial.key)

    def _run(self, new: NewEvaluation, batch: tuple[Architecture, ...] = ()) -> Job:
        self.driver.start(new, self._axes)
        if batch:
            self.scoring.begin(new.key, batch)
        trial = self.trials[new.key] = self._pending[new.key] = Trial(new, new.architecture)
        self._here.add(new.key)
        self._list(trial)
        self._on_change(self)
        return self._job(trial)

    def _list(self, trial: Trial) -> None:
        """Put an evaluation on the list of those of its kind."""
        if trial.role == Role.TRIAL:
            if trial.number != len(self.searched):  # numbers are places in this list
                reason = f"the study {self.study.name!r} has no trial {len(self.searched)}, but {trial.key}"
                raise damaged("nas_evaluations", trial.key, "number", reason)
            self.searched.append(trial)
        elif trial.role == Role.PROXIES:
            self._compute.score(trial)

    def _run_again(self, trial: Trial) -> Job:
        self.driver.set_pending(trial.key, State.RUNNING)
        trial.state = State.RUNNING
        self._pending[trial.key] = trial
        self._here.add(trial.key)
        return self._job(trial)

    def _job(self, trial: Trial) -> Job:
        training = finalists.training_of(self, trial)
        return job_of(trial, self.spec, self.folder, self.scoring, self._rungs(trial), training)

    # What came back.

    def _ended_here(self, trial: Trial) -> None:
        del self._pending[trial.key]
        self._here.discard(trial.key)

    def _learn(self, trial: Trial) -> None:
        """Draw the consequences of a trial that has ended, or waits."""
        if trial.role == Role.TRIAL:
            self.planner.learn(trial, known(trial, self.objectives))
            if trial.state != State.PAUSED:
                self._best.add(trial)

    def _pause(self, trial: Trial, seconds: float) -> None:
        """It waits at a rung, and its checkpoint with it."""
        trial.state, trial.seconds, trial.unbilled = State.PAUSED, trial.seconds + seconds, 0.0
        self.driver.set_pending(trial.key, State.PAUSED, seconds=seconds, facts=facts(trial))
        self.finished_here += 1
        self._failure_limits.went_well(trial)
        self._ended_here(trial)
        self.planner.learn(trial, known(trial, self.objectives))
        self._on_change(self)

    def _record(self, trial: Trial, epochs: Iterable[EpochResult]) -> None:
        """Store new epochs; ones that are known already (a restart without a checkpoint) are dropped."""
        last = trial.epochs[-1].epoch if trial.epochs else 0
        records: list[EpochRecord] = []
        repeated = 0
        for epoch in epochs:
            trial.measured = epoch.measured or trial.measured
            trial.unbilled += epoch.seconds
            trial.epochs_run += 1
            self._compute.run(trial, 1)
            if epoch.epoch > last:
                records.append(EpochRecord(epoch.epoch, epoch.train_loss, epoch.nll, epoch.accuracy, epoch.seconds))
            else:
                repeated += 1
        if repeated:
            self.driver.add_repeated(trial.key, repeated)
        if not records:
            return
        quality: dict[int, float] = {}
        for record in records:
            trial.epochs.append(record)
            trial.losses[record.epoch] = self.loss(trial)
            self._compute.time(trial, record)
            quality[record.epoch] = self.objectives[0].value(trial.figures)
        self.driver.add_epochs(trial.key, records, quality if len(self.objectives) == 1 else {})

    def _decide(self, trial: Trial) -> Decision:
        if not self._is_at_rung(trial):
            return Decision.CONTINUE
        if self.planner.is_promoted(trial) and self._can_resume(trial):
            if self.study.store.is_shared:  # others may have let a trial go on meanwhile, with the same compute
                self.driver.decide()
            trial.passed.add(trial.epoch)
            return Decision.CONTINUE
        return Decision.STOP

    def _is_at_rung(self, trial: Trial) -> bool:
        """Whether a trial has come to a rung and has not been let go on."""
        return trial.epoch in self._rungs(trial) and trial.epoch not in trial.passed

    def _rungs(self, trial: Trial) -> tuple[int, ...]:
        """Where a trial may have to wait; finalists are trained in full."""
        return self.planner.rungs(trial) if trial.role == Role.TRIAL else ()

    def _take_up(self, trial: Trial) -> None:
        """Decide what becomes of an evaluation that nobody runs."""
        if trial.role == Role.PROXIES:
            self._give_up_scoring(trial)
        elif trial.state == State.RUNNING and trial.is_orphan:
            self._take_up_orphan(trial)
        elif trial.state == State.FAILED and trial.cause == Cause.DATA:  # the images may be readable by now
            self._requeue(trial, died=False)
        if trial.role == Role.TRIAL:
            trial.passed = {rung for rung in self._rungs(trial) if rung < trial.epoch}
            if trial.state == State.QUEUED and trial.epoch in self._rungs(trial):  # it is decided on anew
                self.driver.set_pending(trial.key, State.PAUSED)
                trial.state = State.PAUSED
        if trial.state == State.QUEUED:
            self._queue.append(trial)

    def _take_up_orphan(self, trial: Trial) -> None:
        """Its driver died, and it with it: that is not its doing."""
        trial.unbilled = max(0.0, sum(epoch.seconds for epoch in trial.epochs) - trial.seconds)
        self._requeue(trial, died=False)

    def _give_up_scoring(self, trial: Trial) -> None:
        """Nobody scores this batch any more: its scores are asked for anew."""
        if trial.is_orphan and trial.state not in FINAL_STATES:
            self.driver.finish(trial.key, Ending(state=State.PRUNED, seconds=0.0))
            trial.state = State.PRUNED
        if trial.state in FINAL_STATES:
            self.scoring.forget(trial.key)

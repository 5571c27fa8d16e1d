"""The search itself: it decides what to evaluate next, when to stop it, and which architecture wins.

`Search` is a `runners.base.TrialSource`: a runner asks it for jobs and tells it what became of them. A study goes
through three phases, and each begins where the one before has nothing running any more:

    trials     hand-designed families first, then what the sampler proposes, until the budget is spent
    finalists  the best ones trained in full again with several seeds, ranked by mean validation NLL
    test       the winner's models evaluated on the test split

All state that matters is in the database before anything is handed out and as soon as anything is reported. Opening the
same study again rebuilds the rest, queues what was running, and goes on.
"""

from __future__ import annotations

import time
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from nas import finalists
from nas.proposer import Known, Proposer
from nas.pruners import make_pruner
from nas.run_folder import RunFolder
from nas.study import Question
from nas.trial import Trial
from results.pareto import pareto_front
from results.schema import Epoch
from results.store import FINAL_STATES, Ending, EpochRecord, NewEvaluation, Role, State, StudyStore
from runners.base import INFEASIBLE_CAUSES, Cause, Decision, EpochResult, Job, Measured, Outcome
from search_space.architecture import Architecture
from search_space.errors import RunnerError, SpaceError
from search_space.families import family_points
from search_space.space import mixers_of

MAX_ATTEMPTS = 3
"""How often an evaluation is started before it counts as lost."""
MAX_TOO_SLOW = 50
"""Architectures in a row that may exceed the limit on latency before the search gives up."""
MAX_BROKEN = 5
"""Evaluations in a row that may fail for reasons outside the architecture before the search gives up."""
KEPT_WEIGHTS = 10
"""Complete trials, the best ones, whose weights are kept for export."""


class Search:
    """One run of a study; see the module's description.

    Args:
        question: What is searched for.
        study: Where everything is stored.
        folder: Where weights and checkpoints lie.
        on_change: Called after every change, for a progress display.

    Attributes:
        trials: All evaluations by key, earlier runs included.
        exhausted: Whether the space ran out of architectures before the budget was spent.
    """

    def __init__(
        self,
        question: Question,
        study: StudyStore,
        folder: RunFolder,
        on_change: Callable[[Search], None] = lambda _: None,
    ) -> None:
        self.question, self.study, self.folder = question, study, folder
        self.config = question.config
        self.objectives = self.config.objectives
        self.pruner = make_pruner(self.config.pruner, question.recipe.epochs)
        self.started = time.monotonic()
        self.finished_here = 0
        self.exhausted = False
        self._broken_in_row = self._slow_in_row = 0
        self.trials: dict[str, Trial] = {}
        self._pending: dict[str, Trial] = {}
        self._best: list[tuple[float, str]] = []  # loss and key of the complete trials whose weights are kept
        self._on_change = on_change
        self._axes = {axis.name: axis for axis in question.space.axes}
        self._queue: deque[Trial] = deque()
        self._planned_finalists: list[Trial] | None = None
        self._plan: deque[NewEvaluation] = deque()
        self._seeds = deque(family_points(question.space, question.limits).items())
        self._load()
        self._proposer = Proposer(
            question.space,
            question.limits,
            self.config.sampler,
            [objective.direction for objective in self.objectives],
            seed=self.config.seed * 1_000_003 + self.spent,  # a continued search must not repeat its proposals
        )
        for trial in self.of(Role.TRIAL):
            self._proposer.enter(trial.architecture)
            if trial.state in FINAL_STATES:
                self._proposer.learn(trial.architecture, self._known(trial))

    # What stands where.

    def of(self, role: Role, *states: State) -> list[Trial]:
        """The evaluations of a role, in these states if any are named."""
        return [trial for trial in self.trials.values() if trial.role == role and (not states or trial.state in states)]

    @property
    def spent(self) -> int:
        """Distinct architectures that count towards the budget: all but those rejected as too slow."""
        return sum(1 for trial in self.of(Role.TRIAL) if trial.cause != Cause.TOO_SLOW)

    @property
    def pending(self) -> list[Trial]:
        """Evaluations that are running or queued."""
        return list(self._pending.values())

    @property
    def best(self) -> Trial | None:
        """The complete trial with the best quality."""
        return self.trials[self._best[0][1]] if self._best else None

    def loss(self, trial: Trial) -> float:
        """The first objective of a trial, turned so that less is better."""
        return self.objectives[0].loss(trial.figures)

    def losses(self, trial: Trial) -> list[float]:
        """All objectives of a trial, turned so that less is better."""
        return [objective.loss(trial.figures) for objective in self.objectives]

    @property
    def phase(self) -> str:
        """Which phase the study is in: trials, finalists or test."""
        if self._planned_finalists is None:
            return "trials"
        return "test" if any(trial.role == Role.TEST for trial in self.pending) else "finalists"

    # TrialSource.

    @property
    def done(self) -> bool:
        return not self._pending and not self._more()

    def ask(self) -> Job | None:
        if self._queue:
            trial = self._queue.popleft()
            trial.state = State.RUNNING
            self.study.set_pending(trial.key, State.RUNNING)
            return self._job(trial)
        new = self._next()
        if new is None:
            return None
        self.study.start(new, self._axes)
        trial = self.trials[new.key] = self._pending[new.key] = Trial(new, new.architecture)
        self._on_change(self)
        return self._job(trial)

    def report(self, key: str, epochs: Sequence[EpochResult]) -> Decision:
        trial = self.trials[key]
        self._record(trial, epochs)
        decision = self._decide(trial)
        self._on_change(self)
        return decision

    def tell(self, key: str, outcome: Outcome) -> None:
        trial = self.trials[key]
        if outcome.cause == Cause.WORKER_LOST and trial.attempts < MAX_ATTEMPTS:
            trial.unbilled = max(trial.unbilled, outcome.seconds)
            self._requeue(trial, died=True)
            self._queue.append(trial)
            return
        state = {"complete": State.COMPLETE, "stopped": State.PRUNED, "failed": State.FAILED}[outcome.status]
        message = outcome.message
        if state == State.COMPLETE and not trial.epochs:
            state, message = State.FAILED, "the evaluation ended without an epoch"
        seconds = max(outcome.seconds, trial.unbilled)
        trial.state, trial.seconds = state, trial.seconds + seconds
        trial.cause = (outcome.cause or Cause.BUG) if state == State.FAILED else None
        if outcome.measured != Measured():
            trial.measured = outcome.measured
        self.study.finish(key, self._ending(trial, seconds, message))
        self.folder.checkpoint(key).unlink(missing_ok=True)
        self.finished_here += 1
        del self._pending[key]
        if trial.role == Role.TRIAL:
            self._proposer.learn(trial.architecture, self._known(trial))
            self._tidy(trial)
        self._check_health(trial, message)
        self._on_change(self)

    def idle(self) -> None:
        self._on_change(self)

    def close(self) -> None:
        """Queue what is running, in case that the runner was stopped, and delete checkpoints that nobody needs."""
        for trial in self._pending.values():
            if trial.state == State.RUNNING:
                self._requeue(trial, died=False)
        self.folder.sweep(self._pending.keys())

    def _requeue(self, trial: Trial, *, died: bool) -> None:
        trial.state, trial.attempts = State.QUEUED, trial.attempts + died
        self.study.set_pending(trial.key, State.QUEUED, seconds=trial.unbilled, died=died)
        trial.seconds, trial.unbilled = trial.seconds + trial.unbilled, 0.0

    # What comes next.

    def _more(self) -> bool:
        """Whether there is something to hand out when nothing is pending."""
        if self.spent < self.config.budget and not self.exhausted:
            return True
        self._plan_ahead()
        return bool(self._plan)

    def _next(self) -> NewEvaluation | None:
        if self.spent < self.config.budget and not self.exhausted:
            found = self._next_trial()
            if found is not None:
                return found
            self.exhausted = True
        self._plan_ahead()
        return self._plan.popleft() if self._plan else None

    def _next_trial(self) -> NewEvaluation | None:
        while self._seeds:
            name, architecture = self._seeds.popleft()
            if all(trial.architecture != architecture for trial in self.of(Role.TRIAL)):
                self._proposer.enter(architecture)
                return self._new(architecture, f"family:{name}")
        architecture_or_none = self._proposer.propose()
        if architecture_or_none is None:
            return None
        return self._new(architecture_or_none, self.config.sampler)

    def _plan_ahead(self) -> None:
        """Plan finalists once all trials are over, and the test once all finalists are."""
        if self._pending or self._plan or not self.config.finalists:
            return
        if self._planned_finalists is None:
            self._planned_finalists = finalists.choose(self)
            self._plan.extend(finalists.trainings(self, self._planned_finalists))
        if not self._plan:
            self._plan.extend(finalists.tests(self, self._planned_finalists))
        if not self._plan:
            finalists.record_test(self)

    def _new(self, architecture: Architecture, origin: str) -> NewEvaluation:
        number = len(self.of(Role.TRIAL))
        choices = self.question.space.encode(architecture)
        return NewEvaluation(
            key=f"trial-{number:04d}",
            role=Role.TRIAL,
            number=number,
            architecture=architecture,
            origin=origin,
            choices=choices,
            seed=self.config.seed,
            epochs_planned=self.question.recipe.epochs,
            attrs={
                "architecture": architecture.hash,
                "mixers": mixers_of(choices),
                "params": architecture.deployed.params,
                "macs": architecture.deployed.macs,
                "origin": origin,
            },
        )

    def _job(self, trial: Trial) -> Job:
        config = self.config
        task: Literal["train", "test"] = "test" if trial.role == Role.TEST else "train"
        weights_key = trial.key if task == "train" else trial.key.replace("test-", "finalist-", 1)
        measure = config.max_latency_ms is not None or "latency" in config.objective
        return Job(
            key=trial.key,
            architecture=trial.architecture,
            data=self.question.data,
            recipe=self.question.recipe,
            seed=trial.seed,
            rungs=self._rungs(trial),
            task=task,
            checkpoint=self.folder.checkpoint(trial.key) if task == "train" else None,
            weights=self.folder.weights(weights_key),
            measure_latency=measure and trial.role == Role.TRIAL,
            max_latency_ms=config.max_latency_ms if trial.role == Role.TRIAL else None,
            device=config.device,
        )

    # What came back.

    def _record(self, trial: Trial, epochs: Iterable[EpochResult]) -> None:
        """Store new epochs; ones that are known already (a restart without a checkpoint) are dropped."""
        last = trial.epochs[-1].epoch if trial.epochs else 0
        records: list[EpochRecord] = []
        repeated = 0
        for epoch in epochs:
            trial.measured = epoch.measured or trial.measured
            trial.unbilled += epoch.seconds
            if epoch.epoch > last:
                records.append(EpochRecord(epoch.epoch, epoch.train_loss, epoch.nll, epoch.accuracy, epoch.seconds))
            else:
                repeated += 1
        if repeated:
            self.study.add_repeated(trial.key, repeated)
        if not records:
            return
        quality: dict[int, float] = {}
        for record in records:
            trial.epochs.append(record)
            trial.losses[record.epoch] = self.loss(trial)
            quality[record.epoch] = self.objectives[0].value(trial.figures)
        self.study.add_epochs(trial.key, records, quality if len(self.objectives) == 1 else {})

    def _decide(self, trial: Trial) -> Decision:
        epoch = trial.epochs[-1].epoch if trial.epochs else 0
        if epoch not in self._rungs(trial):
            return Decision.CONTINUE
        others = [
            other.losses[epoch]
            for other in self.of(Role.TRIAL)
            if other is not trial and epoch in other.losses and self._competes(other, trial)
        ]
        return Decision.CONTINUE if self.pruner.keep(trial.losses[epoch], others) else Decision.STOP

    def _rungs(self, trial: Trial) -> tuple[int, ...]:
        """Where a trial may be stopped; families and finalists are trained in full."""
        searched = trial.role == Role.TRIAL and not trial.origin.startswith("family:")
        return self.pruner.rungs(trial.number) if searched else ()

    def _competes(self, other: Trial, trial: Trial) -> bool:
        """Whether `other` is no worse than `trial` in every objective but the quality, so that it may displace it."""
        return all(objective.loss(other.figures) <= objective.loss(trial.figures) for objective in self.objectives[1:])

    def _ending(self, trial: Trial, seconds: float, message: str) -> Ending:
        attrs: dict[str, object] = {"seconds": round(seconds, 3)}
        values: list[float] | None = None
        if trial.state != State.FAILED and trial.epochs:
            attrs |= {"val_accuracy": trial.figures.accuracy, "val_nll": trial.figures.nll}
            attrs |= {"epochs_trained": trial.epochs[-1].epoch}
            if trial.state == State.COMPLETE:
                values = [objective.value(trial.figures) for objective in self.objectives]
            elif len(self.objectives) == 1:  # Optuna's convention: a pruned trial has its last intermediate value
                values = [self.objectives[0].value(trial.figures)]
        if trial.cause is not None:
            attrs["cause"] = trial.cause
        if trial.measured.latency_ms is not None:
            attrs["latency_ms"] = trial.measured.latency_ms
        return Ending(
            state=trial.state,
            seconds=seconds,
            cause=trial.cause,
            message=message or None,
            latency_ms=trial.measured.latency_ms,
            peak_memory_mib=trial.measured.peak_memory_mib,
            device=trial.measured.device,
            versions=trial.measured.versions,
            values=values,
            attrs=attrs,
        )

    def _known(self, trial: Trial) -> Known:
        """What the sampler learns of a finished trial."""
        if trial.state == State.FAILED:
            return Known(infeasible=trial.cause in INFEASIBLE_CAUSES)
        curve = {
            epoch: loss if self.objectives[0].direction == "minimize" else -loss for epoch, loss in trial.losses.items()
        }
        if trial.state == State.PRUNED:
            return Known(curve=curve)
        return Known(values=[objective.value(trial.figures) for objective in self.objectives], curve=curve)

    def _tidy(self, trial: Trial) -> None:
        """Delete files that nobody will need, and give up where nothing is fast enough."""
        if trial.state == State.COMPLETE:
            insort(self._best, (self.loss(trial), trial.key))
            kept = self._best[:KEPT_WEIGHTS]
            if len(self.objectives) > 1:  # any point of the front may be wanted
                points = [self.losses(self.trials[key]) for _, key in self._best]
                kept = [self._best[index] for index in sorted({*pareto_front(points), *range(len(kept))})]
            for _, beaten in set(self._best) - set(kept):
                self.folder.discard(beaten)
            self._best = kept
            return
        self.folder.discard(trial.key)

    def _check_health(self, trial: Trial, message: str) -> None:
        """Give up where going on would only spend the budget on failures.

        Raises:
            SpaceError: If nothing is within the limit on latency.
            RunnerError: If evaluations keep failing for reasons that lie in no architecture.
        """
        infeasible = trial.state != State.FAILED or trial.cause in INFEASIBLE_CAUSES
        self._broken_in_row = 0 if infeasible else self._broken_in_row + 1
        self._slow_in_row = self._slow_in_row + 1 if trial.cause == Cause.TOO_SLOW else 0
        if trial.cause == Cause.DATA or self._broken_in_row >= MAX_BROKEN:
            count = "" if self._broken_in_row == 1 else f"{self._broken_in_row} evaluations in a row failed, the last: "
            raise RunnerError(f"{count}{trial.key} failed ({trial.cause}): {message}")
        if self._slow_in_row >= MAX_TOO_SLOW:
            times = [t for other in self.of(Role.TRIAL) if (t := other.measured.latency_ms) is not None]
            raise SpaceError(
                f"{MAX_TOO_SLOW} architectures in a row exceed --max-latency-ms {self.config.max_latency_ms:g}; "
                f"the fastest so far took {min(times):.3g} ms"
            )

    def _load(self) -> None:
        """Rebuild everything from the database; whatever was running is queued."""
        curves: dict[str, list[Epoch]] = {}
        for role in Role:
            curves |= self.study.curves(role)
        for row in self.study.evaluations():
            trial = self.trials[row.key] = Trial(row, Architecture.from_yaml(row.architecture.yaml))
            trial.state, trial.cause, trial.attempts = State(row.state), row.cause, row.attempts
            trial.seconds, trial.measured = row.seconds, Measured(row.latency_ms, row.peak_memory_mib, row.device)
            for epoch in curves.get(row.key, ()):
                trial.epochs.append(
                    EpochRecord(epoch.epoch, epoch.train_loss, epoch.nll, epoch.accuracy, epoch.seconds)
                )
                trial.losses[epoch.epoch] = self.loss(trial)
            self._take_up(trial)
        self._best.sort()

    def _take_up(self, trial: Trial) -> None:
        """Decide what becomes of an evaluation of an earlier run."""
        if trial.state == State.COMPLETE and trial.role == Role.TRIAL:
            self._best.append((self.loss(trial), trial.key))
        if trial.state == State.RUNNING:  # its driver died, and it with it
            trial.unbilled = max(0.0, sum(epoch.seconds for epoch in trial.epochs) - trial.seconds)
            self._requeue(trial, died=True)
            if trial.attempts > MAX_ATTEMPTS:
                trial.state, trial.cause = State.FAILED, Cause.WORKER_LOST
                message = f"its process died {trial.attempts - 1} times"
                self.study.finish(trial.key, Ending(State.FAILED, 0.0, trial.cause, message))
        elif trial.state == State.FAILED and trial.cause == Cause.DATA:  # the images may be readable by now
            self._requeue(trial, died=False)
        if trial.state == State.QUEUED:
            self._queue.append(trial)
            self._pending[trial.key] = trial

"""All evaluations of a study in memory, in step with the database.

Every change is first one transaction of the driver, then the same change in memory. So memory never contains what the
database does not, and `Outdated` leaves both unchanged.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from nas.strategy.trial import Trial, record_of
from nas.study.kept_weights import BestTrials
from nas.study.protocols import Driver, Files
from nas.study.records import ending, facts
from nas.study.spec import StudySpec
from results.database.damage import architecture_of
from results.database.names import training_key
from results.database.schema import FINAL_STATES, EpochRow, EvaluationRow, Role, State, damaged
from results.report.compute import Compute
from results.store.records import EpochRecord, NewEvaluation
from runners.protocol import EpochResult
from search_space.errors import ConfigError
from search_space.space import Axis, Range


class Evaluations:
    """All evaluations of a study.

    Args:
        spec: The study's specification.
        driver: Writes to the database.
        files: Where weights and checkpoints are; those of a trial that is not among the best are deleted.

    Attributes:
        by_key: All evaluations by key, in the order in which they were added.
        searched: The trials; the number of a trial is its index in this list.
        queue: Evaluations that any driver may run, the oldest first.
        here: Keys of evaluations that this process runs.
        kept: The best trials, whose weights are kept.
        compute: What the evaluations have cost.
    """

    def __init__(self, spec: StudySpec, driver: Driver, files: Files) -> None:
        self._driver, self._files = driver, files
        self._study = spec.config.study_name
        self._objectives = spec.config.objectives
        self._axes: dict[str, Axis | Range] = {axis.name: axis for axis in spec.space.axes}
        self._axes.update(spec.tuning.ranges)
        self._pending: dict[str, Trial] = {}
        self.by_key: dict[str, Trial] = {}
        self.searched: list[Trial] = []
        self.queue: deque[Trial] = deque()
        self.here: set[str] = set()
        self.kept = BestTrials(self._objectives, files)
        self.compute = Compute(spec.recipe.epochs)

    # Reading.

    def of(self, role: Role, *states: State) -> list[Trial]:
        """The evaluations of a role, in these states if any are given."""
        return [trial for trial in self.by_key.values() if trial.role == role and (not states or trial.state in states)]

    @property
    def pending(self) -> list[Trial]:
        """Evaluations that are running or queued, here or elsewhere."""
        return list(self._pending.values())

    @property
    def best(self) -> Trial | None:
        """The complete trial with the best quality."""
        return self.kept.best

    def loss(self, trial: Trial) -> float:
        """The first objective of a trial, negated if larger is better."""
        return self._objectives[0].loss(trial.figures)

    def losses(self, trial: Trial) -> list[float]:
        """All objectives of a trial, negated where larger is better."""
        return [objective.loss(trial.figures) for objective in self._objectives]

    def training_of(self, test: Trial) -> Trial | None:
        """The training that wrote the weights of a test; None for an evaluation that is not a test.

        Raises:
            StorageError: If the database has lost it.
        """
        if test.role != Role.TEST:
            return None
        key = training_key(test.key)
        if key not in self.by_key:
            raise damaged("nas_evaluations", test.key, "key", f"there is no {key}, whose weights it tests")
        return self.by_key[key]

    # New evaluations.

    def adopt(self, evaluations: Iterable[Trial]) -> list[Trial]:
        """Add copies of evaluations of the same study; returns the copies."""
        adopted = [self._enter(evaluation.copy()) for evaluation in evaluations]
        for trial in adopted:
            for epoch in trial.epochs:
                self.compute.time(trial, epoch)
            self.compute.run(trial, trial.epochs_run)
            self._place(trial)
        return adopted

    def start(self, new: NewEvaluation) -> Trial:
        """Add an evaluation that runs here."""
        self._driver.start(new, self._axes)
        trial = self._enter(Trial(new, new.architecture))
        self._place(trial, here=True)
        return trial

    def enqueue(self, news: Iterable[NewEvaluation]) -> None:
        """Add evaluations that any driver may run."""
        entered = list(news)
        if not entered:
            return
        self._driver.enqueue(entered, self._axes)
        for new in entered:
            trial = self._enter(Trial(new, new.architecture))
            trial.state = State.QUEUED
            self._place(trial)

    # What happens to an evaluation.

    def resume(self, trial: Trial) -> None:
        """Run an evaluation here that was queued or waiting at a rung."""
        self._driver.set_pending(trial.key, State.RUNNING)
        trial.state = State.RUNNING
        self._place(trial, here=True)

    def record(self, trial: Trial, epochs: Iterable[EpochResult]) -> None:
        """Add epochs; those already known (after a restart without a checkpoint) only count as compute."""
        last = trial.epoch
        new: list[EpochRecord] = []
        repeated = 0
        for epoch in epochs:
            trial.measured = epoch.measured or trial.measured
            trial.unbilled += epoch.seconds
            trial.epochs_run += 1
            self.compute.run(trial, 1)
            if epoch.epoch > last:
                new.append(record_of(epoch))
            else:
                repeated += 1
        self._check_measured(trial, new)
        if repeated:
            self._driver.add_repeated(trial.key, repeated)
        if not new:
            return
        quality: dict[int, float] = {}
        for record in new:
            trial.epochs.append(record)
            trial.losses[record.epoch] = self.loss(trial)
            self.compute.time(trial, record)
            quality[record.epoch] = self._objectives[0].value(trial.figures)
        self._driver.add_epochs(trial.key, new, quality if len(self._objectives) == 1 else {})

    def pause(self, trial: Trial) -> None:
        """Pause a trial at the rung that it has reached."""
        self._driver.set_pending(trial.key, State.PAUSED, seconds=trial.unbilled, facts=facts(trial))
        trial.state = State.PAUSED
        self._bill(trial)
        self._place(trial)

    def requeue(self, trial: Trial, *, worker_died: bool = False) -> None:
        """Queue an interrupted evaluation; if its worker died, that counts as an attempt."""
        self._driver.set_pending(trial.key, State.QUEUED, seconds=trial.unbilled, died=worker_died)
        trial.state, trial.cause = State.QUEUED, None
        trial.attempts += worker_died
        self._bill(trial)
        self._place(trial)

    def train_again(self, training: Trial, test: Trial) -> None:
        """Queue a complete training whose weights were lost, followed by the test that needs them."""
        self._driver.train_again(training.key, test.key, test.unbilled)
        training.forget()
        training.state, training.attempts = State.QUEUED, training.attempts + 1
        test.state = State.QUEUED
        self._bill(test)
        self._place(training)
        self._place(test)

    def finish(self, trial: Trial, state: State, cause: str | None = None, message: str = "") -> None:
        """End an evaluation, and delete the files that are no longer needed."""
        self._driver.finish(trial.key, ending(trial, self._objectives, state, cause, message))
        trial.state, trial.cause = state, cause
        self._bill(trial)
        self._place(trial)
        self._files.discard_checkpoint(trial.key)

    # What other drivers have changed.

    def merge(self) -> list[Trial]:
        """Read what has changed in the database; returns the evaluations whose state or epoch has changed."""
        changes = self._driver.changes()
        rows = [row for row in changes.evaluations if self._update(row, changes.curves.get(row.key, ()))]
        changed = [self.by_key[row.key] for row in rows]
        for trial in changed:
            self._place(trial)
        return changed

    def _update(self, row: EvaluationRow, curve: Sequence[EpochRow]) -> bool:
        trial = self.by_key.get(row.key)
        before = None if trial is None else (trial.state, trial.epoch, trial.is_orphan)
        if trial is None:
            trial = self._enter(Trial(row, architecture_of(row.architecture)))
        known_epochs, epochs_run = len(trial.epochs), trial.epochs_run
        trial.update(row, curve, self._objectives[0])
        for epoch in trial.epochs[known_epochs:]:
            self.compute.time(trial, epoch)
        self.compute.run(trial, trial.epochs_run - epochs_run)
        return before != (trial.state, trial.epoch, trial.is_orphan)

    # Inside.

    def _check_measured(self, trial: Trial, epochs: Iterable[EpochRecord]) -> None:
        """Raise ConfigError if the evaluator, which need not be ours, does not measure the first objective."""
        quality = self._objectives[0]
        if any(quality.read(trial.figures_after(epoch)) is None for epoch in epochs):
            raise ConfigError(
                f"--objective is {quality.name}, which the evaluator of {trial.key} does not measure; "
                "allowed with every evaluator: nll, accuracy"
            )

    def _enter(self, trial: Trial) -> Trial:
        self.by_key[trial.key] = trial
        if trial.role == Role.TRIAL:
            if trial.number != len(self.searched):  # numbers are indices of this list
                reason = f"the study {self._study!r} has no trial {len(self.searched)}, but {trial.key}"
                raise damaged("nas_evaluations", trial.key, "number", reason)
            self.searched.append(trial)
        elif trial.role == Role.PROXIES:
            self.compute.score(trial)
        return trial

    def _place(self, trial: Trial, *, here: bool = False) -> None:
        """Add an evaluation to the lists that match its state, and remove it from the others."""
        if trial in self.queue:
            self.queue.remove(trial)
        self._pending.pop(trial.key, None)
        self.here.discard(trial.key)
        if trial.state not in FINAL_STATES and trial.state != State.PAUSED:
            self._pending[trial.key] = trial
        if trial.state == State.QUEUED:
            self.queue.append(trial)
        if here:
            self.here.add(trial.key)

    @staticmethod
    def _bill(trial: Trial) -> None:
        trial.seconds, trial.unbilled = trial.seconds + trial.unbilled, 0.0

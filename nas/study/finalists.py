"""Finalists: the best trials are trained again with fresh seeds, and the winner is evaluated on the test split.

One training is a noisy measurement, and the best of many measurements is partly luck (the winner's curse). So the
winner is chosen among a few architectures by the mean of the first objective over several seeds, and only its models
are evaluated on the test split.

Without finalists the winner is the trial that would have been the first of them. It is stored as well, as a row with
rank 1 and no seeds, so that a report shows what the search has chosen; see `results.report.winner`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from nas.strategy.ranking import Ranking
from nas.strategy.trial import Trial
from nas.study.budget import Budget
from nas.study.evaluations import Evaluations
from nas.study.protocols import Driver, Study
from nas.study.records import new_test, new_training
from nas.study.spec import StudySpec
from results.database.names import evaluation_key, test_key
from results.database.objectives import QUALITY_FIGURES
from results.database.schema import FinalistRow, Role, State
from results.report.pareto import pareto_front
from results.store.driver import Outdated
from results.store.records import NewEvaluation


class Finalists:
    """Chooses finalists, ranks them, and records the test of the winner.

    Args:
        spec: The study's specification.
        study: Reads finalists.
        driver: Writes finalists.
        book: All evaluations.
        budget: The number of finalists.
        ranking: Ranks the trials.

    Attributes:
        chosen: The trials that are trained again; None until they are chosen.
    """

    def __init__(
        self, spec: StudySpec, study: Study, driver: Driver, book: Evaluations, budget: Budget, ranking: Ranking[Trial]
    ) -> None:
        self._config, self._epochs = spec.config, spec.recipe.epochs
        self._study, self._driver, self._book, self._budget, self._ranking = study, driver, book, budget, ranking
        self.chosen: list[Trial] | None = None

    def reconsider(self, changed: Sequence[Trial]) -> None:
        """Discard the choice if other drivers have changed something that it did not take into account."""
        if self.chosen is None:
            return
        numbers = {trial.number for trial in self.chosen}
        for trial in changed:
            if trial.role == Role.TRIAL or (trial.role == Role.FINALIST and trial.number not in numbers):
                self.chosen = None
                return

    def choose(self) -> list[Trial]:
        """Choose the trials to train again: the most promising ones, with several objectives first those on the front.

        Trials whose repetition has begun stay finalists, even if there are too many: without one, a second winner could
        be evaluated on the test split.
        """
        complete = self._by_promise([trial for trial in self._book.searched if trial.state == State.COMPLETE])
        begun = self._begun()
        others = [trial for trial in complete if trial not in begun]
        return [*begun, *others][: max(len(begun), self._budget.finalists)]

    def _by_promise(self, complete: Sequence[Trial]) -> list[Trial]:
        """Complete trials, the most promising first; with several objectives first those on the Pareto front."""
        ordered = self._ranking.best(complete, len(complete))
        if len(self._config.objectives) > 1:
            front = set(pareto_front([self._book.losses(trial) for trial in ordered]))
            ordered = sorted(ordered, key=lambda trial: ordered.index(trial) not in front)
        return ordered

    def _begun(self) -> list[Trial]:
        """The finalists whose trainings have begun after the last trial was started."""
        begun: list[int] = []
        for evaluation in reversed(self._book.by_key.values()):
            if evaluation.role == Role.TRIAL:
                break
            if evaluation.role == Role.FINALIST:
                begun.append(evaluation.number)
        return [self._book.searched[number] for number in dict.fromkeys(reversed(begun))]

    def trainings(self, chosen: Sequence[Trial]) -> Iterator[NewEvaluation]:
        """The missing trainings; their seeds differ from the one that the trials were trained with."""
        for trial in chosen:
            for index in range(1, self._config.seeds + 1):
                key = evaluation_key(Role.FINALIST, trial.number, index)
                if key not in self._book.by_key:
                    yield new_training(trial, key, self._config.seed + index, self._epochs)

    def enter(self, chosen: Sequence[Trial]) -> None:
        """Store the finalists, without ranks."""
        rows = self._study.finalists()
        known = {row.number for row in rows}
        self._store(
            rows, {trial.number: {"seeds": self._config.seeds} for trial in chosen if trial.number not in known}
        )
        self.chosen = list(chosen)

    def tests(self) -> Iterator[NewEvaluation]:
        """Rank the finalists, and return the missing tests of the winner's models."""
        winner = self._rank(self.chosen or ())
        if winner is None:
            return
        for training in self._trained(winner.number):
            key = test_key(training.key)
            if key not in self._book.by_key:
                yield new_test(training, key, self._epochs)

    def _rank(self, chosen: Sequence[Trial]) -> Trial | None:
        """Store means and ranks; returns the winner, or None if no finalist could be trained.

        In that case, the trial that is delivered instead gets the rank of the winner.

        The rank is by all trainings of an architecture, its trial included: all finalists were lucky in their trials,
        so these are still informative. The means in the report are over the fresh seeds alone.
        """
        trained = {trial.number: self._trained(trial.number) for trial in chosen}
        ranked = sorted(
            (trial for trial in chosen if trained[trial.number]),
            key=lambda trial: mean(self._book.loss(run) for run in (trial, *trained[trial.number])),
        )
        rows = self._study.finalists()
        # Finalists of an earlier, smaller budget keep their means, but lose their ranks.
        figures: dict[int, dict[str, Any]] = {row.number: {"rank": None} for row in rows}
        for rank, trial in enumerate(ranked, start=1):
            runs = trained[trial.number]
            means = {f"mean_{name}": value for name, value in _means(runs).items()}
            nlls = [run.figures.nll for run in runs]
            figures[trial.number] = {
                "seeds": len(runs),
                "rank": rank,
                "sd_nll": stdev(nlls) if len(nlls) > 1 else None,
                **means,
            }
        if not ranked:
            figures |= self._undisputed(rows)
        self._store(rows, figures)
        return ranked[0] if ranked else None

    def _undisputed(self, rows: Sequence[FinalistRow]) -> dict[int, dict[str, Any]]:
        """The rank of what is delivered without finalists; {} if no trial is complete.

        That is the most promising of the trials whose weights are kept, as a winner can be exported. What is stored
        already stays, whatever the ranking says by now: a trial that is started since deletes it.
        """
        stored = [row.number for row in rows if row.rank == 1 and not row.seeds]
        numbers = stored or [trial.number for trial in self._by_promise(self._book.kept.trials)]
        if not numbers:
            return {}
        number = numbers[0]
        trained = len(self._trained(number))
        if trained and any(row.number == number and row.mean_nll is not None for row in rows):
            return {number: {"seeds": trained, "rank": 1}}  # a finalist of an earlier run keeps its means
        none = dict.fromkeys(("sd_nll", *(f"mean_{name}" for name in QUALITY_FIGURES)))
        return {number: {"seeds": 0, "rank": 1, **none}}

    def record_test(self) -> None:
        """Store the winner's mean figures on the test split, once all of its models have been tested."""
        rows = self._study.finalists()
        for row in rows:
            tested = [test for test in self._book.of(Role.TEST, State.COMPLETE) if test.number == row.number]
            if row.rank == 1 and len(tested) == len(self._trained(row.number)) > 0:
                figures = {f"test_{name}": value for name, value in _means(tested).items()}
                self._store(rows, {row.number: figures})

    def _trained(self, number: int) -> list[Trial]:
        """The complete trainings of the finalist that was trial `number`."""
        return [run for run in self._book.of(Role.FINALIST, State.COMPLETE) if run.number == number]

    def _store(self, rows: Sequence[FinalistRow], figures: Mapping[int, Mapping[str, Any]]) -> None:
        """Store figures of finalists by number, unless the rows already have them.

        Raises:
            Outdated: If other drivers have decided something since this one has read the database.
        """
        stored = {row.number: row for row in rows}
        new = {
            number: columns
            for number, columns in figures.items()
            if number not in stored or any(getattr(stored[number], name) != value for name, value in columns.items())
        }
        if any(number >= len(self._book.searched) for number in new):
            raise Outdated
        if new:
            searched = self._book.searched
            self._driver.put_finalists([(number, searched[number].architecture, new[number]) for number in new])


def _means(runs: Sequence[Trial]) -> dict[str, float | None]:
    """The mean figures of evaluations on a split; None for a figure that one of them lacks."""
    figures = [run.figures for run in runs]
    columns = {name: [getattr(each, name) for each in figures] for name in QUALITY_FIGURES}
    return {name: None if None in values else mean(values) for name, values in columns.items()}

"""The end of a search: the best trials are trained again with several seeds, and the winner meets the test split.

One training is a noisy measurement, and the best of many is the luckiest as much as the best (the winner's curse). So
the winner is chosen among `finalists` architectures by their mean validation NLL over several seeds, and only its
models are evaluated on the test split.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from nas.strategy.trial import Trial
from results.database.names import evaluation_key
from results.database.schema import damaged
from results.report.pareto import pareto_front
from results.store.driver import Outdated
from results.store.store import NewEvaluation, Role, State

if TYPE_CHECKING:
    from nas.config import SearchConfig
    from nas.study.search import Search
    from results.database.schema import FinalistRow

FINALISTS = 3
"""How many there are unless a search says otherwise."""
RESERVE = 1 / 4
"""Largest share of a limit on compute that they get then."""


def number(config: SearchConfig) -> int:
    """How many finalists there will be. Unless that is set: fewer where compute is short, and none instead of one."""
    if config.finalists is not None:
        return config.finalists
    if config.max_fte is None:
        return FINALISTS
    affordable = int(RESERVE * config.max_fte / config.seeds)
    return 0 if affordable < 2 else min(FINALISTS, affordable)


def reserve(config: SearchConfig) -> float:
    """The compute that finalists need, in full-training equivalents."""
    return float(number(config) * config.seeds)


def choose(search: Search) -> list[Trial]:
    """The trials to retrain: the most promising ones, with several objectives those on the Pareto front first.

    Those that are being retrained stay, however many: another choice would only bring another winner to the test split.
    """
    complete = search.planner.ranking.best(search.of(Role.TRIAL, State.COMPLETE), len(search.searched))
    if len(search.objectives) > 1:
        front = set(pareto_front([search.losses(trial) for trial in complete]))
        complete = sorted(complete, key=lambda trial: complete.index(trial) not in front)
    standing = _standing(search)
    others = [trial for trial in complete if trial not in standing]
    return [*standing, *others][: max(len(standing), number(search.config))]


def _standing(search: Search) -> list[Trial]:
    """The finalists whose retraining has begun since the last trial was started."""
    begun: list[int] = []
    for evaluation in reversed(search.trials.values()):
        if evaluation.role == Role.TRIAL:
            break
        if evaluation.role == Role.FINALIST:
            begun.append(evaluation.number)
    return [search.searched[number] for number in dict.fromkeys(reversed(begun))]


def trainings(search: Search, chosen: Sequence[Trial]) -> Iterator[NewEvaluation]:
    """The trainings that are still missing; their seeds are not the one the trials were trained with."""
    for trial in chosen:
        for index in range(1, search.config.seeds + 1):
            key = evaluation_key(Role.FINALIST, trial.number, index)
            if key not in search.trials:
                yield _again(trial, Role.FINALIST, key, search.config.seed + index, search.spec.recipe.epochs)


def enter(search: Search, chosen: Sequence[Trial]) -> None:
    """Store who they are, without ranks as yet."""
    rows = search.study.finalists()
    known = {row.number for row in rows}
    news = {trial.number: {"seeds": search.config.seeds} for trial in chosen if trial.number not in known}
    _store(search, rows, news)


def tests(search: Search, chosen: Sequence[Trial]) -> Iterator[NewEvaluation]:
    """Rank the finalists, and test the winner's models unless that has been done."""
    winner = rank(search, chosen)
    if winner is None:
        return
    for run in runs(search, winner.number):
        key = run.key.replace("finalist-", "test-", 1)
        if key not in search.trials:
            yield _again(run, Role.TEST, key, run.seed, search.spec.recipe.epochs)


def rank(search: Search, chosen: Sequence[Trial]) -> Trial | None:
    """Store the finalists' means and ranks; returns the winner, None if none could be trained.

    The rank counts every training of an architecture, that of its trial included: among finalists, which all have a
    lucky one, it still tells something. The means that are reported are over the fresh seeds alone.
    """
    trained = {trial.number: runs(search, trial.number) for trial in chosen}
    ranked = sorted(
        (trial for trial in chosen if trained[trial.number]),
        key=lambda trial: mean(search.loss(run) for run in (trial, *trained[trial.number])),
    )
    rows = search.study.finalists()
    # Finalists of an earlier, smaller budget keep their means, not their ranks.
    figures: dict[int, dict[str, Any]] = {row.number: {"rank": None} for row in rows}
    for place, trial in enumerate(ranked, start=1):
        done = trained[trial.number]
        nlls = [run.figures.nll for run in done]
        figures[trial.number] = {
            "seeds": len(done),
            "rank": place,
            "mean_nll": mean(nlls),
            "sd_nll": stdev(nlls) if len(nlls) > 1 else None,
            "mean_accuracy": mean(run.figures.accuracy for run in done),
        }
    _store(search, rows, figures)
    return ranked[0] if ranked else None


def training_of(search: Search, test: Trial) -> Trial | None:
    """The training whose weights are tested; None of what is no test.

    Raises:
        StorageError: If the database has lost it.
    """
    if test.role != Role.TEST:
        return None
    key = test.key.replace("test-", "finalist-", 1)
    if key not in search.trials:
        raise damaged("nas_evaluations", test.key, "key", f"there is no {key}, whose weights it tests")
    return search.trials[key]


def record_test(search: Search) -> None:
    """Store the winner's mean test figures, once all of its models have been tested."""
    rows = search.study.finalists()
    for row in rows:
        tested = [trial for trial in search.of(Role.TEST, State.COMPLETE) if trial.number == row.number]
        if row.rank == 1 and len(tested) == len(runs(search, row.number)) > 0:
            accuracy = mean(trial.figures.accuracy for trial in tested)
            nll = mean(trial.figures.nll for trial in tested)
            _store(search, rows, {row.number: {"test_nll": nll, "test_accuracy": accuracy}})


def _store(search: Search, rows: Sequence[FinalistRow], figures: Mapping[int, Mapping[str, Any]]) -> None:
    """Store figures of finalists, unless they stand in these rows already.

    Raises:
        Outdated: If other drivers have decided something since this one has looked.
    """
    stored = {row.number: row for row in rows}
    new = {
        number: columns
        for number, columns in figures.items()
        if number not in stored or any(getattr(stored[number], name) != value for name, value in columns.items())
    }
    trials = {number: search.trials.get(evaluation_key(Role.TRIAL, number)) for number in new}
    if None in trials.values():
        raise Outdated
    if new:
        search.driver.put_finalists([(n, trial.architecture, new[n]) for n, trial in trials.items() if trial])


def runs(search: Search, number: int) -> list[Trial]:
    """The complete trainings of the finalist that comes from trial `number`."""
    return [trial for trial in search.of(Role.FINALIST, State.COMPLETE) if trial.number == number]


def _again(trial: Trial, role: Role, key: str, seed: int, epochs: int) -> NewEvaluation:
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

"""Without finalists, the trial that a search chooses is what reports, listings and exports show.

With 16 epochs and a surrogate a trial counts by its last two log losses, so one with a lucky last epoch is not chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nas.strategy.ranking import Ranking
from nas.study.search import Search
from results.database.schema import FinalistRow
from results.export.choice import choose
from results.report.overview import make_overviews
from results.report.report import make_report
from results.store.store import Role
from runners.protocol import Cause, EpochResult, EvaluationError, Evaluator, Job, Measured
from tests.nas.study.test_sharing import driver, execute, shared, turn_by_turn

__all__ = ["driver", "shared"]  # fixtures

LUCKY, STEADY, BEST = (1.0, 0.25), (0.5, 0.375), (0.25, 0.25)
"""Last two losses. The lucky one ends better than the steady one, but ln 1 + ln 0.25 > ln 0.5 + ln 0.375."""
MODEL: dict[str, Any] = {"strategy": "auto", "pruner": "none", "families": False, "proxies": (), "epochs": 16}
ALONE = {**MODEL, "finalists": 0}


def ending(*endings: Sequence[float], others: float = 2.0) -> Evaluator:
    """Trainings whose last two losses are those of their trial, and whose training losses say nothing.

    Trainings of finalists diverge where `others` is 0; else they end with that loss.
    """

    def evaluate(job: Job) -> Any:
        number = int(job.key.split("-")[1])
        last = endings[number] if job.key.startswith("trial") else (others, others)
        if not all(last):
            raise EvaluationError(Cause.DIVERGED, "no")
        if job.weights is not None:
            job.weights.write_bytes(b"weights")
        for epoch, nll in enumerate([3.0] * 14 + [*last], start=1):
            yield EpochResult(epoch, 1.0, nll, 1 / (1 + nll), 0.0)
        return Measured()

    return evaluate


def facts(rows: Sequence[FinalistRow]) -> dict[int, tuple[int, int | None, float | None]]:
    """Seeds, rank and mean by number."""
    return {row.number: (row.seeds, row.rank, row.mean_nll) for row in rows}


def test_it_is_the_same_everywhere(run, stored, open_search):
    report = run(ending(LUCKY, STEADY), **ALONE, budget=2)
    assert (report.winner.trial, report.winner.nll, report.winner.seeds) == (1, 0.375, 0)
    assert report.finalists == []
    study = stored()
    assert facts(study.finalists()) == {1: (0, 1, None)}
    assert {row.role for row in study.evaluations()} == {Role.TRIAL}  # and is not tested
    (listed,) = make_overviews(study.store)
    assert (listed.best.trial, listed.best.value, listed.best.seeds, listed.state) == (1, 0.375, 0, "finished")
    assert choose(study, None)[0].key == "trial-0001"
    assert open_search(**ALONE, budget=2).choice().hash == report.winner.hash


def test_strategies_without_a_surrogate_choose_the_best_trial(run, stored):
    report = run(ending(LUCKY, STEADY), strategy="random", families=False, epochs=16, budget=2, finalists=0)
    assert report.winner.trial == 0
    assert facts(stored().finalists()) == {0: (0, 1, None)}


def test_a_study_that_continues_has_no_winner_but_its_best_trial(run, stored):
    """What it had chosen could lose its weights to better trials."""
    run(ending(LUCKY, STEADY), **ALONE, budget=2)
    seen = []

    def watched(job: Job) -> Any:
        seen.append((stored().finalists(), make_report(stored()).winner.trial))
        return (yield from ending(LUCKY, STEADY, BEST)(job))

    assert run(watched, **ALONE, budget=3).winner.trial == 2
    assert seen == [([], 0)]
    assert facts(stored().finalists()) == {2: (0, 1, None)}


def test_a_study_that_is_opened_again_keeps_its_winner(run, stored, monkeypatch):
    """Whatever the surrogate says of the trials by now."""
    report = run(ending(LUCKY, STEADY), **ALONE, budget=2)
    monkeypatch.setattr(Ranking, "best", lambda self, trials, count: list(trials)[:count])
    assert run(ending(), **ALONE, budget=2) == report
    assert facts(stored().finalists()) == {1: (0, 1, None)}


def test_a_study_of_an_earlier_version_gets_it_when_it_is_opened(run, stored):
    run(ending(LUCKY, STEADY), **ALONE, budget=2)
    with stored().store.session() as session, session.begin():
        session.query(FinalistRow).delete()
    assert make_report(stored()).winner.trial == 0
    assert run(ending(), **ALONE, budget=2).winner.trial == 1


def test_its_weights_are_kept(run, stored, tmp_path):
    """The eleventh trial is the most promising and the worst, so its weights are not among the ten that are kept."""
    endings = [LUCKY] * 3 + [STEADY] + [LUCKY] * 6 + [(0.01, 0.5)]
    report = run(ending(*endings), **ALONE, budget=11)
    assert report.winner.trial == 3
    kept = {path.stem for path in (tmp_path / "runs" / "study" / "weights").iterdir()}
    assert kept == {f"trial-{number:04d}" for number in range(10)}


def test_where_no_finalist_can_be_trained_the_first_of_them_wins(run, stored):
    report = run(ending(LUCKY, STEADY, others=0.0), **MODEL, budget=2, finalists=2, seeds=1)
    assert (report.winner.trial, report.winner.seeds, report.finalists) == (1, 0, [])
    assert facts(stored().finalists()) == {0: (1, None, None), 1: (0, 1, None)}


def test_a_winner_that_was_trained_again_by_an_earlier_run_keeps_its_means(run, stored):
    run(ending(LUCKY, STEADY), **MODEL, budget=2, finalists=1, seeds=1)
    report = run(ending(LUCKY, STEADY, (3.0, 3.0)), **ALONE, budget=3)
    assert (report.winner.trial, report.winner.seeds, report.winner.mean_nll) == (1, 1, 2.0)
    assert facts(stored().finalists()) == {1: (1, 1, 2.0)}
    assert len(stored().evaluations(Role.TEST)) == 1


def test_finalists_that_are_asked_for_later_replace_it(run, stored):
    run(ending(LUCKY, STEADY), **ALONE, budget=2)
    report = run(ending(LUCKY, STEADY, others=0.75), **MODEL, budget=2, finalists=1, seeds=1)
    assert (report.winner.trial, report.winner.mean_nll) == (1, 0.75)
    assert facts(stored().finalists()) == {1: (1, 1, 0.75)}


def test_with_several_objectives_it_is_on_the_pareto_front(run, stored, monkeypatch):
    """The surrogate would prefer the largest network, with the worst loss."""

    def by_size(self: Ranking, trials: Sequence[Any], count: int) -> list[Any]:
        return sorted(trials, key=lambda trial: -trial.architecture.deployed.params)[:count]

    monkeypatch.setattr(Ranking, "best", by_size)
    settings = {"objective": "nll,params", "strategy": "random", "families": False, "pruner": "none"}
    levels: Mapping[str, float] = {"trial-0000": 1.0, "trial-0001": 2.0, "trial-0002": 3.0}
    sizes = {}

    def evaluate(job: Job) -> Any:
        sizes[job.key] = job.architecture.deployed.params
        for epoch in range(1, 9):
            yield EpochResult(epoch, 1.0, levels[job.key], 0.5, 0.0)
        return Measured()

    report = run(evaluate, **settings, budget=3, finalists=0)
    front = {point.trial: point.params for point in report.pareto}
    assert report.winner.trial == max(front, key=lambda number: front[number])
    assert facts(stored().finalists()) == {report.winner.trial: (0, 1, None)}


def test_several_drivers_store_one(driver):
    first, second = (driver(finalists=0) for _ in range(2))
    turn_by_turn(first, second)
    rows = first.study.finalists()
    assert [(row.rank, row.seeds) for row in rows] == [(1, 0)]
    assert first.choice() == second.choice()


def test_it_is_not_stored_on_outdated_information(driver):
    """The first driver has seen all trials end; the second has started another one since."""
    first, second = (driver(finalists=0, pruner="none", budget=budget) for budget in (2, 3))
    for _ in range(2):
        execute(first, ask(first))
    job = ask(second)
    assert not first.done
    assert first.study.finalists() == []
    execute(second, job)
    assert second.done
    assert [row.rank for row in first.study.finalists()] == [1]


def test_another_driver_that_continues_withdraws_it(driver):
    first = driver(finalists=0, budget=2)
    while (job := first.ask()) is not None:
        execute(first, job)
    assert [row.rank for row in first.study.finalists()] == [1]
    ask(driver(finalists=0, budget=3))
    assert first.study.finalists() == []


def ask(search: Search) -> Job:
    """The next job, which there is."""
    job = search.ask()
    assert job is not None
    return job

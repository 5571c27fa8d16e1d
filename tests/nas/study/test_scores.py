"""Proxies in a search: scored in batches by the runner, kept in the database, and counted as compute."""

from __future__ import annotations

import json
from statistics import fmean

import pytest

from nas.config import SearchConfig
from nas.strategy import planner, policy, pool, ranking
from nas.study.spec import make_spec
from results.store.store import Role, State
from runners.protocol import Cause, EpochResult, Measured, Outcome, Score
from search_space.errors import RunnerError

LISTED = 40


@pytest.fixture(autouse=True)
def _short_list(monkeypatch):
    monkeypatch.setattr(pool, "SIZE", LISTED)


@pytest.fixture
def entropy(settings):
    """Settings of a search by entropy."""
    return {"strategy": "entropy", "families": False, "budget": 4, "finalists": 0}


def scored_by_hand(search, seconds: float = 6.0) -> list:
    """Answer all scoring jobs: the larger, the better. Returns the first other job."""
    jobs = []
    while (job := search.ask()).task == "score":
        scores = tuple({"entropy": Score(float(item.params), 0.1)} for item in job.batch)
        search.tell(job.key, Outcome("complete", seconds, measured=Measured(scores=scores)))
        jobs.append(job)
    return [*jobs, job]


def test_candidates_are_scored_in_batches_and_the_best_is_trained(open_search, entropy, stored):
    search = open_search(**entropy)
    *batches, job = scored_by_hand(search)
    assert [len(batch.batch) for batch in batches] == [planner.SCORED_AT_ONCE, LISTED - planner.SCORED_AT_ONCE]
    assert {batch.proxies for batch in batches} == {("entropy",)}
    offered = {item for batch in batches for item in batch.batch}
    assert len(offered) == LISTED
    assert job.architecture.params == max(item.params for item in offered)
    rows = stored().evaluations(Role.PROXIES)
    assert [(row.key, row.state, row.seconds) for row in rows] == [
        ("proxies-0000", State.COMPLETE, 6.0),
        ("proxies-0001", State.COMPLETE, 6.0),
    ]


def test_scoring_counts_as_compute(open_search, entropy):
    """Twelve seconds of scoring, where an epoch takes two: six of the eight epochs of a training."""
    search = open_search(**entropy)
    *_, job = scored_by_hand(search)
    search.report(job.key, [EpochResult(epoch, 1.0, 1.0, 0.5, 2.0) for epoch in range(1, 9)])
    search.tell(job.key, Outcome("complete", 16.0))
    assert search.budget.fte == pytest.approx((6 + 8) / 8)


def test_while_a_batch_is_scored_it_is_not_asked_for_again(open_search, entropy):
    search = open_search(**entropy)
    jobs = []
    while (job := search.ask()) is not None:
        assert job.task == "score"
        jobs.append(job)
    assert not search.done
    batches = [architecture.hash for job in jobs for architecture in job.batch]
    assert len(jobs) > 1  # side by side
    assert len(set(batches)) == len(batches)


def test_a_proxy_that_has_no_value_comes_last(open_search, entropy):
    search = open_search(**entropy)
    while (job := search.ask()).task == "score":
        scores = tuple({"entropy": Score(None if n else -5.0, 0.1)} for n, _ in enumerate(job.batch))
        search.tell(job.key, Outcome("complete", 1.0, measured=Measured(scores=scores)))
    assert search.scoring.values[job.architecture.hash]["entropy"] == -5.0


def test_the_search_continues_without_scores_that_cannot_be_computed(open_search, entropy):
    search = open_search(**entropy)
    first = search.ask()
    search.tell(first.key, Outcome("failed", 1.0, Cause.OUT_OF_MEMORY, "no"))
    assert not {item.hash for item in search.ask().batch} & {item.hash for item in first.batch}


def test_scoring_that_keeps_failing_ends_the_search(open_search, entropy):
    search = open_search(**entropy)
    for _ in range(4):
        search.tell(search.ask().key, Outcome("failed", 1.0, Cause.BUG, "no"))
    with pytest.raises(RunnerError, match="5 evaluations in a row failed"):
        search.tell(search.ask().key, Outcome("failed", 1.0, Cause.BUG, "no"))


def test_interrupted_scoring_is_restarted(open_search, entropy, stored):
    search = open_search(**entropy)
    first = search.ask()
    again = open_search(**entropy)
    assert stored().evaluations(Role.PROXIES)[0].state == State.PRUNED
    job = again.ask()
    assert (job.task, job.key, len(job.batch)) == ("score", "proxies-0001", len(first.batch))


def test_a_second_study_computes_no_score_again(run, stored, entropy):
    """With real proxies on real images; the second study offers the same candidates, as it has the same seed."""
    first = run(**entropy)
    rows = stored().evaluations(Role.PROXIES)
    assert {row.state for row in rows} == {State.COMPLETE}
    assert sum(row.seconds for row in rows) == pytest.approx(first.compute.stages["proxies"].seconds)
    assert first.compute.stages["proxies"].seconds > 0
    second = run(**entropy, study="second")
    assert stored("second").evaluations(Role.PROXIES) == []
    assert second.compute.stages["proxies"].count == 0
    hashes = [[row.architecture.hash for row in stored(name).evaluations(Role.TRIAL)] for name in ("study", "second")]
    assert hashes[0] == hashes[1]


def test_another_seed_is_scored_again(run, stored, entropy):
    """A score depends on the weights that a network begins with."""
    run(**entropy)
    run(**entropy, study="second", seed=1)
    assert stored("second").evaluations(Role.PROXIES) != []


def test_the_surrogate_may_see_proxies(run, stored, monkeypatch):
    monkeypatch.setattr(policy, "STARTUP", 8)
    run(strategy="auto", proxies="params,depth", families=False, budget=16, finalists=0)
    rows = stored().evaluations(Role.PROXIES)
    assert rows
    assert {row.state for row in rows} == {State.COMPLETE}
    assert len(stored().evaluations(Role.TRIAL)) == 16


def test_the_command_scores_for_the_surrogate_once(nas, stored, settings, monkeypatch):
    """Real trainings of digits; the second study trains the same architectures and finds all scores in the database."""
    monkeypatch.setattr(policy, "STARTUP", 6)
    monkeypatch.setattr(planner, "SCORED_AT_ONCE", 16)
    monkeypatch.setattr(pool, "FRESH", 2)
    monkeypatch.setattr(ranking, "TIME_WEIGHT", 0.0)  # the next proposal must not depend on the clock
    command = ["search", "--space", settings["space"], "--runner", "inline", "--epochs", 2, "--max-params", "8k"]
    command += ["--sampler", "surrogate", "--proxies", "zico,l2", "--no-families", "--no-local", "--pruner", "none"]
    command += ["--budget", 8, "--finalists", 0, "--out", settings["out"], "--json"]
    reports = []
    for name in ("study", "second"):
        ran = nas(*command, "--study", name)
        assert ran.code == 0, ran.err
        reports.append(json.loads(ran.out))
    first, second = stored("study"), stored("second")
    trials, batches = first.evaluations(Role.TRIAL), first.evaluations(Role.PROXIES)
    assert [row.state for row in (*trials, *batches)] == [State.COMPLETE] * (8 + len(batches))
    hashes = [row.architecture.hash for row in trials]
    context = make_spec(SearchConfig.make(space=settings["space"], epochs=2)).scoring_context
    scores = first.store.scores(context, hashes)
    assert set(hashes[:6]) <= set(scores)
    assert {frozenset(found) for found in scores.values()} == {frozenset({"zico", "l2"})}
    seconds = sum(row.seconds for row in batches)
    assert seconds > 0
    epoch = fmean(epoch.seconds for curve in first.curves().values() for epoch in curve)
    assert reports[0]["compute"]["fte"] == pytest.approx(8 + seconds / epoch / 2, rel=1e-3)
    assert reports[1]["compute"]["fte"] == 8
    assert second.evaluations(Role.PROXIES) == []
    assert [row.architecture.hash for row in second.evaluations(Role.TRIAL)] == hashes

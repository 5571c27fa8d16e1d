"""Which trial or candidate is better: by a surrogate once there are labels, by dominance, by random trade-offs."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from nas.strategy.planner import Start
from nas.strategy.pool import Candidate
from nas.strategy.ranking import OPTIMISM, Ranking
from nas.strategy.surrogate import MIN_LABELS
from nas.study.records import new_trial
from results.report.pareto import pareto_front
from results.store.store import State
from runners.protocol import Cause, EpochResult, Outcome


def train(search, nll: float, accuracy: float = 0.5, *, to: int = 2, seconds: float = 0.0) -> None:
    """Let the next trial be trained, up to its rung or its end, with the same figures in all epochs."""
    job = search.ask()
    search.report(job.key, [EpochResult(epoch, nll, nll, accuracy, seconds) for epoch in range(1, to + 1)])
    search.tell(job.key, Outcome("complete" if to == 8 else "stopped", 1.0))


@pytest.fixture
def opened(open_search):
    """A search with a surrogate and no pruner unless named, of random trials at first."""

    def make(**changes):
        return open_search(
            **{
                "strategy": "auto",
                "proxies": (),
                "families": False,
                "pruner": "none",
                "budget": 1000,
                "finalists": 0,
                **changes,
            }
        )

    return make


def test_without_enough_labels_there_is_no_surrogate(opened):
    search = opened()
    for _ in range(MIN_LABELS - 1):
        train(search, 1.0, to=8)
    assert not search.planner.ranking.can_rank
    train(search, 1.0, to=8)
    assert search.planner.ranking.can_rank


def test_what_cannot_be_trained_is_a_label_too_and_other_failures_are_not(opened):
    search = opened()
    for _ in range(MIN_LABELS - 1):
        train(search, 1.0, to=8)
    for cause in (Cause.BUG, Cause.WORKER_LOST):
        search.tell(search.ask().key, Outcome("failed", 1.0, cause, "it broke"))
        while search.book.pending:  # a worker that was lost is replaced twice
            search.tell(search.ask().key, Outcome("failed", 1.0, cause, "it broke"))
        assert not search.planner.ranking.can_rank
    search.tell(search.ask().key, Outcome("failed", 1.0, Cause.OUT_OF_MEMORY, "too large"))
    assert search.planner.ranking.can_rank


def test_a_trial_that_has_only_just_begun_is_no_label(opened):
    """Twice as many run beside each other as it takes: a first epoch tells nothing, the rung does."""
    search = opened(pruner="halving")
    jobs = [search.ask() for _ in range(2 * MIN_LABELS)]
    for job in jobs:
        search.report(job.key, [EpochResult(1, 1.0, 1.0, 0.5, 0.0)])
    assert not search.planner.ranking.can_rank
    for job in jobs[:MIN_LABELS]:
        search.report(job.key, [EpochResult(2, 1.0, 1.0, 0.5, 0.0)])
        search.tell(job.key, Outcome("stopped", 1.0))
    assert search.planner.ranking.can_rank


def test_a_search_knows_how_large_the_validation_split_is(opened):
    assert opened().spec.validation_images == 360  # of digits


def test_without_a_surrogate_the_loss_at_the_same_epoch_counts(opened):
    search = opened(sampler="random")
    for nll in (3.0, 1.0, 2.0):
        train(search, nll, to=8)
    assert search.planner.ranking.at_rung(search.book.searched, 2) == [3.0, 1.0, 2.0]
    assert search.planner.ranking.best(search.book.searched, 2) == [search.book.searched[1], search.book.searched[2]]


def test_with_a_surrogate_it_is_the_loss_expected_at_the_end(opened):
    """All gain log 4 from the rung to the end, so that the one that waits at 3 is expected to end at 3/4."""
    search = opened(pruner="halving")
    for nll in (4.0, 5.0, 3.0, 6.0):
        train(search, nll)
    job = search.ask()
    assert (job.key, job.reported) == ("trial-0002", 2)
    search.report(job.key, [EpochResult(epoch, 0.75, 0.75, 0.5, 0.0) for epoch in range(3, 9)])
    search.tell(job.key, Outcome("complete", 1.0))
    ranking, trials = search.planner.ranking, search.book.searched
    assert ranking.at_rung(trials, 2) == pytest.approx(np.log([1.0, 1.25, 0.75, 1.5]))
    assert ranking.best(trials, 3) == [trials[2], trials[0], trials[1]]
    train(search, 2.0)
    assert ranking.best(trials, 1) == [trials[4]]  # is expected to end at 1/2, though it has not come below 2
    assert trials[4].state == State.PAUSED


@pytest.mark.parametrize("sampler", ["surrogate", "random"])
def test_what_cannot_be_trained_is_not_among_the_best(opened, sampler):
    search = opened(sampler=sampler)
    job = search.ask()
    search.report(job.key, [EpochResult(1, 0.1, 0.1, 0.5, 0.0)])
    search.tell(job.key, Outcome("failed", 1.0, Cause.DIVERGED, "nan"))
    assert search.planner.ranking.best(search.book.searched, 1) == []
    assert search.choice() is None
    train(search, 1.0, to=8)
    assert search.planner.ranking.best(search.book.searched, 2) == [search.book.searched[1]]


def test_with_several_objectives_dominance_counts_first(opened):
    """NLL and accuracy: 0 and 1 are dominated by none, 3 by trial 0 alone, 2 by all others; then the NLL counts."""
    search = opened(sampler="random", objective="nll,accuracy")
    for nll, accuracy in [(2.0, 0.95), (1.0, 0.9), (3.0, 0.8), (2.5, 0.92)]:
        train(search, nll, accuracy, to=8)
    assert search.planner.ranking.at_rung(search.book.searched, 2) == [1.0, 0.0, 3.0, 2.0]


def candidates(search, count: int) -> list[Candidate]:
    rng, spec = random.Random(7), search.spec
    return [Candidate(spec.space.sample(rng, spec.limits), "sampler") for _ in range(count)]


def test_candidates_are_ranked_by_what_the_surrogate_predicts(opened):
    search = opened()
    for _ in range(2 * MIN_LABELS):
        job = search.ask()
        nll = job.architecture.params / 20_000  # small ones are good
        search.report(job.key, [EpochResult(epoch, nll, nll, 0.5, 0.0) for epoch in range(1, 9)])
        search.tell(job.key, Outcome("complete", 1.0))
    ranking = search.planner.ranking
    assert ranking.can_rank
    sizes = [candidate.architecture.params for candidate in ranking.rank(candidates(search, 60))]
    assert np.corrcoef(range(60), sizes)[0, 1] > 0.5


def test_candidates_are_ranked_by_proxies_in_proportion_to_their_labels(opened):
    """A proxy that was lowest where losses were highest puts a high one first; without values it says nothing."""
    search, rng = opened(sampler="surrogate", proxies="zico", budget=1000), random.Random(0)
    trials, scores, offered = [], {}, candidates(search, 40)
    for item in candidates(search, 80)[40:]:
        start = Start(item.architecture, "sampler", "random")
        trial = search.book.start(new_trial(search.spec, start, len(search.book.searched)))
        value = rng.uniform(-1.0, 1.0)
        scores[item.architecture.hash] = {"zico": value}
        search.report(trial.key, [EpochResult(epoch, 1.0, math.exp(-value), 0.5, 0.0) for epoch in range(1, 9)])
        search.tell(trial.key, Outcome("complete", 1.0))
        trials.append(trial)
    for place, item in enumerate(offered):
        scores.setdefault(item.architecture.hash, {"zico": 1.0 if place == 7 else None if place == 8 else 0.0})
    told = Ranking(search.spec.problem, trials, scores)
    untold = Ranking(search.spec.problem, trials, {})
    assert told.can_rank
    assert untold.can_rank
    places = [ranking.rank(offered).index(offered[7]) for ranking in (told, untold)]
    assert places[0] == 0
    assert places[1] > 3


def test_with_several_objectives_the_first_is_never_dominated(opened):
    """ParEGO's function grows with every objective, so its minimum is on the front, wherever the weights put it."""
    search = opened(objective="nll,params")
    for _ in range(MIN_LABELS):
        job = search.ask()
        nll = 40_000 / job.architecture.params  # large ones are good, so that there is something to trade off
        search.report(job.key, [EpochResult(epoch, nll, nll, 0.5, 0.0) for epoch in range(1, 9)])
        search.tell(job.key, Outcome("complete", 1.0))
    ranking = search.planner.ranking
    assert ranking.can_rank
    offered = candidates(search, 80)
    vectors = np.array([ranking._features(item.architecture) for item in offered])
    means, stds = ranking._surrogate.predict(vectors, np.empty((80, 0)))
    points = list(zip(means - OPTIMISM * stds, [item.architecture.params for item in offered], strict=True))
    front = {offered[index].architecture for index in pareto_front(points)}
    firsts = {ranking.rank(offered)[0].architecture for _ in range(40)}
    assert firsts <= front
    assert len(firsts) > 2


def test_with_several_objectives_neighbours_of_the_whole_front_are_candidates(opened):
    """NLL and accuracy: 0 and 1 are dominated by none, 2 and 3 by 0."""
    search = opened(sampler="random", objective="nll,accuracy")
    for nll, accuracy in [(2.0, 0.95), (1.0, 0.9), (3.0, 0.8), (2.5, 0.92)]:
        train(search, nll, accuracy, to=8)
    front, ranking = search.book.searched[:2], search.planner.ranking
    assert sorted(ranking.centres(3), key=search.book.searched.index) == front
    one_at_a_time = [ranking.centres(1) for _ in range(50)]
    assert [front[0]] in one_at_a_time
    assert [front[1]] in one_at_a_time


@pytest.mark.parametrize("slow", [0, 1])
def test_of_two_equally_good_candidates_the_faster_comes_first(opened, slow):
    search = opened()
    for number in range(MIN_LABELS + 2):
        train(search, 1.0, to=8, seconds=4.0 if number % 2 == slow else 0.5)
    ranking = search.planner.ranking
    assert ranking.can_rank
    pair = [Candidate(trial.architecture, "sampler") for trial in search.book.searched[:2]]
    assert ranking.rank(pair)[-1] == pair[slow]


def test_with_several_objectives_seconds_do_not_count(opened):
    rankings = []
    for study, slow in (("even", 0), ("odd", 1)):
        search = opened(objective="nll,params", study=study)
        for number in range(MIN_LABELS + 2):
            train(search, 1.0 + 0.01 * number, to=8, seconds=4.0 if number % 2 == slow else 0.5)
        ranking = search.planner.ranking
        assert ranking.can_rank
        trials = [Candidate(trial.architecture, "sampler") for trial in search.book.searched]
        rankings.append([item.architecture for item in ranking.rank(trials)])
    assert rankings[0] == rankings[1]

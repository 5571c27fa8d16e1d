"""Who is better: by a model once there are labels, by dominance with several objectives, by random trade-offs."""

from __future__ import annotations

import random

import numpy as np
import pytest

from nas.judge import OPTIMISM
from nas.model import MIN_LABELS
from nas.shortlist import Candidate
from results.pareto import pareto_front
from runners.base import Cause, EpochResult, Outcome


def train(search, nll: float, accuracy: float = 0.5, *, to: int = 2) -> None:
    """Let the next trial be trained, up to its rung or its end, with the same figures in all epochs."""
    job = search.ask()
    search.report(job.key, [EpochResult(epoch, nll, nll, accuracy, 0.0) for epoch in range(1, to + 1)])
    search.tell(job.key, Outcome("complete" if to == 8 else "stopped", 1.0))


@pytest.fixture
def opened(open_search):
    """A search with a model, of random trials at first; nobody goes on before there are a thousand."""

    def make(**changes):
        return open_search(
            **{"strategy": "auto", "families": False, "pruner": "none", "budget": 1000, "finalists": 0, **changes}
        )

    return make


def test_without_enough_labels_there_is_no_model(opened):
    search = opened()
    for _ in range(MIN_LABELS - 1):
        train(search, 1.0, to=8)
    assert not search.planner.judge.knows
    train(search, 1.0, to=8)
    assert search.planner.judge.knows


def test_what_cannot_be_trained_is_a_label_too_and_other_failures_are_not(opened):
    search = opened()
    for _ in range(MIN_LABELS - 1):
        train(search, 1.0, to=8)
    for cause in (Cause.BUG, Cause.WORKER_LOST):
        search.tell(search.ask().key, Outcome("failed", 1.0, cause, "it broke"))
        while search.pending:  # a worker that was lost is replaced twice
            search.tell(search.ask().key, Outcome("failed", 1.0, cause, "it broke"))
        assert not search.planner.judge.knows
    search.tell(search.ask().key, Outcome("failed", 1.0, Cause.OUT_OF_MEMORY, "too large"))
    assert search.planner.judge.knows


def test_without_a_model_the_loss_at_the_same_epoch_counts(opened):
    search = opened(ranker="none")
    for nll in (3.0, 1.0, 2.0):
        train(search, nll, to=8)
    assert search.planner.judge.at_rung(search.searched, 2) == [3.0, 1.0, 2.0]
    assert search.planner.judge.best(search.searched, 2) == [search.searched[1], search.searched[2]]


def test_with_several_objectives_dominance_counts_first(opened):
    """NLL and accuracy: 0 and 1 are dominated by none, 3 by trial 0 alone, 2 by all others; then the NLL counts."""
    search = opened(ranker="none", objective="nll,accuracy")
    for nll, accuracy in [(2.0, 0.95), (1.0, 0.9), (3.0, 0.8), (2.5, 0.92)]:
        train(search, nll, accuracy, to=8)
    assert search.planner.judge.at_rung(search.searched, 2) == [1.0, 0.0, 3.0, 2.0]


def candidates(search, count: int) -> list[Candidate]:
    rng, question = random.Random(7), search.question
    return [Candidate(question.space.sample(rng, question.limits), "sampler") for _ in range(count)]


def test_candidates_are_ranked_by_what_the_model_promises(opened):
    search = opened()
    for _ in range(2 * MIN_LABELS):
        job = search.ask()
        nll = job.architecture.params / 20_000  # small ones are good
        search.report(job.key, [EpochResult(epoch, nll, nll, 0.5, 0.0) for epoch in range(1, 9)])
        search.tell(job.key, Outcome("complete", 1.0))
    judge = search.planner.judge
    assert judge.knows
    sizes = [candidate.architecture.params for candidate in judge.rank(candidates(search, 60))]
    assert np.corrcoef(range(60), sizes)[0, 1] > 0.5


def test_with_several_objectives_the_first_is_never_dominated(opened):
    """ParEGO's function grows with every objective, so its minimum is on the front, wherever the weights put it."""
    search = opened(objective="nll,params")
    for _ in range(MIN_LABELS):
        job = search.ask()
        nll = 40_000 / job.architecture.params  # large ones are good, so that there is something to trade off
        search.report(job.key, [EpochResult(epoch, nll, nll, 0.5, 0.0) for epoch in range(1, 9)])
        search.tell(job.key, Outcome("complete", 1.0))
    judge = search.planner.judge
    assert judge.knows
    offered = candidates(search, 80)
    means, spreads = judge._model.predict(np.array([judge._vector(item.architecture) for item in offered]))
    points = list(zip(means - OPTIMISM * spreads, [item.architecture.params for item in offered], strict=True))
    front = {offered[index].architecture for index in pareto_front(points)}
    firsts = {judge.rank(offered)[0].architecture for _ in range(40)}
    assert firsts <= front
    assert len(firsts) > 2

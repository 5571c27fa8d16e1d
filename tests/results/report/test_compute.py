"""Full-training equivalents by hand: eight epochs are a full training."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from results.database.schema import Role
from results.report.compute import Compute, FullTraining


@dataclass
class Evaluation:
    role: str
    epochs_run: int = 0
    seconds: float = 0.0


@dataclass
class Epoch:
    seconds: float


@pytest.mark.parametrize(
    ("evaluation", "fte"),
    [
        (Evaluation(Role.TRIAL, 8, 40.0), 1.0),
        (Evaluation(Role.TRIAL, 2, 40.0), 0.25),  # pruned, or failed: its epochs were computed
        (Evaluation(Role.TRIAL, 11, 40.0), 1.375),  # three epochs were lost and computed again
        (Evaluation(Role.TRIAL, 0, 40.0), 0.0),  # its latency was measured, and was too long
        (Evaluation(Role.FINALIST, 8, 40.0), 1.0),
        (Evaluation(Role.TEST, 1, 40.0), 0.0),
        (Evaluation(Role.PROXIES, 0, 4.0), 0.25),  # of 16 seconds
        (Evaluation("proxies", 0, 4.0), 0.25),  # as the database has it
    ],
)
def test_what_an_evaluation_costs(evaluation, fte):
    assert FullTraining(epochs=8, seconds=16.0).of([evaluation]) == fte


def test_costs_add_up():
    rows = [Evaluation(Role.TRIAL, 8), Evaluation(Role.FINALIST, 4), Evaluation(Role.PROXIES, 0, 8.0)]
    assert FullTraining(epochs=8, seconds=16.0).of(rows) == 1 + 0.5 + 0.5


def test_scoring_counts_as_nothing_until_an_epoch_was_timed():
    assert FullTraining(epochs=8).of([Evaluation(Role.PROXIES, 0, 4.0)]) == 0.0
    assert FullTraining(epochs=0).of([Evaluation(Role.PROXIES, 0, 4.0)]) == 0.0  # nothing says how long trainings are


def test_a_search_counts_as_it_goes():
    compute = Compute(full_epochs=8)
    batch, trial, finalist = (Evaluation(role) for role in (Role.PROXIES, Role.TRIAL, Role.FINALIST))
    compute.score(batch)
    batch.seconds = 6.0
    assert (compute.scorings, compute.fte) == (1, 0.0)
    for seconds in (2.0, 4.0):  # 3 s an epoch, 24 s a full training
        compute.run(trial, 1)
        compute.time(trial, Epoch(seconds))
    assert compute.fte == 2 / 8 + 6 / 24
    compute.run(finalist, 8)
    compute.time(finalist, Epoch(99.0))  # the cost of scoring is fixed when the trials are over
    compute.run(Evaluation(Role.TEST), 1)
    assert compute.fte == 2 / 8 + 6 / 24 + 1


def test_how_long_a_training_takes_may_be_known_beforehand():
    compute = Compute(full_epochs=8, full_seconds=12.0)
    compute.score(Evaluation(Role.PROXIES, 0, 6.0))
    compute.time(Evaluation(Role.TRIAL), Epoch(99.0))
    assert compute.fte == 0.5

"""Every strategy searches to its end, with every kind of question that it can be asked."""

from __future__ import annotations

import pytest

from nas.strategy import planner
from nas.strategy import pool as pool
from nas.strategy.presets import STRATEGIES
from results.store.store import Role, State

PROBLEMS = {
    "plain": {},
    "two objectives": {"objective": "nll,params"},
    "limits": {"max_params": "12k", "max_macs": "150k"},
    "compute": {"max_fte": 9, "budget": 500},
}


@pytest.fixture(autouse=True)
def _short_lists(monkeypatch):
    """Fewer candidates, and a model after eight trials, so that a search of a few trials goes through all stages."""
    monkeypatch.setattr(pool, "SIZE", 40)
    monkeypatch.setattr(planner, "STARTUP", 8)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_strategy_searches_to_its_end(run, stored, strategy, problem):
    changes = {"strategy": strategy, "families": None, "budget": 16, "seeds": 1, **PROBLEMS[problem]}
    report = run(**changes)
    rows = stored().evaluations(Role.TRIAL)
    assert {row.state for row in rows} <= {State.COMPLETE, State.PRUNED}
    assert len({row.architecture.hash for row in rows}) == len(rows) == report.evaluated
    assert len(rows) == 16 or "max_fte" in changes
    assert all(row.architecture.params <= 12_000 for row in rows) or problem != "limits"
    assert all(row.architecture.macs <= 150_000 for row in rows) or problem != "limits"
    assert report.winner.test_nll is not None
    assert [row.phase for row in rows[:2]] == ["families"] * 2 or not STRATEGIES[strategy].families


def test_the_stages_of_auto_in_order(run, stored):
    run(strategy="auto", budget=40, finalists=0)
    stages = [row.phase for row in stored().evaluations(Role.TRIAL)]
    assert stages[:8] == ["families"] * 2 + ["startup"] * 6
    assert set(stages[8:]) == {"explore", "sampler", "local"}


@pytest.mark.parametrize(
    ("changes", "missing"),
    [({"families": False}, "families"), ({"local": False}, "local"), ({"ranker": "none"}, "explore")],
    ids=str,
)
def test_an_ablation_leaves_one_part_out(run, stored, changes, missing):
    run(**{"strategy": "auto", "budget": 32, "finalists": 0, **changes})
    assert missing not in {row.phase for row in stored().evaluations(Role.TRIAL)}


def test_the_largest_come_in_order_of_size(run, stored, space):
    """With a list as long as the space they are the largest there are, within the limit."""
    pool.SIZE = 2000
    run(strategy="largest", families=False, max_params="20k", budget=5, finalists=0)
    found = [row.architecture.params for row in stored().evaluations(Role.TRIAL)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 19_000

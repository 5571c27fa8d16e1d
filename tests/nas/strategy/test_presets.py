"""Every strategy searches to its end, on every kind of problem."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nas.config import SearchConfig
from nas.strategy import policy
from nas.strategy import pool as pool
from nas.strategy.presets import STRATEGIES
from results.store.store import Role, State
from search_space.errors import ConfigError

PROBLEMS = {
    "plain": {},
    "two objectives": {"objective": "nll,params"},
    "limits": {"max_params": "12k", "max_macs": "150k"},
    "compute": {"max_fte": 9, "budget": 500},
}


@pytest.fixture(autouse=True)
def _short_lists(monkeypatch):
    """Fewer candidates with a proxy that trains nothing, and a surrogate after eight trials: a short search goes
    through all phases.
    """
    monkeypatch.setitem(STRATEGIES, "auto", replace(STRATEGIES["auto"], proxies=("params",)))
    monkeypatch.setattr(pool, "SIZE", 40)
    monkeypatch.setattr(policy, "STARTUP", 8)


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


def test_the_phases_of_auto_in_order(run, stored):
    run(strategy="auto", budget=40, finalists=0)
    stages = [row.phase for row in stored().evaluations(Role.TRIAL)]
    assert stages[:8] == ["families"] * 2 + ["startup"] * 6
    assert set(stages[8:]) == {"explore", "sampler", "local"}


@pytest.mark.parametrize(
    ("changes", "missing"),
    [({"families": False}, "families"), ({"local": False}, "local"), ({"sampler": "random"}, "explore")],
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


def test_what_serves_the_surrogate_leaves_with_it():
    auto = STRATEGIES["auto"]
    assert auto.with_parts({}) == auto
    assert auto.with_parts({"sampler": "tpe"}) == replace(auto, sampler="tpe", proxies=(), local=False)


def test_a_ranker_takes_the_place_of_the_surrogate():
    auto = STRATEGIES["auto"]
    assert auto.with_parts({"ranker": "zico"}) == replace(
        auto, sampler="random", ranker="zico", proxies=(), local=False
    )
    assert STRATEGIES["largest"].with_parts({"sampler": "surrogate"}) == replace(
        STRATEGIES["largest"], sampler="surrogate", ranker="none"
    )


def test_the_ranker_of_earlier_versions_is_a_sampler_now():
    with pytest.raises(
        ConfigError, match="--ranker is 'model'; it is now the sampler 'surrogate': --sampler surrogate"
    ):
        SearchConfig.make(ranker="model")

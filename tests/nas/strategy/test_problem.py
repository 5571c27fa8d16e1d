"""What a strategy knows of a search."""

from __future__ import annotations


def test_every_run_of_a_search_draws_from_a_seed_of_its_own(open_search):
    problem = open_search(seed=7).spec.problem
    assert problem.seed_after(0) == 7
    assert len({problem.seed_after(begun) for begun in range(1_000)}) == 1_000

"""What a failure means for the budget and for retries."""

from __future__ import annotations

from search_space.causes import INFEASIBLE_CAUSES, Cause, counts_towards_budget


def test_only_what_was_too_slow_does_not_count():
    assert [cause for cause in Cause if not counts_towards_budget(cause)] == [Cause.TOO_SLOW]
    assert counts_towards_budget(None)
    assert not counts_towards_budget("too_slow")  # as the database has it


def test_failures_of_the_architecture_are_not_retried():
    assert {"diverged", "out_of_memory", "too_slow", "timeout"} == INFEASIBLE_CAUSES

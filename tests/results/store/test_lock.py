"""One driver per study on SQLite, any number on PostgreSQL."""

from __future__ import annotations

import os

import pytest

from results.store.store import Store
from search_space.errors import StudyError


def test_a_second_driver_is_refused_until_the_first_has_ended(sqlite_store):
    other = Store(sqlite_store.url)
    for _ in range(2):
        with (
            sqlite_store.driving("study"),
            pytest.raises(StudyError, match=r"'study' is already being searched by process"),
            other.driving("study"),
        ):
            pass
    other.close()


def test_the_lock_file_names_its_holder(sqlite_store):
    with (
        sqlite_store.driving("study"),
        pytest.raises(StudyError, match=f"by process {os.getpid()}; wait"),
        sqlite_store.driving("study"),
    ):
        pass


def test_studies_have_locks_of_their_own(store):
    with store.driving("first"), store.driving("second"):
        pass


def test_a_failure_gives_the_lock_back(store):
    with pytest.raises(ZeroDivisionError), store.driving("study"):
        raise ZeroDivisionError
    with store.driving("study"):
        pass

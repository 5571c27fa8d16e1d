"""The cache of proxy scores, on SQLite and PostgreSQL."""

from __future__ import annotations

import pytest

from results.store import architectures as rows


def test_scores_are_found_by_context_and_architecture(store, architectures):
    first, second, third = architectures[:3]
    store.put_scores("here", {first: {"zico": (1.5, 0.25), "l2": (2.5, 0.125)}, second: {"zico": (None, 0.5)}})
    store.put_scores("there", {first: {"zico": (9.0, 0.75)}})
    assert store.scores("here", [first.hash, second.hash, third.hash]) == {
        first.hash: {"zico": (1.5, 0.25), "l2": (2.5, 0.125)},
        second.hash: {"zico": (None, 0.5)},
    }
    assert store.scores("there", [first.hash]) == {first.hash: {"zico": (9.0, 0.75)}}
    assert store.scores("here", [third.hash]) == store.scores("nowhere", [first.hash]) == store.scores("here", []) == {}


def test_what_is_known_stays_and_what_is_new_is_added(store, architectures):
    first, second = architectures[:2]
    store.put_scores("here", {first: {"zico": (1.5, 0.25)}})
    store.put_scores("here", {first: {"zico": (7.0, 7.0), "l2": (2.5, 0.125)}, second: {"zico": (0.5, 0.5)}})
    assert store.scores("here", [first.hash, second.hash]) == {
        first.hash: {"zico": (1.5, 0.25), "l2": (2.5, 0.125)},
        second.hash: {"zico": (0.5, 0.5)},
    }
    store.put_scores("here", {})


def test_not_a_number_is_no_value(store, architectures):
    store.put_scores("here", {architectures[0]: {"zico": (float("nan"), 0.25)}})
    assert store.scores("here", [architectures[0].hash]) == {architectures[0].hash: {"zico": (None, 0.25)}}


def test_an_architecture_shares_its_row_with_trials(store, make_study, new_evaluation, architectures, space):
    store.put_scores("here", {architectures[0]: {"zico": (1.0, 0.0)}})
    study = make_study(store)
    study.driver.start(new_evaluation(0, architectures[0]), {axis.name: axis for axis in space.axes})
    (row,) = study.evaluations()
    with store.session() as session:
        assert rows.known_ids(session, [architectures[0].hash]) == {architectures[0].hash: row.architecture_id}


def test_more_than_fit_into_a_query(store, architectures, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rows, "CHUNK", 3)
    scores = {architecture: {"l2": (float(number), 0.0)} for number, architecture in enumerate(architectures)}
    store.put_scores("here", scores)
    found = store.scores("here", [architecture.hash for architecture in architectures])
    assert found == {architecture.hash: score for architecture, score in scores.items()}

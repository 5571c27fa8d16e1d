"""The dashboard shows our studies, on both databases."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request

import pytest

from results.dashboard import make_dashboard
from results.store import State


def fetch(address: tuple[str, int], path: str):
    with urllib.request.urlopen(f"http://{address[0]}:{address[1]}{path}") as response:
        return json.load(response)


@pytest.fixture
def address(store, make_study, add_evaluation, architectures):
    """Where a dashboard is served on a database with one study of two trials."""
    study = make_study(store, "mine")
    add_evaluation(study, 0, architectures[0], nll=0.5)
    add_evaluation(study, 1, architectures[1], state=State.FAILED, cause="bug", epochs=0)
    server = make_dashboard(store.url, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_address
    server.shutdown()
    thread.join()
    server.server_close()


def test_dashboard(address):
    assert address[0] == "127.0.0.1"
    (summary,) = fetch(address, "/api/studies")["study_summaries"]
    assert (summary["study_name"], summary["directions"]) == ("mine", ["minimize"])
    detail = fetch(address, f"/api/studies/{summary['study_id']}?after=0")
    assert detail["name"] == "mine"
    assert [(trial["number"], trial["state"]) for trial in detail["trials"]] == [(0, "Complete"), (1, "Fail")]
    assert detail["trials"][0]["values"] == [0.5]
    assert detail["objective_names"] == ["nll"]
    with pytest.raises(urllib.error.HTTPError, match="404"):
        fetch(address, "/api/studies/99?after=0")


def test_a_port_that_is_taken_is_an_oserror(address, store):
    with pytest.raises(OSError):
        make_dashboard(store.url, "127.0.0.1", address[1])

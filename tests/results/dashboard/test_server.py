"""The dashboard shows our studies, on both databases, only to requests that name this machine."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from results.dashboard import Dashboard
from results.store.store import State, Store
from search_space.errors import ConfigError, StorageError


@contextmanager
def serving(url: str, host: str = "127.0.0.1") -> Iterator[Dashboard]:
    server = Dashboard(url, host, 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


Answer = tuple[int, http.client.HTTPMessage, bytes]


def ask(server: Dashboard, path: str, method: str = "GET", **headers: str) -> Answer:
    """Status, headers and body, with no header but those given; `Host` is the server's unless it says otherwise."""
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=30)
    headers = {"Host": f"localhost:{server.server_port}", **headers}
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        if value:
            connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, response.headers, body


def fetch(server: Dashboard, path: str):
    status, _, body = ask(server, path)
    assert status == 200, body
    return json.loads(body)


@pytest.fixture
def fill(make_study, add_evaluation, architectures) -> Callable[..., None]:
    """Put a study of two trials into a store."""

    def make(store) -> None:
        study = make_study(store, "mine")
        add_evaluation(study, 0, architectures[0], nll=0.5)
        add_evaluation(study, 1, architectures[1], state=State.FAILED, cause="bug", epochs=0)

    return make


@pytest.fixture
def served(sqlite_store, fill) -> Iterator[Dashboard]:
    """A dashboard on an SQLite file."""
    fill(sqlite_store)
    with serving(sqlite_store.url) as server:
        yield server


def test_dashboard(store, fill):
    fill(store)
    with serving(store.url) as server:
        assert server.server_address[0] == "127.0.0.1"
        (summary,) = fetch(server, "/api/studies")["study_summaries"]
        assert (summary["study_name"], summary["directions"]) == ("mine", ["minimize"])
        detail = fetch(server, f"/api/studies/{summary['study_id']}?after=0")
        assert detail["name"] == "mine"
        assert [(trial["number"], trial["state"]) for trial in detail["trials"]] == [(0, "Complete"), (1, "Fail")]
        assert detail["trials"][0]["values"] == [0.5]
        assert detail["objective_names"] == ["nll"]
        assert ask(server, "/api/studies/99?after=0")[0] == 404


def test_a_database_that_cannot_be_read(served, sqlite_store, capfd):
    with sqlite_store.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE trial_params RENAME TO gone")
    status, _, body = ask(served, "/api/studies/1")
    assert status == 503
    assert json.loads(body) == {"reason": "the database cannot be read: no such table: trial_params"}
    assert capfd.readouterr().err == ""


# Where it listens.


@pytest.mark.parametrize(
    ("host", "shown", "is_local"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.2", "127.0.0.2", True),
        ("::1", "[::1]", True),
        ("[::1]", "[::1]", True),
        ("0.0.0.0", "127.0.0.1", False),
        ("::", "[::1]", False),
        ("", "127.0.0.1", False),
    ],
)
def test_hosts(sqlite_store, fill, host, shown, is_local):
    fill(sqlite_store)
    with serving(sqlite_store.url, host) as server:
        assert server.url == f"http://{shown}:{server.server_port}/"
        assert server.is_local == is_local
        assert ask(server, "/dashboard", Host=f"{shown}:{server.server_port}")[0] == 200


def test_localhost_is_local(sqlite_store, fill):
    fill(sqlite_store)
    with serving(sqlite_store.url, "localhost") as server:
        assert server.is_local


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("host.invalid", "--host host.invalid is not an address or name of this machine"),
        ("not a host", "--host not a host is not an address or name of this machine"),
        ("192.0.2.1", "--host 192.0.2.1 is not an address of this machine; allowed: its own, 0.0.0.0 or :: for all"),
        ("2001:db8::1", "--host 2001:db8::1 is not an address of this machine"),
        ("\x1b[2J", r"--host '\\x1b\[2J' is not an address or name of"),
        ("x" * 300, "--host 'xxx"),
        ("a..b", "--host a..b is not an address or name of this machine: it cannot be a name"),
    ],
)
def test_hosts_that_it_cannot_listen_on(sqlite_store, host, message):
    with pytest.raises(ConfigError, match=f"^{message}") as caught:
        Dashboard(sqlite_store.url, host, 0)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_that_is_taken(sqlite_store, fill, host):
    fill(sqlite_store)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as taken:
        taken.bind((host, 0))
        taken.listen()
        with pytest.raises(ConfigError, match="is not available: it is taken; choose another --port"):
            Dashboard(sqlite_store.url, host, taken.getsockname()[1])


# Allowed requests.


@pytest.mark.parametrize(
    "name", ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "127.9.9.9", "[::1]", "localhost:8888", "127.0.0.1:1"]
)
def test_its_own_names(served, name):
    """With any port: `ssh -L` gives it another one."""
    assert ask(served, "/api/studies", Host=name)[0] == 200


FOREIGN = (
    *("evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.nip.io", "evil@localhost", "192.0.2.1"),
    *("[2001:db8::1]", "localhost, evil.example", "[::1", "::1", "localhost:port", "localhost:8080:8080", "127.1", ""),
)


@pytest.mark.parametrize("path", ["/", "/dashboard", "/api/studies", "/static/bundle.js"])
def test_foreign_names_are_refused(served, path):
    """Otherwise a page with a name that resolves to this machine (DNS rebinding) could read all studies."""
    for name in FOREIGN:
        status, _, body = ask(served, path, Host=name)
        assert (name, status) == (name, 421)
        assert json.loads(body) == {"reason": "The dashboard does not answer to this host name."}


def test_names_of_a_dashboard_for_others(sqlite_store, fill):
    fill(sqlite_store)
    with serving(sqlite_store.url, "0.0.0.0") as server:
        for name in (socket.gethostname(), f"{socket.gethostname().upper()}:80", "192.0.2.1:8080", "[2001:db8::1]"):
            assert ask(server, "/api/studies", Host=name)[0] == 200
        for name in ("evil.example", f"{socket.gethostname()}.evil.example"):
            assert ask(server, "/api/studies", Host=name)[0] == 421


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["/api/studies/1", "/api/studies", "/api/studies/1/note", "/incompatible-rdb-schema"])
def test_it_changes_nothing(served, method, path):
    assert ask(served, path, method)[0] in (403, 501)
    assert len(fetch(served, "/api/studies")["study_summaries"]) == 1


PATHS = (
    "/dashboard",
    "/dashboard/studies/1",
    "/static/bundle.js",
    "/favicon.ico",
    "/api/meta",
    "/api/studies/1?after=0",
)


@pytest.mark.parametrize("path", PATHS)
def test_answers_do_not_depend_on_what_encodings_are_taken(served, path):
    status, headers, plain = ask(served, path)
    assert (status, headers["Content-Encoding"]) == (200, None)
    status, headers, compressed = ask(served, path, Accept_Encoding="gzip, br")
    assert status == 200
    assert int(headers["Content-Length"]) == len(compressed)
    if headers["Content-Encoding"] == "gzip":
        assert len(compressed) < len(plain)
        compressed = gzip.decompress(compressed)
    assert compressed == plain
    assert len(plain) > 10


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("encodings", ["", "gzip"])
def test_head(served, path, encodings):
    status, headers, body = ask(served, path, "HEAD", Accept_Encoding=encodings)
    assert (status, body) == (200, b"")
    assert headers["Content-Type"]


@pytest.mark.parametrize("path", ["/", *PATHS, "/static/none", "/api/studies/99", "/nowhere", "/csv/1"])
def test_every_answer_says_what_its_page_may_do(served, path):
    _, headers, _ = ask(served, path)
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert "unsafe-inline" not in policy["script-src"]
    assert (policy["default-src"], policy["base-uri"], policy["form-action"]) == ("'none'",) * 3
    assert policy["frame-ancestors"] == "'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert len(headers.get_all("Content-Security-Policy")) == 1


@pytest.mark.parametrize(
    "path", ["../index.html", "..%2f_app.py", "%2e%2e/_app.py", "//etc/passwd", "/etc/passwd", "..%5c_app.py", "%00"]
)
def test_files_outside_its_folder_are_not_served(served, path):
    for prefix in ("/static/", "/artifacts/1/", "/artifacts/1/1/", "/dashboard/../static/"):
        status, _, body = ask(served, prefix + path)
        assert status in (400, 403, 404) or b"Optuna Dashboard" in body
        assert b"root:" not in body
        assert b"def create_app" not in body


def test_a_database_without_a_study_is_one_sentence(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'nas.db'}"
    Store(url).close()
    with pytest.raises(StorageError, match="holds no studies yet; run a search first"):
        Dashboard(url, "127.0.0.1", 0)

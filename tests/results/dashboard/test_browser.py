"""Text from a database runs no script in the dashboard's page: seen in a real browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIServer, make_server

import optuna
import pytest

from results.dashboard import Dashboard
from results.dashboard.guard import Names, guarded

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium (Debian: apt-get install chromium)")

SCRIPTS = """\
<img src=x onerror="new Image().src='/ran-img'"><script>new Image().src='/ran-script'</script>\
<svg onload="new Image().src='/ran-svg'"></svg><iframe srcdoc="<script>new Image().src='/ran-frame'</script>"></iframe>\
<a id=link href="javascript:void(new Image().src='/ran-link')">link</a><script>link.click()</script>\
<base href="/ran-base/"><form id=form action="/ran-form"></form><object data="/ran-object"></object>"""
MARKDOWN = """

[link](javascript:new%20Image%28%29.src='/ran-markdown')

```mermaid
graph TD; A["<img src=x onerror=fetch('/ran-mermaid')>"]
```
"""


@contextmanager
def running(server: WSGIServer) -> Iterator[list[str]]:
    """A server at work; the paths that it is asked for."""
    asked: list[str] = []
    application = server.get_app()

    def noting(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        asked.append(environ["PATH_INFO"])
        return application(environ, start_response)

    server.set_app(noting)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def show(url: str, profile: Path) -> tuple[str, str]:
    """What a page has become once its scripts are done, and what the browser says of it."""
    command = [str(BROWSER), "--headless", "--disable-gpu", f"--user-data-dir={profile}", "--enable-logging=stderr"]
    command += ["--no-sandbox"] if os.getuid() == 0 else []
    command += ["--virtual-time-budget=10000", "--timeout=60000", "--dump-dom", url]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return ran.stdout, ran.stderr


def page(policy: bool) -> WSGIServer:
    """A server that shows such text as HTML, as a dashboard with a fault would."""

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/html")])
        return [b"<!doctype html><p>shown</p>", SCRIPTS.encode()] if environ["PATH_INFO"] == "/page" else [b""]

    server = make_server("127.0.0.1", 0, application)
    if policy:
        server.set_app(guarded(application, Names("127.0.0.1", IPv4Address("127.0.0.1"))))
    return server


@pytest.mark.parametrize("policy", [False, True])
def test_the_policy_stops_scripts_even_where_html_is_shown_as_such(tmp_path, policy):
    with running(server := page(policy)) as asked:
        dom, said = show(f"http://127.0.0.1:{server.server_port}/page", tmp_path)
    assert "shown" in dom
    assert ("Content Security Policy" in said) == policy
    ran = {path for path in asked if path.startswith("/ran")}
    assert ran >= {"/ran-img", "/ran-script", "/ran-svg", "/ran-frame"} if not policy else not ran


def test_notes_and_attributes_run_nothing(tmp_path, sqlite_store, make_study):
    from optuna_dashboard import save_note

    make_study(sqlite_store, SCRIPTS[:200])
    storage = optuna.storages.RDBStorage(sqlite_store.url)
    study = optuna.load_study(study_name=SCRIPTS[:200], storage=storage)
    study.set_user_attr(SCRIPTS[:400], SCRIPTS)
    save_note(study, SCRIPTS + MARKDOWN + "the end of the note")
    storage.remove_session()
    storage.engine.dispose()
    with running(server := Dashboard(sqlite_store.url, "127.0.0.1", 0)) as asked:
        dom, said = show(f"{server.url}dashboard/studies/1/note", tmp_path)
    assert "the end of the note" in dom
    assert "/api/studies/1" in asked
    assert not [path for path in asked if path.startswith("/ran")]
    assert "Content Security Policy" not in said

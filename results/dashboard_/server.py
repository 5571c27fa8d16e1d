"""The Optuna dashboard on our database."""

from __future__ import annotations

from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna


class _Server(ThreadingMixIn, WSGIServer):
    """One thread a request: the page asks for several things at once."""

    daemon_threads = True
    storage: optuna.storages.RDBStorage | None = None

    def server_close(self) -> None:
        super().server_close()
        if self.storage is not None:
            self.storage.engine.dispose()


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """No line a request."""


def serve(url: str, host: str, port: int) -> None:
    """Serve until Ctrl-C.

    Raises:
        OSError: If the port cannot be had.
    """
    make_dashboard(url, host, port).serve_forever()


def make_dashboard(url: str, host: str, port: int) -> _Server:
    """A server that is bound and ready to serve; port 0 picks a free one."""
    from optuna_dashboard import wsgi

    storage = optuna.storages.RDBStorage(url, skip_table_creation=True)
    try:
        server = make_server(host, port, read_only(wsgi(storage)), server_class=_Server, handler_class=_Quiet)
    except OSError:
        storage.engine.dispose()
        raise
    server.storage = storage
    return server


def read_only(application: Any) -> Any:
    """The application without its ways to change a study: deleting one there would orphan our tables."""

    def guarded(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return application(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "application/json")])
        return [b'{"reason": "The dashboard shows studies; it does not change them."}']

    return guarded

"""Protects the dashboard: which requests a browser may send, and what its page may do.

A page of another site cannot read this server's responses unless its name resolves to this machine (DNS rebinding), so
a request that names another host is refused. Text in a database, such as notes, is shown as Markdown, which may contain
HTML, so the page may run no scripts but the dashboard's own files.
"""

from __future__ import annotations

import gzip
import ipaddress
import re
import socket
from collections.abc import Callable, Iterable
from typing import Any

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'unsafe-eval'",  # Plotly's parallel coordinates compile functions for their shaders
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_LEAST = 1024
"""Responses of at least this many bytes are compressed."""


class Names:
    """The host names that a server answers to: only its own, and none that could be pointed at it from outside.

    A numeric address is always accepted: a browser that sends it is connected to it.

    Args:
        host: As given by the user.
        ip: The address it is bound to.
    """

    def __init__(self, host: str, ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
        self._local = ip.is_loopback
        self._names = {"localhost", host.lower()}
        if ip.is_unspecified:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    def __contains__(self, header: str) -> bool:
        """Whether a ``Host`` header is one of them, with any port, since ports may be forwarded."""
        parts = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:,\s]+)(:[0-9]{0,5})?", header)
        if parts is None:
            return False
        name = parts[1].strip("[]").lower()
        try:
            ip = ipaddress.ip_address(name)
        except ValueError:
            return name.removesuffix(".") in self._names
        return ip.is_loopback or not self._local


def guarded(application: Application, names: Names) -> Application:
    """The application with protection: read-only, only under its own names, without foreign scripts."""

    def guard(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            kept = [(name, value) for name, value in headers if name.title() not in _REPLACED]
            return start_response(status, [*kept, *HEADERS.items()], *error)

        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):  # deleting a study would orphan our tables
            return _refuse(start, "403 Forbidden", "The dashboard shows studies; it does not change them.")
        if environ.get("HTTP_HOST", "") not in names:
            return _refuse(start, "421 Misdirected Request", "The dashboard does not answer to this host name.")
        takes_gzip = environ["REQUEST_METHOD"] == "GET" and "gzip" in environ.get("HTTP_ACCEPT_ENCODING", "")
        environ["HTTP_ACCEPT_ENCODING"] = ""  # Optuna's dashboard relies on it, and sets it wrongly for its icon
        return _compressed(application, environ, start) if takes_gzip else application(environ, start)

    return guard


_REPLACED = {name.title() for name in HEADERS}


def _refuse(start: Callable[..., Any], status: str, reason: str) -> Iterable[bytes]:
    body = f'{{"reason": "{reason}"}}'.encode()
    start(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def _compressed(application: Application, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """The response of an application, compressed if that makes it much smaller."""
    answer: list[Any] = []
    chunks = application(environ, lambda *parts: answer.append(parts))
    try:
        body = b"".join(chunks)
    finally:
        getattr(chunks, "close", lambda: None)()
    status, headers, *error = answer[-1]
    kind = next((value for name, value in headers if name.title() == "Content-Type"), "")
    if status.startswith("200") and len(body) >= _LEAST and kind.startswith(("application/json", "text/")):
        body = gzip.compress(body, compresslevel=1)
        headers = [(name, value) for name, value in headers if name.title() != "Content-Length"]
        headers += [("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding"), ("Content-Length", str(len(body)))]
    start(status, headers, *error)
    return [body]

"""The dashboard's server, on IPv4 or IPv6, and its address."""

from __future__ import annotations

import errno
import ipaddress
import socket
import sys
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from results.dashboard.guard import Names, guarded
from results.dashboard.reading import ReadingStorage
from results.dashboard.studies import with_quick_studies
from search_space.errors import ConfigError, brief, printable

_MOST = 100
"""Maximum length of a host in a message."""


class Dashboard(ThreadingMixIn, WSGIServer):
    """A server bound to its port, with one thread per request, since the page sends several at once.

    Args:
        url: URL of the database.
        host: Address or name of this machine; empty for all of its addresses.
        port: 0 picks a free one.

    Attributes:
        is_local: Whether it can be reached only from this machine.

    Raises:
        ConfigError: If it cannot listen there.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, url: str, host: str, port: int) -> None:
        self.address_family, self._address = _resolve(host, port)
        self.ip = _without_mapping(self._address[0])
        self.is_local = self.ip.is_loopback
        try:
            super().__init__(self._address, _Quiet)
        except OSError as error:
            raise _unusable(host, port, error) from None
        names = Names(host, self.ip)
        try:
            self._storage = ReadingStorage(url)
            self.set_app(guarded(with_quick_studies(self._storage), names))
        except BaseException:
            self.server_close()
            raise

    @property
    def url(self) -> str:
        """Its URL for a browser on this machine."""
        ip = self.ip
        if ip.is_unspecified:
            ip = ipaddress.ip_address("127.0.0.1" if ip.version == 4 else "::1")
        return f"http://{f'[{ip}]' if ip.version == 6 else ip}:{self.server_port}/"

    def server_bind(self) -> None:
        """Bind (``::`` to both families) without a reverse lookup of the address, which may take seconds."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if self.ip.is_unspecified else 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self._address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.ip), self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print one line for a failed request, and nothing for a browser that disconnects."""
        error = sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError)):
            print(f"nas: a request failed: {brief(error, 200)}", file=sys.stderr)  # noqa: T201

    def server_close(self) -> None:
        super().server_close()
        storage = getattr(self, "_storage", None)
        if storage is not None:
            storage.engine.dispose()


class _Quiet(WSGIRequestHandler):
    timeout = 60  # from a browser that sends nothing

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing per request."""

    def address_string(self) -> str:
        """Skip the reverse lookup of names."""
        return str(self.client_address[0])


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        found = socket.getaddrinfo(bare or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, ValueError) as error:  # ValueError for text that cannot be a name
        reason = getattr(error, "strerror", None) or "it cannot be a name"
        raise ConfigError(
            f"--host {printable(host, _MOST)} is not an address or name of this machine: {reason}"
        ) from None
    family, _, _, _, address = found[0]
    return family, address


def _unusable(host: str, port: int, error: OSError) -> ConfigError:
    shown = printable(host, _MOST)
    if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return ConfigError(f"--host {shown} is not an address of this machine; allowed: its own, 0.0.0.0 or :: for all")
    reason = "it is taken" if error.errno == errno.EADDRINUSE else error.strerror
    return ConfigError(f"port {port} of {shown} is not available: {reason}; choose another --port; 0 picks a free one")


def _without_mapping(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    ip = ipaddress.ip_address(text.partition("%")[0])
    return getattr(ip, "ipv4_mapped", None) or ip

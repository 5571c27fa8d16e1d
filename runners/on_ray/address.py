"""Addresses of Ray clusters. Nothing here loads Ray, unless the address is "auto"."""

from __future__ import annotations

import importlib.util
import os
import socket

from search_space.errors import RunnerError

CONNECT_TIMEOUT_S = 5.0
CLIENT = "ray://"
"""Prefix of an address if this machine is not a node of the cluster."""


def cluster_address(address: str | None) -> str | None:
    """The address of the cluster: the given one, else ``RAY_ADDRESS``; None for this machine."""
    chosen = address or os.environ.get("RAY_ADDRESS") or None
    return None if chosen == "local" else chosen


def check_address(address: str) -> None:
    """Check that something that may be Ray listens at a cluster's address; Ray itself would try for minutes.

    Raises:
        RunnerError: If not, or if it is not an address.
    """
    if address.startswith(CLIENT) and importlib.util.find_spec("grpc") is None:
        raise RunnerError(f"the Ray address {address} needs Ray's client; pip install 'ray[client]'")
    found = _running_here() if address == "auto" else address
    host, colon, port = found.removeprefix(CLIENT).rpartition(":")
    if not host or not colon or not port.isdigit() or "/" in host:
        raise RunnerError(f"the Ray address is {address!r}; allowed: auto, HOST:PORT, ray://HOST:PORT")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S) as connection:
            greeted = os.environ.get("RAY_USE_TLS", "0") != "0" or _speaks_grpc(connection)
    except (OSError, OverflowError) as error:
        raise RunnerError(f"no Ray cluster answers at {address}: {error}") from None
    if not greeted:
        raise RunnerError(f"the server at {address} is not a Ray cluster, whose head listens on port 6379 by default")


def _speaks_grpc(connection: socket.socket) -> bool:
    """Whether the peer answers like an HTTP/2 server: with its settings (RFC 9113, 3.4)."""
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
    try:
        frame = connection.recv(9)
    except (TimeoutError, ConnectionError):
        return False
    return frame[3:4] == b"\4"


def _running_here() -> str:
    """HOST:PORT of the cluster that this machine is a node of."""
    from runners.on_ray.ray_private import address_of_running_cluster  # loads Ray

    try:
        return address_of_running_cluster()
    except ConnectionError:
        raise RunnerError(
            "no Ray cluster answers at auto: this machine is not a node of one; start it with 'ray start', "
            "or give --address HOST:PORT"
        ) from None

"""Detects the death of the Ray instance that a search uses.

Ray itself waits a minute for a dead control store (GCS) and then exits the process silently. It never notices a dead
raylet on this machine, and trials would wait forever.
"""

from __future__ import annotations

import math
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from runners.on_ray.address import CLIENT
from runners.on_ray.ray_private import VITAL, this_node

LOOK_EVERY_S = 1.0
HEAD_SILENT_S = 30.0
"""How long the head of a cluster may be unreachable: it may be restarted, and Ray gives up after a minute."""
STUCK_S = 15.0
"""How long the main thread may hang in a call to a dead Ray."""
ANSWER_TIMEOUT_S = 2.0


class RayGone(BaseException):
    """Ray has died. Not an `Exception`, which would be an error of the search."""


class Watchdog:
    """Watches Ray from a thread, since the main thread may hang in a call to it.

    Args:
        address: Address of the cluster; None for the Ray of this process.
        exit_with: Exits the process with a message, when a call to a dead Ray does not return.
    """

    def __init__(self, address: str | None, exit_with: Callable[[str], None] | None = None) -> None:
        self._node = this_node()
        self._head: str | None = None
        if self._node is None:
            self._head = address and address.removeprefix(CLIENT)
        elif not self._node.all_processes:  # these are not children of this process
            self._head = str(self._node.gcs_address)
        self._where = f"the Ray cluster at {address}" if address else "Ray on this machine"
        self._exit_with = exit_with or _exit_process
        self._gone: str | None = None
        self._in_ray = True
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="nas-ray-watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def gone(self) -> str | None:
        """A clause that says what has died; None while Ray is alive."""
        dead = self._dead_here()
        if dead is not None:
            self._gone = f"{self._where} has died ({dead})"
        return self._gone

    def check(self) -> None:
        """Raise RayGone if Ray has died."""
        if self.gone is not None:
            raise RayGone(self.gone)

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Suspend the watch during long work without Ray, such as waiting for a database."""
        self._in_ray = False
        try:
            yield
        finally:
            self._in_ray = True

    def _dead_here(self) -> str | None:
        """Which vital process of Ray has died; None if all are alive."""
        if self._node is None:
            return None
        if self._head is None:
            return next((f"its {VITAL[kind]}" for kind, _ in self._node.dead_processes() if kind in VITAL), None)
        try:
            with socket.socket(socket.AF_UNIX) as raylet:
                raylet.settimeout(ANSWER_TIMEOUT_S)
                raylet.connect(self._node.raylet_socket_name)
        except (ConnectionRefusedError, FileNotFoundError):
            return "the raylet of this machine"
        except OSError:  # it is busy
            pass
        return None

    def _head_answers(self) -> bool:
        assert self._head is not None
        host, _, port = self._head.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_TIMEOUT_S).close()
        except OSError:
            return False
        return True

    def _watch(self) -> None:
        answered, hangs_since = time.monotonic(), float("nan")
        while not self._stop.wait(LOOK_EVERY_S):
            now = time.monotonic()
            if self._head is not None:
                if self._head_answers():
                    answered = now
                elif now - answered > HEAD_SILENT_S:
                    self._gone = f"{self._where} has died (its head does not answer)"
            if self.gone is None or not self._in_ray:
                hangs_since = float("nan")
            elif math.isnan(hangs_since):
                hangs_since = now
            elif now - hangs_since > STUCK_S:
                self._exit_with(
                    f"{self.gone}; this process cannot recover. Nothing is lost; the same command continues the study"
                )


def _exit_process(text: str) -> None:
    """Exit the process as Ray itself would, but with a message."""
    sys.stderr.write(f"\nnas: {text}\n")
    sys.stderr.flush()
    os._exit(2)

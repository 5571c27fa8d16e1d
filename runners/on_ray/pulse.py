"""Whether the Ray that a search uses is still there.

Ray itself waits for a dead control store (GCS) for a minute and then ends the process without a word; a dead raylet on
this machine it never misses, and trials wait for ever.
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
PATIENCE_S = 30.0
"""How long the head of a cluster may be out of reach: it may be started again, and Ray gives up after a minute."""
STUCK_S = 15.0
"""How long the main thread may hang in a call to a Ray that is gone."""
ANSWER_TIMEOUT_S = 2.0


class RayGone(BaseException):
    """Ray has died. No `Exception`: of those Tune makes failures of trials, or tidies up what is not there any more."""


class Pulse:
    """Watches Ray from a thread, as the main thread may hang in a call to it.

    Args:
        address: Of the cluster; None for a Ray of this process.
        last_words: Takes a sentence if the process has to end, since a call to Ray does not come back.
    """

    def __init__(self, address: str | None, last_words: Callable[[str], None] | None = None) -> None:
        self._node = this_node()
        self._head: str | None = None
        if self._node is None:
            self._head = address and address.removeprefix(CLIENT)
        elif not self._node.all_processes:  # they are not children of this process
            self._head = str(self._node.gcs_address)
        self._where = f"the Ray cluster at {address}" if address else "Ray on this machine"
        self._last_words = last_words or _say
        self._gone: str | None = None
        self._in_ray = True
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="nas-ray-pulse", daemon=True)

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def gone(self) -> str | None:
        """A clause that says what has died; None while Ray is there."""
        dead = self._dead_here()
        if dead is not None:
            self._gone = f"{self._where} has died ({dead})"
        return self._gone

    def feel(self) -> None:
        """Raise RayGone if it is."""
        if self.gone is not None:
            raise RayGone(self.gone)

    @contextmanager
    def outside(self) -> Iterator[None]:
        """What takes its time without Ray, such as waiting for a database."""
        self._in_ray = False
        try:
            yield
        finally:
            self._in_ray = True

    def _dead_here(self) -> str | None:
        """Which process of Ray's has died that this process cannot do without; None if all are there."""
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
                elif now - answered > PATIENCE_S:
                    self._gone = f"{self._where} has died (its head does not answer)"
            if self.gone is None or not self._in_ray:
                hangs_since = float("nan")
            elif math.isnan(hangs_since):
                hangs_since = now
            elif now - hangs_since > STUCK_S:
                self._last_words(
                    f"{self.gone}, and nothing else can be done. Nothing is lost; the same command goes on"
                )


def _say(text: str) -> None:
    """End the process as Ray itself would, but with a sentence."""
    sys.stderr.write(f"\nnas: {text}\n")
    sys.stderr.flush()
    os._exit(2)

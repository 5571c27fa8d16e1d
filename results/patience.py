"""Waiting for a database that is away for a while: restarted, or beyond a network that has failed."""

from __future__ import annotations

import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from search_space.errors import StorageError

PATIENCE_S = 900.0
"""How long a database may be away before that is an error."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
_AWAY = ("08", "57P", "53300")
"""SQLSTATEs: connection exceptions, a server that stops or starts, too many connections."""

Answer = TypeVar("Answer")
sleep = time.sleep


def patiently(act: Callable[[], Answer], on_wait: Callable[[str], None]) -> Answer:
    """Do something with a database, again and again while it is away.

    Args:
        act: What may be done any number of times.
        on_wait: Called with a sentence before the first pause.

    Raises:
        StorageError: If it fails for another reason, or is away for longer than `PATIENCE_S`.
        KeyboardInterrupt: On Ctrl-C and SIGTERM, while it waits.
    """
    waited, pause = 0.0, FIRST_PAUSE_S
    while True:
        try:
            return act()
        except StorageError as error:
            if waited >= PATIENCE_S or not is_away(error.__cause__):
                raise
            if not waited:
                on_wait(f"{error}; waiting for it, up to {PATIENCE_S / 60:.0f} minutes")
        with _interruptible():
            sleep(pause)
        waited, pause = waited + pause, min(2 * pause, LONGEST_PAUSE_S)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end a pause at once; whoever runs trials has them wait for the end of an epoch."""
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread alone
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    usual = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def is_away(error: BaseException | None) -> bool:
    """Whether an error says that the database cannot be reached now, rather than that a statement is wrong."""
    if not isinstance(error, DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.OperationalError):
        return error.orig.sqlite_errorname in ("SQLITE_BUSY", "SQLITE_LOCKED")
    state = getattr(error.orig, "sqlstate", None)
    if state is None:  # it never came to a statement: no connection, or one that broke
        return error.connection_invalidated or type(error.orig).__name__ == "OperationalError"
    return error.connection_invalidated or str(state).startswith(_AWAY)

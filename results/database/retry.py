"""Retries while a database is temporarily unavailable, for example during a restart or a network failure."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from search_space.errors import StorageError
from search_space.signals import interruptible

RETRY_FOR_S = 900.0
"""How long a database may be unavailable before that is an error. Arbitrary: time to restart a server or fix a
network."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
_UNDONE = ("40001", "40P01")
"""SQLSTATEs of transactions that the server rolled back in favour of others."""
_AWAY = ("08", "57P", "53300", "25P03", "25006")
"""SQLSTATEs: connection exceptions, a server that stops or starts, too many connections, a transaction that was idle
for too long, a server that became a standby."""

Answer = TypeVar("Answer")
sleep, now = time.sleep, time.monotonic


def with_retries(act: Callable[[], Answer], on_wait: Callable[[str], None]) -> Answer:
    """Call a function that uses a database, and retry while the database is unavailable.

    Args:
        act: The function, which may be called any number of times.
        on_wait: Called with a message before the first pause.

    Raises:
        StorageError: If it fails for another reason, or the database is unavailable for longer than `RETRY_FOR_S`.
        KeyboardInterrupt: On Ctrl-C and SIGTERM, while it waits.
    """
    began, pause, told = now(), FIRST_PAUSE_S, False
    while True:
        try:
            return act()
        except StorageError as error:
            if now() - began >= RETRY_FOR_S or not is_away(error.__cause__):
                raise
            if not told and _sqlstate(error.__cause__) not in _UNDONE:
                on_wait(f"{error}; waiting for it, up to {RETRY_FOR_S / 60:.0f} minutes")
                told = True
        with interruptible():
            sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)


def is_away(error: BaseException | None) -> bool:
    """Whether an error means that the database is unavailable, rather than that a statement is wrong."""
    if not isinstance(error, DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.OperationalError):
        # Errors of the Python driver itself, such as text that is not UTF-8, have no SQLSTATE.
        return getattr(error.orig, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
    state = _sqlstate(error)
    if state is None:  # no statement was executed: there was no connection, or it broke
        return error.connection_invalidated or type(error.orig).__name__ == "OperationalError"
    return error.connection_invalidated or state.startswith((*_AWAY, *_UNDONE))


def _sqlstate(error: BaseException | None) -> str | None:
    """The SQLSTATE of an error of PostgreSQL; None for other errors."""
    return getattr(getattr(error, "orig", None), "sqlstate", None)

"""Waiting for a database that is away for a while: restarted, or behind a network that has failed."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from search_space.errors import StorageError
from search_space.signals import interruptible

PATIENCE_S = 900.0
"""How long a database may be away before it is an error. Arbitrary: time to restart a server or mend a network."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
_UNDONE = ("40001", "40P01")
"""SQLSTATEs of transactions that the server rolled back in favour of others."""
_AWAY = ("08", "57P", "53300", "25P03", "25006")
"""SQLSTATEs: connection exceptions, a server that stops or starts, too many connections, a transaction that idled for
too long, a server that became a standby."""

Answer = TypeVar("Answer")
sleep, now = time.sleep, time.monotonic


def patiently(act: Callable[[], Answer], on_wait: Callable[[str], None]) -> Answer:
    """Do something with a database, again and again while it is away.

    Args:
        act: What may be done any number of times.
        on_wait: Called with a sentence before the first pause.

    Raises:
        StorageError: If it fails for another reason, or is away for longer than `PATIENCE_S`.
        KeyboardInterrupt: On Ctrl-C and SIGTERM, while it waits.
    """
    began, pause, told = now(), FIRST_PAUSE_S, False
    while True:
        try:
            return act()
        except StorageError as error:
            if now() - began >= PATIENCE_S or not is_away(error.__cause__):
                raise
            if not told and _sqlstate(error.__cause__) not in _UNDONE:
                on_wait(f"{error}; waiting for it, up to {PATIENCE_S / 60:.0f} minutes")
                told = True
        with interruptible():
            sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)


def is_away(error: BaseException | None) -> bool:
    """Whether an error says that the database cannot be reached now, rather than that a statement is wrong."""
    if not isinstance(error, DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.OperationalError):
        # Errors of the driver itself, such as text that is not UTF-8, have no name.
        return getattr(error.orig, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
    state = _sqlstate(error)
    if state is None:  # no statement was executed: there was no connection, or it broke
        return error.connection_invalidated or type(error.orig).__name__ == "OperationalError"
    return error.connection_invalidated or state.startswith((*_AWAY, *_UNDONE))


def _sqlstate(error: BaseException | None) -> str | None:
    """What PostgreSQL calls the error, if it comes from there."""
    return getattr(getattr(error, "orig", None), "sqlstate", None)

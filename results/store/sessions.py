"""An open database: sessions that raise our errors, and retries while it is unavailable."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from results.database.cells import translated
from results.database.connection import open_engine, shown, sqlite_file, sqlite_url
from results.database.retry import is_away, with_retries
from search_space.errors import StorageError

Answer = TypeVar("Answer")


class Sessions:
    """An open database.

    Args:
        url: A SQLite or PostgreSQL URL.
        create: Whether a missing database may be created.

    Attributes:
        on_wait: Called with a message while the database is unavailable.
        at_close: Called before the connections are closed.

    Raises:
        StorageError: If it cannot be used.
    """

    def __init__(self, url: str, *, create: bool = True) -> None:
        self.url = url
        self.engine = open_engine(url, create=create)
        self.on_wait: Callable[[str], None] = lambda _: None
        self.at_close: list[Callable[[], None]] = []
        self._reached_since = time.monotonic()
        self._given_up = False

    def __str__(self) -> str:
        return shown(self.url)

    def close(self) -> None:
        """Close all connections."""
        for stop in self.at_close:
            stop()
        self.engine.dispose()

    def check(self) -> None:
        """Check that the database is still where it was opened.

        Raises:
            StorageError: If it is a SQLite file that was deleted or replaced.
        """
        if not self.is_shared:
            with self.engine.connect():
                pass

    @property
    def place(self) -> str:
        """Its URL without a password, the same for every path that leads to a SQLite file."""
        file = sqlite_file(self.url)
        return shown(self.url) if file is None else sqlite_url(file)

    @property
    def is_shared(self) -> bool:
        """Whether several processes may drive one study."""
        return self.engine.dialect.name == "postgresql"

    def session(self) -> Session:
        """A session that raises StorageError for database errors."""
        return _FailingClearly(self.engine, expire_on_commit=False)

    def read(self, act: Callable[[Session], Answer]) -> Answer:
        """Run a read, retrying while the database is unavailable."""

        def read() -> Answer:
            with self.session() as session:
                return act(session)

        return self.with_retries(read)

    def with_retries(self, act: Callable[[], Answer]) -> Answer:
        """Call a function, retrying while the database is unavailable; see `results.database.retry`.

        Raises:
            StorageError: If it fails for another reason, or the database was unavailable for too long, now or earlier.
            KeyboardInterrupt: On Ctrl-C and SIGTERM while it waits; it does not wait again after that.
        """

        def note(sentence: str) -> None:
            self.note_absence()
            self.on_wait(sentence)

        if self._given_up:
            return act()
        try:
            return with_retries(act, note)
        except KeyboardInterrupt:
            self._given_up = True
            raise
        except StorageError as error:
            self._given_up = is_away(error.__cause__)
            raise

    def note_absence(self) -> None:
        """Record that the database could not be reached."""
        self._reached_since = time.monotonic()

    @property
    def seconds_reached(self) -> float:
        """How long it has been reachable without interruption."""
        return time.monotonic() - self._reached_since


class _FailingClearly(Session):
    """A session that raises StorageError for database errors."""

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        super().__exit__(kind, error, trace)
        damage = translated(error, self.get_bind().engine)
        if damage is not None:
            raise damage from error
        if isinstance(error, SQLAlchemyError):
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise StorageError(f"the database {shown(str(self.get_bind().engine.url))} failed: {reason}") from error

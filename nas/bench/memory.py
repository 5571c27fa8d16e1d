"""A study in memory: an implementation of `nas.study.protocols` without a database and without files.

A search that is never resumed remembers its evaluations, so only the finalists are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from nas.bench.pool import Pool
from nas.study.spec import StudySpec
from results.database.schema import FinalistRow, Role, State
from results.store.driver import Changes
from results.store.records import Ending, EpochRecord, Facts, NewEvaluation
from results.store.scores import Scores
from search_space.architecture import Architecture
from search_space.space import Axis, Range


class SimulatedSpec(StudySpec):
    """The specification of a simulated search. Its images are not read, so the data set may be missing."""

    @cached_property
    def scoring_context(self) -> str:
        return "simulation"

    def families(self) -> dict[str, Architecture]:
        return self.space.families if isinstance(self.space, Pool) else super().families()


class MemoryStudy:
    """A study that no other process drives.

    Args:
        pool: The space of the search; the architectures of its trials are taken from it.
    """

    name = "simulation"
    is_shared = False

    def __init__(self, pool: Pool) -> None:
        self.store = NoScores()
        self._driver = MemoryDriver(pool)

    def drive(self) -> MemoryDriver:
        """Start driving it."""
        return self._driver

    def finalists(self) -> list[FinalistRow]:
        """All finalists, the winner first, those without a rank last."""
        return sorted(self._driver.finalists.values(), key=lambda row: (row.rank is None, row.rank, row.number))


class MemoryDriver:
    """The only driver of a study in memory.

    Args:
        pool: The architectures of trials are taken from it.

    Attributes:
        finalists: The finalists by number.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.finalists: dict[int, FinalistRow] = {}

    def take_over(self) -> int:
        """There are no other drivers."""
        return 0

    def changes(self) -> Changes:
        """There are no other drivers."""
        return Changes()

    def start(self, new: NewEvaluation, axes: Mapping[str, Axis | Range]) -> None:
        """Remove the architecture of a new trial from the pool."""
        if new.role == Role.TRIAL:
            self._pool.take(new.architecture)

    def put_finalists(self, finalists: Sequence[tuple[int, Architecture, Mapping[str, Any]]]) -> None:
        """Create or update finalists."""
        for number, _, figures in finalists:
            row = self.finalists.setdefault(number, FinalistRow(number=number))
            for name, value in figures.items():
                setattr(row, name, value)

    # The search itself remembers the rest.

    def enqueue(self, news: Iterable[NewEvaluation], axes: Mapping[str, Axis | Range]) -> None:
        """Do nothing."""

    def set_pending(
        self, key: str, state: State, *, seconds: float = 0.0, died: bool = False, facts: Facts | None = None
    ) -> None:
        """Do nothing."""

    def add_repeated(self, key: str, epochs: int) -> None:
        """Do nothing."""

    def add_epochs(self, key: str, epochs: Sequence[EpochRecord], quality: Mapping[int, float]) -> None:
        """Do nothing."""

    def finish(self, key: str, ending: Ending) -> None:
        """Do nothing."""

    def train_again(self, key: str, waiting: str, seconds: float) -> None:
        """Do nothing."""

    def decide(self) -> None:
        """Do nothing."""

    def leave(self, tidy_up: Callable[[set[str]], object] = lambda unfinished: None) -> None:
        """Do nothing."""


class NoScores:
    """A store that keeps no scores: a replay has all of them."""

    def scores(self, context: str, hashes: Iterable[str]) -> dict[str, dict[str, tuple[float | None, float]]]:
        """None are known."""
        return {}

    def put_scores(self, context: str, scores: Mapping[Architecture, Scores]) -> None:
        """Do nothing."""


class NoFiles:
    """Nothing is trained, so there are neither weights nor checkpoints."""

    def checkpoint(self, key: str) -> Path:
        """A path that is never written."""
        return Path(f"{key}.pt")

    def weights(self, key: str) -> Path:
        """A path that is never written."""
        return Path(f"{key}.safetensors")

    def has_weights(self, key: str, sha256: str | None) -> bool:
        """There are no weights."""
        return False

    def discard_checkpoint(self, key: str) -> None:
        """Do nothing."""

    def discard(self, key: str) -> None:
        """Do nothing."""

    def sweep(self, needed: set[str]) -> None:
        """Do nothing."""

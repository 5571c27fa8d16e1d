"""What a search needs from outside: a study, a driver that writes to it, a place for files.

`results.store` and `nas.study.files` implement these protocols with a database and a folder, and `nas.bench.memory` in
memory, for simulated searches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from nas.strategy.scoring import ScoreStore
from results.database.schema import FinalistRow, State
from results.store.driver import Changes
from results.store.records import Ending, EpochRecord, Facts, NewEvaluation
from runners.remote import Location
from search_space.architecture import Architecture
from search_space.space import Axis, Range


class Driver(Protocol):
    """This process as a driver of a study; see `results.store.driver.Driver`.

    Every method that writes may raise `results.store.driver.Outdated`: another driver has written first, and nothing
    was written.
    """

    def take_over(self) -> int:
        """Release the evaluations of stopped drivers; returns the number of other active drivers."""
        ...

    def changes(self) -> Changes:
        """Return what other drivers have changed since the last call."""
        ...

    def start(self, new: NewEvaluation, axes: Mapping[str, Axis | Range]) -> None:
        """Add an evaluation as RUNNING."""
        ...

    def enqueue(self, news: Iterable[NewEvaluation], axes: Mapping[str, Axis | Range]) -> None:
        """Add evaluations as QUEUED."""
        ...

    def set_pending(
        self, key: str, state: State, *, seconds: float = 0.0, died: bool = False, facts: Facts | None = None
    ) -> None:
        """Make an evaluation QUEUED, PAUSED or RUNNING."""
        ...

    def add_repeated(self, key: str, epochs: int) -> None:
        """Count epochs that were computed a second time."""
        ...

    def add_epochs(self, key: str, epochs: Sequence[EpochRecord], quality: Mapping[int, float]) -> None:
        """Add new epochs, with the value of the first objective after each."""
        ...

    def finish(self, key: str, ending: Ending) -> None:
        """Bring an evaluation to its final state."""
        ...

    def train_again(self, key: str, waiting: str, seconds: float) -> None:
        """Queue a training whose weights were lost, and the evaluation that needs them."""
        ...

    def decide(self) -> None:
        """Record that a decision was made that changes no row."""
        ...

    def put_finalists(self, finalists: Sequence[tuple[int, Architecture, Mapping[str, Any]]]) -> None:
        """Create or update finalists: number, architecture, and columns of `results.database.schema.FinalistRow`."""
        ...

    def leave(self, tidy_up: Callable[[set[str]], object] = ...) -> None:
        """Stop driving; `tidy_up` gets the keys of all evaluations that may still be resumed."""
        ...


class Study(Protocol):
    """A study that can be driven; see `results.store.store.StudyStore`."""

    @property
    def name(self) -> str:
        """Name of the study."""
        ...

    @property
    def store(self) -> ScoreStore:
        """Where scores are kept."""
        ...

    @property
    def is_shared(self) -> bool:
        """Whether several processes may drive it at the same time."""
        ...

    def drive(self) -> Driver:
        """Start driving it."""
        ...

    def finalists(self) -> list[FinalistRow]:
        """All finalists, the winner first, those without a rank last."""
        ...


class Files(Protocol):
    """Where the weights and checkpoints of a study are; see `nas.study.files.RunFolder`."""

    def checkpoint(self, key: str) -> Location:
        """Checkpoint file of an evaluation."""
        ...

    def weights(self, key: str) -> Location:
        """Weights file of an evaluation."""
        ...

    def has_weights(self, key: str, sha256: str | None) -> bool:
        """Whether the weights of an evaluation can be read from here, unchanged."""
        ...

    def discard_checkpoint(self, key: str) -> None:
        """Delete the checkpoint of an evaluation."""
        ...

    def discard(self, key: str) -> None:
        """Delete checkpoint and weights of an evaluation."""
        ...

    def sweep(self, needed: set[str]) -> None:
        """Delete all checkpoints except those of these evaluations."""
        ...

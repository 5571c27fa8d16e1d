"""A study and a folder that keep nothing on disk, for simulations that take milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from nas.bench.pool import Pool
from nas.study.files import RunFolder
from nas.study.opening import StudySpec
from results.database.schema import FinalistRow, Role, State
from results.store.driver import Changes, Driver
from results.store.records import Ending, EpochRecord, Facts, NewEvaluation
from results.store.scores import Scores
from results.store.store import Store, StudyStore
from search_space.architecture import Architecture
from search_space.space import Axis


class SimulatedQuestion(StudySpec):
    """A question about images that nobody looks at, so that the data set need not be there."""

    @cached_property
    def scoring_context(self) -> str:
        return "simulation"

    def families(self) -> dict[str, Architecture]:
        return self.space.families if isinstance(self.space, Pool) else super().families()


class NoStore(Store):
    """A database that forgets everything."""

    def __init__(self) -> None:
        pass

    @property
    def is_shared(self) -> bool:
        return False

    def scores(self, context: str, hashes: Iterable[str]) -> dict[str, dict[str, tuple[float | None, float]]]:
        return {}

    def put_scores(self, context: str, scores: Mapping[Architecture, Scores]) -> None:
        pass


class NoStudy(StudyStore):
    """A study that begins empty and forgets everything but its finalists: a search in one piece remembers the rest.

    Args:
        pool: Where architectures come from; whatever is started is taken from it.
    """

    def __init__(self, pool: Pool) -> None:
        self.store = NoStore()
        self._driver = NoDriver(pool)

    @property
    def name(self) -> str:
        return "simulation"

    def drive(self) -> Driver:
        return self._driver

    def finalists(self) -> list[FinalistRow]:
        return sorted(self._driver.finalists.values(), key=lambda row: (row.rank is None, row.rank, row.number))


class NoDriver(Driver):
    """The only driver of a study that forgets."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.finalists: dict[int, FinalistRow] = {}

    def leave(self, tidy_up: Callable[[set[str]], object] = lambda unfinished: None) -> None:
        pass

    def decide(self) -> None:
        pass

    def take_over(self) -> int:
        return 0

    def changes(self) -> Changes:
        return Changes()

    def start(self, new: NewEvaluation, axes: Mapping[str, Axis]) -> None:
        if new.role == Role.TRIAL:
            self._pool.take(new.architecture)

    def enqueue(self, news: Iterable[NewEvaluation], axes: Mapping[str, Axis]) -> None:
        pass

    def set_pending(
        self, key: str, state: State, *, seconds: float = 0.0, died: bool = False, facts: Facts | None = None
    ) -> None:
        pass

    def add_repeated(self, key: str, epochs: int) -> None:
        pass

    def add_epochs(self, key: str, epochs: Sequence[EpochRecord], quality: Mapping[int, float]) -> None:
        pass

    def finish(self, key: str, ending: Ending) -> None:
        pass

    def put_finalists(self, finalists: Sequence[tuple[int, Architecture, Mapping[str, Any]]]) -> None:
        for number, _, figures in finalists:
            row = self.finalists.setdefault(number, FinalistRow(number=number))
            for name, value in figures.items():
                setattr(row, name, value)


class NoFolder(RunFolder):
    """A folder without files: nothing is trained, so there are no weights and no checkpoints."""

    def __init__(self) -> None:
        super().__init__(Path("nowhere"), "simulation")

    def discard_checkpoint(self, key: str) -> None:
        pass

    def discard(self, key: str) -> None:
        pass

    def sweep(self, needed: object) -> None:
        pass

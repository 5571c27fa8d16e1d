"""Factories for searches with scripted evaluations, and for the command line."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nas.api import search
from nas.config import SearchConfig
from nas.study.opening import open_folder, open_store, open_with_files
from nas.study.search import Search
from nas.study.spec import make_spec
from results.report.report import Report
from results.store.store import Store, StudyStore
from runners.protocol import EpochResult, Evaluator, Job, Measured
from runners.synthetic import synthetic


@dataclass
class Recording:
    """An evaluator that remembers its jobs and does what another one does.

    Attributes:
        evaluator: The other one.
        jobs: All jobs so far, in order.
    """

    evaluator: Evaluator = synthetic
    jobs: list[Job] = field(default_factory=list)

    def __call__(self, job: Job) -> Generator[EpochResult, None, Measured]:
        self.jobs.append(job)
        return (yield from self.evaluator(job))

    @property
    def keys(self) -> list[str]:
        return [job.key for job in self.jobs]


@pytest.fixture
def recording() -> Callable[..., Recording]:
    """An evaluator that remembers its jobs; the synthetic one unless another is given."""
    return Recording


@pytest.fixture
def scripted() -> Callable[..., Evaluator]:
    """An evaluator with the validation NLLs that a function of the job gives, one an epoch; it may raise instead.

    It resumes after the epochs that the search has, as a training does from its checkpoint.
    """

    def make(curve: Callable[[Job], Sequence[float]], measured: Measured | None = None) -> Evaluator:
        def evaluate(job: Job) -> Generator[EpochResult, None, Measured]:
            for epoch, nll in enumerate(curve(job), start=1):
                if epoch > job.reported:
                    yield EpochResult(epoch, nll, nll, 1 / (1 + nll), 0.0)
            return measured or Measured()

        return evaluate

    return make


@pytest.fixture
def settings(space_files: dict[str, Path], tmp_path: Path) -> dict[str, Any]:
    """Settings of a search of the space "small" in this process: 8 epochs with a rung after the second.

    Families first, then TPE: what tests of a model or of proxies ask for besides is theirs to set.
    """
    return {
        "space": str(space_files["small"]),
        "strategy": "tpe+halving",
        "families": True,
        "runner": "inline",
        "epochs": 8,
        "budget": 6,
        "study": "study",
        "out": str(tmp_path / "runs"),
    }


@pytest.fixture
def run(settings: dict[str, Any]) -> Callable[..., Report]:
    """Run a search to its end with the synthetic evaluator; keywords change settings and evaluator."""

    def make(evaluator: Evaluator = synthetic, **changes: Any) -> Report:
        return search(evaluator=evaluator, **{**settings, **changes})

    return make


@pytest.fixture
def open_search(settings: dict[str, Any]) -> Iterator[Callable[..., Search]]:
    """A search that is open but not running, to be asked and told by hand."""
    with ExitStack() as stack:

        def make(**changes: Any) -> Search:
            config = SearchConfig.make(**{**settings, **changes})
            folder = open_folder(config)
            store = open_store(config, folder)
            stack.callback(store.close)
            spec = make_spec(config)
            study, _ = open_with_files(store, spec, folder)
            return Search(spec, study, folder)

        yield make


@pytest.fixture
def stored(settings: dict[str, Any]) -> Iterator[Callable[..., StudyStore]]:
    """A study as stored in the database."""
    with ExitStack() as stack:

        def make(name: str = "study") -> StudyStore:
            store = Store(f"sqlite:///{settings['out']}/nas.db", create=False)
            stack.callback(store.close)
            study = store.study(name)
            assert study is not None
            return study

        yield make


@dataclass(frozen=True)
class Ran:
    """The result of a command."""

    code: int
    out: str
    err: str


@pytest.fixture
def nas(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Ran]]:
    """Run a command line in this process, through the entry point."""
    from nas.__main__ import main

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}

    def make(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["nas", *map(str, arguments)])
        monkeypatch.setattr(sys.modules["__main__"], "__package__", None)  # as in a script, not in `python -m pytest`
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Ran(ended.value.code, captured.out, captured.err)

    yield make
    for number, handler in handlers.items():
        signal.signal(number, handler)

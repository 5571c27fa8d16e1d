"""Simulations in parallel, each done once: results are kept, so that a comparison goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import cache
from multiprocessing import active_children, get_context
from pathlib import Path

import numpy as np

from nas.bench.simulation import Records, Simulation, Simulator
from nas.bench.table import Table
from search_space.errors import RunnerError, StorageError

Progress = Callable[[int, int], None]
"""Called with the number of simulations done in this process so far, and of those to do."""


def execute(
    simulations: Sequence[Simulation],
    tables: Mapping[str, Table],
    *,
    jobs: int = 0,
    cache_folder: Path | None = None,
    on_progress: Progress = lambda done, total: None,
) -> list[Records]:
    """Do simulations, or look up what they came to.

    Args:
        simulations: What to do.
        tables: The tables by name, without truth.
        jobs: Processes, which compute in a single thread each; 0 to stay in this one.
        cache_folder: Where results are kept; None to keep none.
        on_progress: Told how far it is.

    Returns:
        The records in the order of the simulations.

    Raises:
        RunnerError: If a process died.
        StorageError: If the folder cannot be written to.
        KeyboardInterrupt: On Ctrl-C; what is done is kept, what is under way is not.
    """
    store = _Store(cache_folder, tables)
    found = {index: records for index, it in enumerate(simulations) if (records := store.get(it)) is not None}
    missing = [index for index in range(len(simulations)) if index not in found]
    random.Random(0).shuffle(missing)  # slow and fast strategies mixed: what is left takes as long as what is done did
    on_progress(0, len(missing))
    todo = [simulations[index] for index in missing]
    ended = _in_processes(todo, tables, min(jobs, len(todo))) if jobs and todo else _here(todo, tables)
    with closing(ended):
        for done, (place, records) in enumerate(ended, start=1):
            found[missing[place]] = records
            store.put(todo[place], records)
            on_progress(done, len(missing))
    return [found[index] for index in range(len(simulations))]


Ended = Generator[tuple[int, Records], None, None]
"""The places of simulations, and what they came to, as they end."""


def _here(simulations: Sequence[Simulation], tables: Mapping[str, Table]) -> Ended:
    simulator = Simulator(tables)
    for place, simulation in enumerate(simulations):
        yield place, simulator.run(simulation)


def _in_processes(simulations: Sequence[Simulation], tables: Mapping[str, Table], jobs: int) -> Ended:
    """In other processes, which end at once where nobody wants to hear more."""
    others = active_children()
    with _one_thread_each():
        pool = ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_start_worker, initargs=(dict(tables),))
        try:
            futures = {pool.submit(_simulate, simulation): place for place, simulation in enumerate(simulations)}
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            raise RunnerError("a process that simulates died, as if out of memory; try fewer --jobs") from None
        except BaseException:
            for process in active_children():
                if process not in others:
                    process.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


_simulators: list[Simulator] = []  # of this worker process


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes that are started meanwhile compute in one thread: matrices are small, and cores have a process each."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _start_worker(tables: Mapping[str, Table]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    _simulators.append(Simulator(tables))


def _simulate(simulation: Simulation) -> Records:
    return _simulators[0].run(simulation)


class _Store:
    """Records in a folder, by a hash of all that decides them: what to do, the table's data, and the code."""

    def __init__(self, folder: Path | None, tables: Mapping[str, Table]) -> None:
        self._folder = folder
        self._digests: dict[tuple[str, str], str] = {}
        self._tables = tables
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StorageError(
                    f"the folder {folder} cannot be made: {error.strerror}; choose another --cache"
                ) from None

    def get(self, simulation: Simulation) -> Records | None:
        if self._folder is None:
            return None
        try:
            with np.load(self._path(self._folder, simulation)) as arrays:
                return Records(**arrays)
        except (OSError, ValueError, EOFError, TypeError):  # not there, or cut off: it is done again
            return None

    def put(self, simulation: Simulation, records: Records) -> None:
        if self._folder is None:
            return
        path = self._path(self._folder, simulation)
        try:
            with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
                np.savez_compressed(file, **vars(records))
            Path(file.name).replace(path)
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error.strerror}") from None

    def _path(self, folder: Path, simulation: Simulation) -> Path:
        key = simulation.table, simulation.band
        if key not in self._digests:
            self._digests[key] = _digest_of_band(self._tables[simulation.table], simulation.band)
        plain = asdict(simulation)
        plain["runs"] = [simulation.runs.start, simulation.runs.stop]
        del plain["arm"]["name"]
        text = json.dumps([plain, self._digests[key], _digest_of_code()], sort_keys=True)
        return folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npz"


def _digest_of_band(table: Table, band: str) -> str:
    """A hash of all that a search over this band can see."""
    names = [entry.architecture.hash for entry in table.band(band)]
    trainings = [asdict(table.trainings[key]) for key in sorted(table.trainings) if key[0] in set(names)]
    scores = {name: {proxy: asdict(score) for proxy, score in table.scores.get(name, {}).items()} for name in names}
    text = json.dumps([names, trainings, scores, asdict(table.recipe)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _digest_of_code() -> str:
    """A hash of the source that decides what is searched, and of Optuna's version: a change makes all results new.

    How results are judged and shown may change without that.
    """
    import optuna

    root = Path(__file__).parents[2]
    sources = [*Path(__file__).parent.glob("*.py"), *(file for folder in _DECIDING for file in root.glob(folder))]
    digest = hashlib.sha256(optuna.__version__.encode())
    for source in sorted(source for source in sources if source.name not in _JUDGING):
        digest.update(source.read_bytes())
    return digest.hexdigest()


_DECIDING = ("nas/**/*.py", "runners/protocol.py", "search_space/**/*.py")
_JUDGING = ("arms.py", "comparison.py", "contest.py", "estimates.py", "execution.py", "picture.py", "text.py")

"""Simulations in parallel, each done once: results are cached, so a stopped comparison can be continued."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from multiprocessing import active_children, get_context
from pathlib import Path

from nas.bench.cache import Cache
from nas.bench.simulation import Records, Simulation, Simulator
from nas.bench.table import Table
from search_space.errors import RunnerError
from search_space.signals import ignore_ctrl_c

Progress = Callable[[int, int], None]
"""Called with the number of simulations done so far and the total."""


def simulate(
    simulations: Sequence[Simulation],
    tables: Mapping[str, Table],
    *,
    jobs: int = 0,
    cache_folder: Path | None = None,
    on_progress: Progress = lambda done, total: None,
) -> list[Records]:
    """Run simulations, or look up their results.

    Args:
        simulations: The simulations.
        tables: The tables by name, without truth.
        jobs: Number of processes, each with one thread; 0 to stay in this process.
        cache_folder: Where results are cached; None to cache none.
        on_progress: Called after every simulation.

    Returns:
        The records in the order of the simulations.

    Raises:
        RunnerError: If a process died.
        StorageError: If the folder cannot be written to.
        KeyboardInterrupt: On Ctrl-C; finished simulations are kept, unfinished ones are not.
    """
    cache = Cache(cache_folder, tables)
    found = {index: records for index, it in enumerate(simulations) if (records := cache.get(it)) is not None}
    missing = [index for index in range(len(simulations)) if index not in found]
    random.Random(0).shuffle(missing)  # mixes slow and fast strategies, so that the time left can be estimated
    on_progress(0, len(missing))
    todo = [simulations[index] for index in missing]
    ended = _in_processes(todo, tables, min(jobs, len(todo))) if jobs and todo else _here(todo, tables)
    with closing(ended):
        for done, (place, records) in enumerate(ended, start=1):
            found[missing[place]] = records
            cache.put(todo[place], records)
            on_progress(done, len(missing))
    return [found[index] for index in range(len(simulations))]


Ended = Generator[tuple[int, Records], None, None]
"""Yields the index and the result of each simulation when it ends."""


def _here(simulations: Sequence[Simulation], tables: Mapping[str, Table]) -> Ended:
    simulator = Simulator(tables)
    for place, simulation in enumerate(simulations):
        yield place, simulator.run(simulation)


def _in_processes(simulations: Sequence[Simulation], tables: Mapping[str, Table], jobs: int) -> Ended:
    """Simulate in other processes, which are terminated if the generator is closed."""
    others = active_children()
    with _one_thread_each():
        pool = ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_start_worker, initargs=(dict(tables),))
        try:
            futures = {pool.submit(_simulate, simulation): place for place, simulation in enumerate(simulations)}
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            raise RunnerError("a simulating process died, perhaps out of memory; try fewer --jobs") from None
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
    """Limit processes started inside to one thread: matrices are small, and every core has a process."""
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
    ignore_ctrl_c()
    _simulators.append(Simulator(tables))


def _simulate(simulation: Simulation) -> Records:
    return _simulators[0].run(simulation)

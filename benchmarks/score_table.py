"""Score every architecture of a tabular benchmark by every proxy. A stopped run can be continued.

python -m benchmarks.score_table [digits | fashion_mnist] [--workers 2]
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from pathlib import Path

from benchmarks.common import TABLES, table_parser
from nas.bench.table import Table
from runners.data import prepare
from runners.protocol import DataSpec, Score
from runners.proxies import PROXIES
from runners.proxies.scoring import score

BATCH = 8
"""Architectures per batch of a worker; unfinished batches are lost when the program ends."""


def score_table(folder: Path, workers: int) -> None:
    """Compute the missing scores of a table, with its first search seed and one thread per worker."""
    table = Table(folder)
    lacking = {name: [proxy for proxy in PROXIES if proxy not in table.scores.get(name, {})] for name in table.entries}
    todo = [name for name in table.entries if lacking[name]]
    prepare(DataSpec(table.definition.data))
    batches = [todo[start : start + BATCH] for start in range(0, len(todo), BATCH)]
    done = 0
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start, (folder,)) as pool:
        wanted = [[proxy for proxy in PROXIES if any(proxy in lacking[name] for name in batch)] for batch in batches]
        futures = [pool.submit(_score, folder, *job) for job in zip(batches, wanted, strict=True)]
        for future in as_completed(futures):
            for name, scores in future.result():
                table.add_scores(name, scores)
                done += 1
            print(f"{table.name}: {done}/{len(todo)} architectures", file=sys.stderr, flush=True)
    Table(folder).tidy_scores()


def _start(folder: Path) -> None:
    """Warm up a worker, so that one-time work does not count for its first architecture."""
    import torch

    torch.set_num_threads(1)
    _score(folder, list(_table(folder).entries)[:1], list(PROXIES))


@cache
def _table(folder: Path) -> Table:
    return Table(folder)


def _score(folder: Path, names: Sequence[str], proxies: Sequence[str]) -> list[tuple[str, dict[str, Score]]]:
    table = _table(folder)
    architectures = [table.entries[name].architecture for name in names]
    definition = table.definition
    scores = score(architectures, proxies, DataSpec(definition.data), table.recipe, definition.search_seeds[0], "cpu")
    return list(zip(names, scores, strict=True))


def main() -> None:
    parser = table_parser(__doc__)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes with one thread each")
    given = parser.parse_args()
    score_table(TABLES / given.table, given.workers)


if __name__ == "__main__":
    main()

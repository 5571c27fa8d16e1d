"""The default search: 200 trials on digits, finalists included. Wall time, and the winner's accuracy.

python -m benchmarks.default_search [RUNS]
"""

from __future__ import annotations

import sys
import tempfile
from typing import Any

from benchmarks.common import seconds, summary, write
from nas import search
from results.report import Report


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    times: list[float] = []
    reports: list[Report] = []
    for seed in range(runs):
        with tempfile.TemporaryDirectory() as out:
            times.append(seconds(lambda seed=seed, out=out: reports.append(search(seed=seed, out=out))))
    winners: list[dict[str, Any]] = []
    for report in reports:
        assert report.winner is not None
        families = {family.name: family.nll for family in report.families}
        winners.append(
            {
                "mixers": report.winner.mixers,
                "params": report.winner.params,
                "limit": report.max_params,
                "mean_val_nll": report.winner.mean_nll,
                "test_nll": report.winner.test_nll,
                "test_accuracy": report.winner.test_accuracy,
                "best_family_val_nll_one_seed": min(nll for nll in families.values() if nll is not None),
                "fte": report.compute.fte,
                "counts": report.counts,
            }
        )
    write("default_search", {"unit": "s", "wall_time": summary(times, 1), "winners": winners})


if __name__ == "__main__":
    main()

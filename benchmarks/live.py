"""Live searches on digits with the default flags: do their winners beat the hand-designed families of equal size?

python -m benchmarks.live [--runs 5] [--out nas-runs]

Every search has its own seed. Its winner, and every family at the same limit on parameters, is then trained in full
with the same five fresh seeds, and compared by mean test NLL: the figures of the searches themselves are not used. A
stopped run can be continued; the time of a search that was stopped is not reported.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.common import write
from benchmarks.table import Trainings
from nas import search
from nas.bench.table import Training
from nas.config import SearchConfig
from nas.study.opening import existing_study
from nas.study.spec import make_spec
from results.database.damage import architecture_of
from results.database.schema import Role
from runners.on_ray.runner import RayRunner
from runners.training.train import train
from search_space.architecture import Architecture

FRESH_SEEDS = tuple(range(1000, 1005))
"""Seeds that no search uses for training."""


def winner(seed: int, out: Path) -> tuple[Architecture, dict[str, Any]]:
    """The architecture that a default search with this seed delivers, and its cost."""
    study = f"live-{seed}"
    begun, told = out / study, out / study / "wall_time_s"
    is_new = not begun.exists()
    started = time.monotonic()
    report = search(seed=seed, study=study, out=out)
    if is_new:
        told.write_text(f"{time.monotonic() - started:.1f}", encoding="utf-8")
    assert report.winner is not None
    rows = existing_study(study, None, str(out)).evaluations(Role.TRIAL)
    chosen = next(row for row in rows if row.number == report.winner.trial)
    return architecture_of(chosen.architecture), {
        "seed": seed,
        "wall_time_s": float(told.read_text(encoding="utf-8")) if told.exists() else None,
        "fte": report.compute.fte,
        "mixers": report.winner.mixers,
        "proposed_by": chosen.phase,
        "params": report.winner.params,
        "macs": report.winner.macs,
        "reported_test_nll": report.winner.test_nll,
        "reported_test_accuracy": report.winner.test_accuracy,
        "counts": report.counts,
    }


def retrained(architectures: Iterable[Architecture]) -> dict[str, list[Training]]:
    """Results of tested full trainings with the fresh seeds, by architecture hash."""
    spec = make_spec(SearchConfig())
    found: dict[str, list[Training]] = {}
    distinct = {architecture.hash: architecture for architecture in architectures}
    todo = [(architecture, seed) for architecture in distinct.values() for seed in FRESH_SEEDS]
    with tempfile.TemporaryDirectory() as scratch:
        source = Trainings(
            "winners and families",
            todo,
            spec.data,
            spec.recipe,
            Path(scratch),
            lambda training: found.setdefault(training.architecture, []).append(training),
        )
        RayRunner().run(source, train)
    return found


def interval(values: Sequence[float]) -> dict[str, float]:
    """Mean and 95 % interval from Student's t distribution."""
    from scipy.stats import t

    half = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return {
        "mean": round(fmean(values), 5),
        "low": round(fmean(values) - half, 5),
        "high": round(fmean(values) + half, 5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("nas-runs"), help="folder of the searches")
    given = parser.parse_args()
    winners = [winner(seed, given.out) for seed in range(given.runs)]
    families = make_spec(SearchConfig()).families()
    trained = retrained([*(architecture for architecture, _ in winners), *families.values()])

    def tested(architecture: Architecture) -> list[float]:
        nlls = [training.test_nll for training in trained[architecture.hash]]
        return [math.inf if nll is None else nll for nll in nlls]

    of_families = {name: tested(architecture) for name, architecture in families.items()}
    best = min(of_families, key=lambda name: fmean(of_families[name]))
    rows = [{**facts, "test_nll": interval(tested(architecture))} for architecture, facts in winners]
    means = [fmean(tested(architecture)) for architecture, _ in winners]
    write(
        "live",
        {
            "fresh_seeds": list(FRESH_SEEDS),
            "winners": rows,
            "families": {name: interval(nlls) for name, nlls in of_families.items()},
            "best_family": best,
            "winners_minus_best_family": interval([mean - fmean(of_families[best]) for mean in means]),
        },
    )


if __name__ == "__main__":
    main()

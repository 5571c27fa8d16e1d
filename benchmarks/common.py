"""Shared by benchmarks: timing, summaries, the machine, trainings, the committed tables."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from runners.execution import execute
from runners.protocol import Decision, EpochResult, Evaluator, Job, Outcome

RESULTS = Path(__file__).parent / "results"
TABLES = Path(__file__).parent / "tables"
PACKAGES = ("torch", "optuna", "ray", "sqlalchemy")


def seconds(act: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


@dataclass
class Curve:
    """Collects the reports of one job.

    Attributes:
        epochs: All epochs so far.
    """

    epochs: list[EpochResult] = field(default_factory=list)

    def __call__(self, key: str, epochs: Sequence[EpochResult]) -> Decision:
        self.epochs += epochs
        return Decision.CONTINUE


def evaluate(job: Job, evaluator: Evaluator) -> tuple[list[EpochResult], Outcome]:
    """Execute one job in this process; returns its epochs and its outcome. A failure ends the benchmark."""
    curve = Curve()
    outcome = execute(job, evaluator, curve)
    if outcome.status == "failed":
        raise SystemExit(f"{job.key} failed: {outcome.cause}: {outcome.message}")
    return curve.epochs, outcome


def table_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the name of a committed table as its argument."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = sorted(folder.name for folder in TABLES.iterdir() if folder.is_dir())
    parser.add_argument("table", nargs="?", default="digits", choices=names)
    return parser


def summary(values: Sequence[float], digits: int = 4) -> dict[str, float | int]:
    """n, median, mean, standard deviation, minimum and maximum."""
    figures = {
        "median": statistics.median(values),
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else 0.0,
        "min": min(values),
        "max": max(values),
    }
    return {"n": len(values), **{name: round(figure, digits) for name, figure in figures.items()}}


def machine() -> dict[str, Any]:
    """Hardware and versions."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load_at_start": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def write(name: str, figures: dict[str, Any]) -> None:
    """Print the figures and store them in `results/NAME.json`."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"machine": machine(), **figures}, indent=2)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(f"{name}\n{text}\n")


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []

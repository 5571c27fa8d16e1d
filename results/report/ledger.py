"""What a study spent its compute on, by the state and role of its evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from results.database.schema import EvaluationRow, Role, State
from results.report.compute import SCORED, FullTraining

STAGES = ("proxies", "complete", "pruned", "paused", "running", "queued", "failed", "finalists", "tests")
"""Rows of the ledger: trials by state, everything else by role."""
_OTHERS = {Role.FINALIST: "finalists", Role.TEST: "tests", Role.PROXIES: "proxies"}


@dataclass(frozen=True)
class Account:
    """What a group of evaluations cost.

    Attributes:
        count: Number of evaluations.
        seconds: Sum of their wall times, interrupted attempts included.
        fte: Full-training equivalents (`results.report.compute`); None for proxies of a study that has trained nothing
            yet, since there is nothing to compare their seconds with.
    """

    count: int
    seconds: float
    fte: float | None


@dataclass(frozen=True)
class Ledger:
    """The full account of a study.

    Attributes:
        seconds: Sum over all evaluations.
        fte: The study's compute as `--max-fte` limits it; see `results.report.compute`.
        stages: An account for each of `STAGES`; together they are everything.
        parts: The trials again, by the phase of the search that proposed them, in order of start; trials without a
            phase are left out.
    """

    seconds: float
    fte: float
    stages: Mapping[str, Account]
    parts: Mapping[str, Account]


def make_ledger(rows: Sequence[EvaluationRow], seconds_per_epoch: float) -> Ledger:
    """The account of a study.

    Args:
        rows: All of its evaluations.
        seconds_per_epoch: Mean wall time of the epochs of its trials; 0 if it has none.
    """
    stages: dict[str, list[EvaluationRow]] = {stage: [] for stage in STAGES}
    parts: dict[str, list[EvaluationRow]] = {}
    for row in rows:
        stages[_stage(row)].append(row)
        if row.role == Role.TRIAL and row.phase:
            parts.setdefault(row.phase, []).append(row)
    planned = max((row.epochs_planned for row in rows), default=0)
    unit = FullTraining(planned, seconds_per_epoch * planned)
    return Ledger(
        seconds=sum((row.seconds for row in rows), 0.0),
        fte=unit.of(rows),
        stages={stage: _account(group, unit) for stage, group in stages.items()},
        parts={part: _account(group, unit) for part, group in parts.items()},
    )


def _stage(row: EvaluationRow) -> str:
    return State(row.state).lower() if row.role == Role.TRIAL else _OTHERS[Role(row.role)]


def _account(rows: Sequence[EvaluationRow], unit: FullTraining) -> Account:
    unknown = not unit.seconds and any(row.role in SCORED and row.seconds for row in rows)
    return Account(len(rows), sum((row.seconds for row in rows), 0.0), None if unknown else unit.of(rows))

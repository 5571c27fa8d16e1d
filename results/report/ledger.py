"""What a study spent, and on what.

The unit is the full-training equivalent (FTE): as many epochs as one full training has. Counted in epochs it does not
depend on what else the machine was doing. What computes no epochs (proxies, tests, a latency that was too long) counts
by its seconds, over the mean seconds of a full training in the same study.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from results.database.schema import EvaluationRow, Role, State

STAGES = ("proxies", "complete", "pruned", "paused", "running", "queued", "failed", "finalists", "tests")
"""Rows of the ledger: trials by state, everything else by role."""


@dataclass(frozen=True)
class Account:
    """What a group of evaluations took.

    Attributes:
        count: How many there were.
        seconds: Sum of their wall times, interrupted attempts included.
        fte: The same in full-training equivalents; epochs computed twice count twice. None where only seconds are known
            and nothing has been trained yet that they could be compared with.
    """

    count: int
    seconds: float
    fte: float | None


@dataclass(frozen=True)
class Compute:
    """The full account of a study.

    Attributes:
        seconds: Sum over all evaluations.
        fte: Sum over all evaluations, as far as it is known.
        stages: An account for each of `STAGES`; together they are everything.
        parts: The trials again, by the part of the strategy that proposed them, in the order they were begun; those of
            which that is not known are left out.
    """

    seconds: float
    fte: float
    stages: Mapping[str, Account]
    parts: Mapping[str, Account]


def make_ledger(rows: Sequence[EvaluationRow], seconds_per_epoch: float) -> Compute:
    """The account of a study.

    Args:
        rows: All of its evaluations.
        seconds_per_epoch: Mean wall time of its epochs; 0 if it has none.
    """
    stages: dict[str, list[EvaluationRow]] = {stage: [] for stage in STAGES}
    parts: dict[str, list[EvaluationRow]] = {}
    for row in rows:
        stages[_stage(row)].append(row)
        if row.role == Role.TRIAL and row.stage:
            parts.setdefault(row.stage, []).append(row)
    planned = max((row.epochs_planned for row in rows), default=0)
    full_training_s = seconds_per_epoch * planned
    accounts = {stage: _account(group, full_training_s) for stage, group in stages.items()}
    return Compute(
        seconds=sum(account.seconds for account in accounts.values()),
        fte=sum(account.fte or 0.0 for account in accounts.values()),
        stages=accounts,
        parts={part: _account(group, full_training_s) for part, group in parts.items()},
    )


def _stage(row: EvaluationRow) -> str:
    names = {Role.TRIAL: State(row.state).lower(), Role.FINALIST: "finalists", Role.TEST: "tests"}
    return names.get(Role(row.role), "proxies")


def _account(rows: Sequence[EvaluationRow], full_training_s: float) -> Account:
    known = [fte for row in rows if (fte := _fte(row, full_training_s)) is not None]
    return Account(len(rows), _sum(row.seconds for row in rows), _sum(known) if known or not rows else None)


def _fte(row: EvaluationRow, full_training_s: float) -> float | None:
    if row.role in (Role.TRIAL, Role.FINALIST) and row.epochs_run:
        return row.epochs_run / row.epochs_planned
    if not row.seconds:
        return 0.0
    return row.seconds / full_training_s if full_training_s else None


def _sum(values: Iterable[float]) -> float:
    return sum(values, 0.0)

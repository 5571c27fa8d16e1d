"""The control of a search: another strategy, such as random search, with the same compute, for comparison."""

from __future__ import annotations

import math
from dataclasses import replace

from nas.config import SearchConfig
from nas.study.budget import planned_finalists
from results.report.report import Contender, Report


def control_of(config: SearchConfig, report: Report) -> SearchConfig:
    """Return the settings of the control of a search: another study, with as much compute as this one has spent.

    Everything but the strategy is equal: limits, recipe, training seed, number of finalists and of their seeds.
    """
    count, suffix = (
        min(planned_finalists(config.finalists, config.max_fte, config.seeds), len(report.finalists)),
        f"-{config.control}",
    )
    fte = max(report.compute.fte, 1.0 + count * config.seeds)  # failed trainings of finalists cost less
    return replace(
        config,
        strategy=config.control or config.strategy,
        sampler=None,
        ranker=None,
        proxies=None,
        pruner=None,
        families=None,
        local=None,
        control=None,
        max_fte=fte,
        finalists=count,
        seeds=config.seeds if count else SearchConfig.seeds,
        budget=math.ceil(fte),
        study=config.study_name[: 100 - len(suffix)] + suffix,
    )


def side_by_side(report: Report, control: Report, name: str) -> str:
    """Both winners in a table."""
    rows = [("", "search", f"control: {name}")]
    rows += [(title, _show(report.winner, field), _show(control.winner, field)) for title, field in _FIGURES]
    rows.append(("compute (FTE)", f"{report.compute.fte:.1f}", f"{control.compute.fte:.1f}"))
    rows.append(("architectures", str(report.evaluated), str(control.evaluated)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["Control, with equal compute"]
    lines += [
        f"  {first:<{widths[0]}}  {second:>{widths[1]}}  {third:>{widths[2]}}".rstrip() for first, second, third in rows
    ]
    return "\n".join(lines)


_FIGURES = (
    ("test NLL", "test_nll"),
    ("test accuracy", "test_accuracy"),
    ("validation NLL, mean over seeds", "mean_nll"),
    ("mixers", "mixers"),
    ("parameters", "params"),
    ("MACs", "macs"),
)


def _show(winner: Contender | None, field: str) -> str:
    value = None if winner is None else getattr(winner, field)
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)

"""The end report as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from results.report import Contender, Report
from search_space.units import format_count

MAX_FAILURES = 3
"""Failures that are shown."""


def render(report: Report) -> str:
    """The report as lines of up to about 100 characters."""
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    yield f"Study {report.study}: {report.space} on {report.data}, {_limits(report)}"
    counts = ", ".join(f"{count} {state}" for state, count in report.counts.items())
    causes = ", ".join(f"{count} {cause}" for cause, count in report.causes.items())
    yield f"{report.evaluated} of {report.budget} architectures evaluated: {counts}{f' ({causes})' if causes else ''}"
    yield ""
    if report.winner is None:
        yield "No trial has been trained in full yet, so there is no winner."
    else:
        yield from _winner(report, report.winner)
        yield from _table(report, report.winner)
    if report.compute.fte:
        stages = ", ".join(f"{stage} {fte:.1f}" for stage, fte in report.compute.fte_by_stage.items())
        yield ""
        yield f"Compute: {report.compute.fte:.1f} full-training equivalents ({stages})"
        yield f"         in {report.compute.seconds:.0f} s of training and testing, summed over workers"
    for failure in report.failures[:MAX_FAILURES]:
        yield f"Failed: {failure}"
    if len(report.failures) > MAX_FAILURES:
        yield f"... and {len(report.failures) - MAX_FAILURES} more failures; nas results --json has all of them"


def _winner(report: Report, winner: Contender) -> Iterator[str]:
    size = f"{format_count(winner.params)} parameters, {format_count(winner.macs)} MACs"
    yield f"Winner: trial {winner.trial}, {winner.mixers}, {size}  ({winner.hash})"
    if not winner.seeds:
        yield f"  validation NLL {winner.nll:.4f}, accuracy {_percent(winner.accuracy)}, one seed, no finalists"
        return
    spread = f" +- {winner.sd_nll:.4f}" if winner.sd_nll is not None else ""
    yield (
        f"  validation NLL {winner.mean_nll:.4f}{spread}, accuracy {_percent(winner.mean_accuracy)}, "
        f"mean of {winner.seeds} fresh seed{'s' if winner.seeds > 1 else ''}"
    )
    if winner.test_accuracy is not None:
        yield f"  test NLL {winner.test_nll:.4f}, accuracy {_percent(winner.test_accuracy)}, the same models;"
        if report.test_evaluations == 1:
            yield "  no other architecture has met the test split"
        else:
            yield f"  {report.test_evaluations} winners have met the test split by now"


def _table(report: Report, winner: Contender) -> Iterator[str]:
    latency = "latency" in report.objective
    yield ""
    yield _row("", ["mixers", "params", "MACs", "val NLL", "val acc", *(["ms"] if latency else [])])
    yield _contender("winner", winner, latency)
    for family in sorted(report.families, key=lambda family: family.nll or float("inf")):
        yield _contender(family.name, family, latency)
    yield "  The families are hand-designed, scaled to the same limit. Each row is one training with the"
    yield "  search's seed; the winner was chosen for doing well in it, so trust its mean above."
    if report.pareto:
        yield ""
        yield f"Pareto front of {', '.join(report.objective)}:"
        for point in report.pareto:
            yield _contender(f"trial {point.trial}", point, latency)


def _contender(name: str, contender: Contender, latency: bool) -> str:
    cells = [
        contender.mixers if len(contender.mixers) <= 28 else contender.mixers[:27] + "…",
        format_count(contender.params),
        format_count(contender.macs),
        "-" if contender.nll is None else f"{contender.nll:.4f}",
        _percent(contender.accuracy),
    ]
    if latency:
        cells.append("-" if contender.latency_ms is None else f"{contender.latency_ms:.3g}")
    return _row(name, cells)


def _row(name: str, cells: list[str]) -> str:
    return f"  {name:<10} {cells[0]:<28} " + " ".join(f"{cell:>8}" for cell in cells[1:])


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"


def _limits(report: Report) -> str:
    limits = [
        f"at most {format_count(limit)} {what}"
        for limit, what in ((report.max_params, "parameters"), (report.max_macs, "MACs"))
        if limit is not None
    ]
    return " and ".join(limits) or "no limit on size"

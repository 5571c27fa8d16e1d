"""The end report as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from results.database.objectives import OBJECTIVES, Objective, shown_with
from results.report.front import FrontPoint
from results.report.ledger import Account, Ledger
from results.report.report import Contender, Report
from search_space.errors import escaped, shortened
from search_space.units import format_count

MAX_FAILURES = 3
"""Maximum number of failures to list."""


def render(report: Report) -> str:
    """The report as lines of up to about 100 characters."""
    return "\n".join(map(escaped, _lines(report)))


def _lines(report: Report) -> Iterator[str]:
    yield f"Study {report.study}: {report.space} on {report.data}, {_limits(report)}"
    counts = ", ".join(f"{count} {state}" for state, count in report.counts.items())
    causes = ", ".join(f"{count} {cause}" for cause, count in report.causes.items())
    yield f"{report.evaluated} of {report.budget} architectures evaluated: {counts}{f' ({causes})' if causes else ''}"
    yield ""
    if report.winner is None:
        yield f"There is no winner: {report.lack}."
    else:
        yield from _winner(report, report.winner)
        yield from _table(report, report.winner)
    yield from _latencies(report)
    yield from _compute(report.compute)
    for failure in report.failures[:MAX_FAILURES]:
        yield f"Failed: {failure}"
    if len(report.failures) > MAX_FAILURES:
        yield f"... and {len(report.failures) - MAX_FAILURES} more failures; nas results --json has all of them"


def _winner(report: Report, winner: Contender) -> Iterator[str]:
    size = f"{format_count(winner.params)} parameters, {format_count(winner.macs)} MACs"
    yield f"Winner: trial {winner.trial}, {winner.mixers}, {size}  ({winner.hash})"
    if winner.tuned:
        yield f"  trained with {', '.join(f'{name} {value:g}' for name, value in winner.tuned.items())}"
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
        if winner.test_macro_f1 is not None:
            yield (
                f"  balanced accuracy {_percent(winner.test_balanced_accuracy)}, macro F1 "
                f"{_percent(winner.test_macro_f1)}, calibration error {winner.test_calibration_error:.4f};"
            )
        if report.test_evaluations == 1:
            yield "  no other architecture was evaluated on the test split"
        else:
            yield f"  {report.test_evaluations} winners have been evaluated on the test split so far"


def _table(report: Report, winner: Contender) -> Iterator[str]:
    columns = _columns(report)
    yield ""
    yield _row("", ["mixers", *(column.heading for column in columns)])
    yield _contender("winner", winner, columns)
    for family in sorted(report.families, key=lambda family: family.nll or float("inf")):
        yield _contender(family.name, family, columns)
    yield "  The families are hand-designed, scaled to the same limit. Each row is one training with the"
    yield "  search's seed; the winner was chosen for doing well in it, so trust its mean above."
    yield from _front(report)


def _front(report: Report) -> Iterator[str]:
    if not report.pareto:
        return
    columns = _columns(report)
    yield ""
    yield f"Pareto front of {', '.join(report.objective)}:"
    yield _row("", ["mixers", *(column.heading for column in columns), "epochs", "seeds"])
    for point in report.pareto:
        rests_on = [f"{point.epochs}/{point.epochs_planned}", f"{point.seeds} {'fresh' if point.fresh else 'own'}"]
        yield _contender(f"trial {point.trial}", point, columns, rests_on)
    yield "  Figures are means over fresh seeds where a trial was retrained. Those of the search's own"
    yield "  seed flatter what was chosen by them."
    if report.hypervolume is not None:
        reference = ", ".join(f"{name} {_figure(value)}" for name, value in report.hypervolume.reference.items())
        yield f"  Hypervolume: {report.hypervolume.value:.4f} of the volume better than {reference}"
    elif lacking := [one for one in _objectives(report) if one.kind == "measured" and _limit(report, one) is None]:
        flags = [f"--{one.limit.replace('_', '-')}" for one in lacking if one.limit is not None]
        what = f"Without {flags[0]}" if flags else f"For {lacking[0].name}"
        yield f"  {what} the hypervolume has no reference point."


def _latencies(report: Report) -> Iterator[str]:
    devices = report.latency_measured_on
    if not devices:
        return
    yield ""
    if len(devices) == 1:
        yield f"Latencies were measured on {devices[0]}."
    else:
        yield f"Latencies were measured on {len(devices)} devices, so they cannot be compared: {'; '.join(devices)}."


def _compute(compute: Ledger) -> Iterator[str]:
    """The ledger as a table."""
    spent = {stage: account for stage, account in compute.stages.items() if account.count}
    if not spent:
        return
    total = Account(sum(account.count for account in spent.values()), compute.seconds, compute.fte)
    yield ""
    yield f"{'Compute':<12} {'count':>7} {'FTE':>8} {'seconds':>9}   (FTE: full-training equivalents)"
    for stage, account in {**spent, "total": total}.items():
        fte = "-" if account.fte is None else f"{account.fte:.2f}"
        yield f"  {stage:<10} {account.count:>7} {fte:>8} {account.seconds:>9.0f}"
    if compute.parts:
        parts = (f"{part} {account.count} for {account.fte or 0.0:.2f}" for part, account in compute.parts.items())
        yield f"  Trials by phase, with FTE: {', '.join(parts)}"


def _objectives(report: Report) -> list[Objective]:
    return [OBJECTIVES.find(name) for name in report.objective]


def _columns(report: Report) -> list[Objective]:
    return shown_with(_objectives(report))


def _limit(report: Report, objective: Objective) -> float | None:
    limits = {"max_params": report.max_params, "max_macs": report.max_macs, "max_latency_ms": report.max_latency_ms}
    return None if objective.limit is None else limits[objective.limit]


def _contender(
    name: str, contender: Contender | FrontPoint, columns: Sequence[Objective], more: Sequence[str] = ()
) -> str:
    values = [(column, contender.values[column.name]) for column in columns]
    cells = ["-" if value is None else column.format(value) for column, value in values]
    return _row(shortened(name, 40), [shortened(contender.mixers, 28), *cells, *more])


def _row(name: str, cells: list[str]) -> str:
    return f"  {name:<10} {cells[0]:<28} " + " ".join(f"{cell:>8}" for cell in cells[1:])


def _figure(value: float) -> str:
    return f"{value:.4g}" if value < 1000 else format_count(round(value))


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"


def _limits(report: Report) -> str:
    limits = [
        f"at most {format_count(limit)} {what}"
        for limit, what in ((report.max_params, "parameters"), (report.max_macs, "MACs"))
        if limit is not None
    ]
    return " and ".join(limits) or "no limit on size"

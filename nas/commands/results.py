"""`nas results`."""

from __future__ import annotations

import csv
import io
from typing import Any

import click

from nas.commands.options import refuse_with, study_options
from nas.commands.output import say_json, say_text
from search_space.errors import escaped, shortened

COLUMNS = (
    "number",
    "state",
    "hash",
    "mixers",
    "params",
    "macs",
    "nll",
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "calibration_error",
    "latency_ms",
    "epochs_trained",
    "seconds",
    "seed",
    "origin",
    "cause",
    "message",
    "device",
)


@click.command("results", short_help="Show the trials and the report of a study.")
@click.argument("study", required=False)
@study_options
@click.option("--json", "as_json", is_flag=True, help="Print all trials as JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print all trials as CSV, their choices as columns.")
@click.option("--top", type=click.IntRange(min=1), default=20, metavar="N", help="Number of trials in the table [20].")
@click.pass_context
def command(
    ctx: click.Context, study: str | None, storage: str | None, out: str, as_json: bool, as_csv: bool, top: int
) -> None:
    """Show the trials and the report of STUDY (optional if there is only one).

    \b
    nas results                          the best 20 trials, and the report
    nas results mlp_family-digits --top 200
    nas results --csv > trials.csv
    """  # noqa: D301 (click reads the backspace)
    from nas.study.opening import existing_study
    from results.report.render import render
    from results.report.report import make_report

    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    if as_json or as_csv:
        refuse_with(ctx, "--json" if as_json else "--csv", ("top",), "all trials are written")
    found = existing_study(study, storage, out)
    trials = trial_records(found)
    if as_json:
        say_json(trials)
    elif as_csv:
        say_text(to_csv(trials).rstrip("\n"))
    else:
        say_text(table(trials, top))
        say_text("\n" + render(make_report(found)))


def trial_records(study: Any) -> list[dict[str, Any]]:
    """Every trial of a study as plain data."""
    from results.database.schema import Role

    records = []
    for row in study.evaluations(Role.TRIAL):
        own = {name: getattr(row, name) for name in COLUMNS if hasattr(row, name)}
        own |= {"hash": row.architecture.hash, "params": row.architecture.params, "macs": row.architecture.macs}
        own |= {"mixers": row.mixers, "seconds": round(row.seconds, 3)}
        records.append({**{name: own[name] for name in COLUMNS}, "choices": row.choices})
    return records


def to_csv(trials: list[dict[str, Any]]) -> str:
    """The trials as CSV."""
    choices = list(dict.fromkeys(name for trial in trials for name in trial["choices"]))
    text = io.StringIO()
    writer = csv.DictWriter(text, [*COLUMNS, *choices], lineterminator="\n")
    writer.writeheader()
    for trial in trials:
        row = {name: value for name, value in {**trial, **trial["choices"]}.items() if name != "choices"}
        writer.writerow({name: escaped(value) if isinstance(value, str) else value for name, value in row.items()})
    return text.getvalue()


def table(trials: list[dict[str, Any]], top: int) -> str:
    """The trials trained for the most epochs, the best first."""
    from nas.commands import tables
    from search_space.units import format_count

    order = {"COMPLETE": 0, "RUNNING": 1, "QUEUED": 1, "PAUSED": 1, "PRUNED": 2, "FAILED": 3}
    shown = sorted(trials, key=lambda t: (order[t["state"]], t["nll"] if t["nll"] is not None else float("inf")))[:top]
    rows = [("trial", "state", "mixers", "params", "MACs", "epochs", "val NLL", "val acc", "s")]
    for trial in shown:
        rows.append(
            (
                str(trial["number"]),
                trial["state"],
                shortened(trial["mixers"], 32),
                format_count(trial["params"]),
                format_count(trial["macs"]),
                str(trial["epochs_trained"]),
                "-" if trial["nll"] is None else f"{trial['nll']:.4f}",
                "-" if trial["accuracy"] is None else f"{100 * trial['accuracy']:.2f} %",
                f"{trial['seconds']:.1f}",
            )
        )
    lines = [*tables.table(rows, left=3)]
    if len(trials) > top:
        lines.append(f"... and {len(trials) - top} more (--top {len(trials)}, --json or --csv show them)")
    return "\n".join(lines)

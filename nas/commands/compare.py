"""`nas compare`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from nas.commands.architectures import Named
from nas.commands.measuring import make_profiler, measuring_options
from nas.commands.options import refuse_with, study_options
from nas.commands.output import say_json, say_text
from runners.measuring.measurement import Measurement
from search_space.errors import ArchitectureError
from search_space.size import shown, times

if TYPE_CHECKING:
    from runners.measuring.profiler import Profiler

RATIOS = ("params", "macs", "macs_per_param", "activation_bytes", "latency", "throughput")
_NAMES = ("parameters", "MACs", "MACs per parameter", "activations", "latency", "throughput")
_MAX_NAME = 24
_GROWTH = 2
"""The exponent of MACs is measured between an image size and twice that size."""


@click.command("compare", short_help="Show the costs of architectures side by side.")
@click.argument("architectures", metavar="ARCH ARCH...", nargs=-1)
@click.option("--deploy", is_flag=True, help="Compare the deployed forms, with training branches merged.")
@measuring_options
@study_options
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    architectures: tuple[str, ...],
    deploy: bool,
    storage: str | None,
    out: str,
    as_json: bool,
    **flags: Any,
) -> None:
    """Show the costs of two or more architectures side by side, and their ratios to those of the first.

    \b
    nas compare vit_s16 mixer_s16 resmlp_s12 gmlp_s16
    nas compare mlp_family-digits#best my_model.yaml --closed-form

    ARCH is a model of the zoo (nas zoo), a YAML file, or a trial of a study: STUDY#12, STUDY#best. Timings are taken in
    turn (A, B, A, B, ...), so that other load on the machine affects all of them equally.
    """  # noqa: D301 (click reads the backspace)
    from nas.commands.architectures import find_architecture
    from nas.commands.tables import Notes

    if len(architectures) < 2:
        raise click.UsageError("name two or more architectures to compare; nas profile shows a single one")
    named = [find_architecture(text, storage, out) for text in architectures]
    if not any(one.in_study for one in named):
        refuse_with(ctx, " ".join(architectures), ("storage", "out"), "none is a trial of a study")
    named = [one.deployed for one in named] if deploy else named
    with Notes() as note:
        record = compare(named, make_profiler(ctx, note, **flags))
    if as_json:
        say_json(record)
    else:
        say_text(render_comparison(record))


def compare(named: Sequence[Named], profiler: Profiler | None) -> dict[str, Any]:
    """Everything that `nas compare --json` shows."""
    measured = [Measurement() for _ in named]
    if profiler is not None:
        measured = profiler.measure([one.name for one in named], [one.architecture for one in named])
    rows = [_row(*one) for one in zip(named, measured, strict=True)]
    first = _figures(rows[0])
    for row in rows:
        own = _figures(row)
        row["ratios"] = {
            name: None if own[name] is None or not first[name] else own[name] / first[name] for name in RATIOS
        }
    return {"architectures": rows, "measured_on": profiler.where if profiler else None}


def _row(named: Named, measured: Measurement) -> dict[str, Any]:
    from search_space.breakdown import macs_exponents, token_mixers

    name, architecture = named.name, named.architecture
    reasons = dict(measured.reasons)
    exponent = None
    try:
        larger = named.at(times(architecture.image_size, _GROWTH))
        exponent = macs_exponents([architecture, larger])["total"]
    except ArchitectureError as error:
        reasons["macs_exponent"] = str(error)
    shapes = list(architecture.shapes())
    return {
        "name": name,
        "hash": architecture.hash,
        "image_size": architecture.image_size,
        "patch": architecture.patch,
        "tokens": [shape.tokens for _, shape in shapes],
        "width": [shape.dim for _, shape in shapes],
        "depth": [stage.depth for stage, _ in shapes],
        "mixers": token_mixers(architecture),
        "is_deployed": architecture.deployed is architecture,
        "params": architecture.params,
        "macs": architecture.macs,
        "macs_per_param": architecture.macs / architecture.params,
        "activation_bytes": measured.activation_bytes,
        "fixed_input_size": architecture.fixed_input_size,
        "macs_exponent": exponent,
        "latency": measured.latency,
        "throughput": measured.throughput,
        "reasons": reasons,
    }


def _figures(row: Mapping[str, Any]) -> dict[str, Any]:
    """The figures whose ratios are shown."""
    timings = {
        "latency": row["latency"] and row["latency"]["median_ms"],
        "throughput": row["throughput"] and row["throughput"]["images_per_s"],
    }
    return {name: row[name] for name in RATIOS if name not in timings} | timings


# As text.


def render_comparison(record: Mapping[str, Any]) -> str:
    """The comparison as text, in several tables if the terminal is too narrow for all columns."""
    return "\n".join(_lines(record)).strip("\n")


def _lines(record: Mapping[str, Any]) -> Iterator[str]:
    from nas.commands.profile_text import where_words
    from nas.commands.tables import blocks, wrapped

    rows = record["architectures"]
    titles = [title for title, _ in _column(rows[0], rows)]
    yield from blocks(titles, [[text for _, text in _column(row, rows)] for row in rows])
    yield ""
    if record["measured_on"] is not None:
        yield from wrapped(where_words(record["measured_on"]), "measured on ")
    for title, what in (("latency", "latency"), ("images/s", "throughput")):
        timings = [row[what] for row in rows if row[what] is not None]
        if timings:
            warm_up = max(timing["warm_up"] for timing in timings)
            yield from wrapped(
                f"median of {timings[0]['passes']} passes of batch {timings[0]['batch']} in eval mode, in turn, after "
                f"{warm_up} to warm up",
                f"{title}: ",
            )
    for row in rows:
        for what, reason in row["reasons"].items():
            yield from wrapped(reason, f"{row['name']}, {what}: ")


def _column(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Titles and cells of an architecture's column."""
    from nas.commands.tables import format_number
    from search_space.units import format_bytes, format_count

    name, latency, throughput = row["name"], row["latency"], row["throughput"]
    yield "", name if len(name) <= _MAX_NAME else f"…{name[1 - _MAX_NAME :]}"
    size = row["image_size"]
    yield "image size", str(size) if isinstance(size, int) else shown(size)
    yield "patch", str(row["patch"])
    for title in ("tokens", "width", "depth"):
        yield title, "/".join(map(str, row[title]))
    mixers = [other["mixers"].split(" / ") for other in rows]  # one per stage if they differ
    own = row["mixers"].split(" / ")
    for index in range(max(map(len, mixers))):
        yield "  then" if index else "token mixers", own[index] if index < len(own) else ""
    if not all(other["is_deployed"] for other in rows):
        yield "form", "as shipped" if row["is_deployed"] else "in training"
    yield "fixed image size", "yes" if row["fixed_input_size"] else "no"
    yield "parameters", format_count(row["params"])
    yield "MACs", format_count(row["macs"])
    yield "MACs per parameter", format_number(row["macs_per_param"])
    yield "MACs grow as tokens^", "-" if row["macs_exponent"] is None else f"{row['macs_exponent']:.2f}"
    if any(other["activation_bytes"] is not None for other in rows):
        yield "activations", "-" if row["activation_bytes"] is None else format_bytes(row["activation_bytes"])
    if any(other["latency"] for other in rows):
        yield "latency, ms", "-" if latency is None else format_number(latency["median_ms"])
        yield "  quartiles", "-" if latency is None else "-".join(map(format_number, latency["quartiles_ms"]))
    if any(other["throughput"] for other in rows):
        spread = throughput and throughput["images_per_s_quartiles"]
        yield "images/s", "-" if throughput is None else format_number(throughput["images_per_s"])
        yield "  quartiles", "-" if throughput is None else "-".join(map(format_number, spread))
    yield "ratio to the first", ""
    for title, figure in zip(_NAMES, RATIOS, strict=True):
        if any(other["ratios"][figure] is not None for other in rows):
            ratio = row["ratios"][figure]
            digits = "-" if ratio is None else f"{ratio:.2f}" if 0.1 <= ratio < 100 else format_number(ratio)
            yield f"  {title}", digits if ratio is None else f"{digits}x"

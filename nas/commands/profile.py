"""`nas profile`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from nas.commands.architectures import Named
from nas.commands.measuring import make_profiler, measuring_options
from nas.commands.options import refuse_with, study_options
from nas.commands.output import say_json, say_text
from runners.measuring.measurement import Measurement
from search_space.architecture import Architecture
from search_space.errors import ArchitectureError, ConfigError
from search_space.size import Size, parse_size, shown

if TYPE_CHECKING:
    from runners.measuring.profiler import Profiler


@click.command("profile", short_help="Break down what an architecture costs.")
@click.argument("architecture", metavar="ARCH")
@click.option("--deploy", is_flag=True, help="Profile the deployed form, with training branches merged.")
@click.option(
    "--image-sizes", metavar="LIST", help="Show how the cost grows over these image sizes, such as 112,224x448."
)
@measuring_options
@study_options
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    architecture: str,
    deploy: bool,
    image_sizes: str | None,
    storage: str | None,
    out: str,
    as_json: bool,
    **flags: Any,
) -> None:
    """Break down what an architecture costs: parameters, MACs, activations, latency and throughput of each part.

    \b
    nas profile mixer_b16                                a model of the zoo
    nas profile mixer_b16 --image-sizes 112,224,448      how its cost grows
    nas profile mlp_family-digits#best --closed-form     the winner of a study, counts only

    ARCH is a model of the zoo (nas zoo), a YAML file, or a trial of a study: STUDY#12, STUDY#best.
    """  # noqa: D301 (click reads the backspace)
    from nas.commands.architectures import find_architecture
    from nas.commands.profile_text import render_profile
    from nas.commands.tables import Notes

    sizes = parse_sizes(image_sizes)
    found = find_architecture(architecture, storage, out)
    if not found.in_study:
        refuse_with(ctx, architecture, ("storage", "out"), "it is not a trial of a study")
    with Notes() as note:
        record = profile(found.deployed if deploy else found, sizes, make_profiler(ctx, note, **flags))
    if as_json:
        say_json(record)
    else:
        say_text(render_profile(record))


def parse_sizes(text: str | None) -> list[Size]:
    """Parse image sizes separated by commas; [] for None.

    Raises:
        ConfigError: If the text is not such a list.
    """
    sizes: dict[Size, None] = {}
    for word in [] if text is None else text.split(","):
        size = parse_size(word)
        if size is None:
            raise ConfigError(
                f"--image-sizes is {text!r}; allowed: whole numbers separated by commas, such as 112,224,448, and "
                "HEIGHTxWIDTH, such as 64x96"
            )
        sizes[size] = None
    return list(sizes)


def profile(named: Named, sizes: Sequence[Size], profiler: Profiler | None) -> dict[str, Any]:
    """Everything that `nas profile --json` shows."""
    from search_space.breakdown import breakdown

    name, architecture = named.name, named.architecture
    (measured,) = profiler.measure([name], [architecture], shares=True) if profiler else [Measurement()]
    rows = [_row(row, measured) for row in breakdown(architecture)]
    grown, exponents = _growth(named, sizes, profiler)
    deployed = architecture.deployed
    return {
        "name": name,
        "hash": architecture.hash,
        "image_size": architecture.image_size,
        "in_channels": architecture.in_channels,
        "classes": architecture.classes,
        "patch": architecture.patch,
        "tokens": next(shape for _, shape in architecture.shapes()).tokens,
        "fixed_input_size": architecture.fixed_input_size,
        "usable_sizes": architecture.image_sizes,
        "params": architecture.params,
        "macs": architecture.macs,
        "macs_per_param": architecture.macs / architecture.params,
        "activation_bytes": measured.activation_bytes,
        "latency": measured.latency,
        "throughput": measured.throughput,
        "parts": [row for row in rows if row["branch"] is None],
        "branches": [row for row in rows if row["branch"] is not None],
        "order": [row["key"] for row in rows],
        "image_sizes": grown,
        "exponents": exponents,
        "deployed": {"params": deployed.params, "macs": deployed.macs},
        "is_deployed": deployed == architecture,
        "measured_on": profiler.where if profiler else None,
        "reasons": measured.reasons,
    }


def _row(row: Any, measured: Measurement) -> dict[str, Any]:
    known = measured.activations
    return {
        "key": row.key,
        "stage": row.stage,
        "branch": row.branch,
        "name": row.label,
        "op": _joined(row.words),
        "kind": row.kind,
        "tokens": row.tokens,
        "dim": row.dim,
        "depth": row.depth,
        "params": row.cost.params,
        "macs": row.cost.macs,
        "activation_bytes": None if known is None else known.get(row.key, 0),
        "time_share": measured.time_shares.get(row.key, 0.0) if measured.time_shares else None,
    }


def _joined(steps: Sequence[str]) -> str:
    """Steps as one text; a step that begins with an operator continues the step before it."""
    return ", ".join(steps).replace(", + ", " + ").replace(", * ", " * ")


def _growth(
    named: Named, sizes: Sequence[Size], profiler: Profiler | None
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """A row for each image size, and the exponents of MACs in tokens."""
    if not sizes:
        return [], {}
    from runners.measuring.profile import resized_weights
    from search_space.breakdown import macs_exponents

    rows: list[dict[str, Any]] = []
    found: list[Architecture] = []
    for size in sizes:
        row: dict[str, Any] = {"image_size": size, "tokens": None, "params": None, "macs": None, "latency": None}
        try:
            other = named.at(size)
        except ArchitectureError as error:
            rows.append({**row, "resized_weights": [], "reason": str(error)})
            continue
        found.append(other)
        timed = Measurement()
        if profiler is not None and profiler.settings.timing:
            timed = profiler.latency(shown(size), other)
        row |= {"tokens": next(shape for _, shape in other.shapes()).tokens, "params": other.params}
        row |= {"macs": other.macs, "latency": timed.latency}
        resized = [asdict(weight) for weight in resized_weights(named.architecture, other)]
        rows.append({**row, "resized_weights": resized, "reason": timed.reasons.get("latency")})
    return rows, macs_exponents(found)

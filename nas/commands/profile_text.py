"""A profile as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nas.commands.tables import facts, format_number, table, wrapped
from search_space.errors import escaped
from search_space.size import Size, shown
from search_space.units import format_bytes, format_count

Record = Mapping[str, Any]
HEADINGS = ("", "tokens", "width", "depth", "params", "MACs", "%", "activations", "time %")


def render_profile(profile: Record) -> str:
    """Render the record of `nas profile --json` as text for 80 columns."""
    return "\n".join(map(escaped, _lines(profile)))


def where_words(where: Record) -> str:
    """Device, CPU threads and dtype of a measurement."""
    threads = "" if where["device"].endswith(("thread", "threads")) else f", {where['threads']} CPU threads"
    return f"{where['device']}{threads}; cast to {where['dtype']}"


def _timings(profile: Record) -> Iterator[tuple[str, str]]:
    """Latency and throughput with their spread, or the reason why one is missing."""
    for what, figure, spread, unit in (
        ("latency", "median_ms", "quartiles_ms", "ms"),
        ("throughput", "images_per_s", "images_per_s_quartiles", "images/s"),
    ):
        timing = profile[what]
        if timing is not None:
            lower, upper = map(format_number, timing[spread])
            yield (
                what,
                f"{format_number(timing[figure])} {unit} (quartiles {lower} to {upper}), batch {timing['batch']}, "
                f"{timing['passes']} passes",
            )
        elif what in profile["reasons"]:
            yield what, f"not measured: {profile['reasons'][what]}"


def _lines(profile: Record) -> Iterator[str]:
    yield f"{profile['name']}  {profile['hash']}"
    images = f"{profile['in_channels']} x {shown(profile['image_size'])}"
    yield (f"images of {images}, patch {profile['patch']}, {profile['tokens']} tokens, {profile['classes']} classes")
    yield ""
    yield from facts(list(_facts(profile)))
    yield ""
    yield from table(list(_pieces(profile)))
    if profile["image_sizes"]:
        yield ""
        yield from _growth(profile)


def _facts(profile: Record) -> Iterator[tuple[str, str]]:
    memory = profile["activation_bytes"]
    timings = [profile[what] for what in ("latency", "throughput") if profile[what] is not None]
    yield "parameters", f"{format_count(profile['params'])} ({profile['params']:,})"
    yield "MACs", f"{format_count(profile['macs'])} ({profile['macs']:,})"
    yield "MACs per parameter", format_number(profile["macs_per_param"])
    if "activation_bytes" in profile["reasons"]:
        yield "activations", f"not measured: {profile['reasons']['activation_bytes']}"
    elif memory is not None:
        yield "activations", f"{format_bytes(memory)}, kept for the backward pass of one image"
    yield from _timings(profile)
    warm_up = " and ".join(str(timing["warm_up"]) for timing in timings)
    mode = f"; eval mode, medians after {warm_up} warm-up passes" if timings else ""
    if profile["measured_on"] is not None:
        yield "measured on", where_words(profile["measured_on"]) + mode
    yield "image sizes", profile["usable_sizes"]
    if not profile["is_deployed"]:
        params, macs = (format_count(profile["deployed"][name]) for name in ("params", "macs"))
        yield "when deployed", f"{params} parameters, {macs} MACs, the training branches merged (--deploy)"


def _pieces(profile: Record) -> Iterator[tuple[str, ...]]:
    """The table of all pieces, with a line for each stage if there are several."""
    rows = {row["key"]: row for row in (*profile["parts"], *profile["branches"])}
    ordered = [rows[key] for key in profile["order"]]
    several = len({row["stage"] for row in profile["branches"]}) > 1
    yield _shown(HEADINGS, profile)
    stage = None
    for row in ordered:
        if several and row["stage"] not in (None, stage):
            own = [other for other in ordered if other["stage"] == row["stage"]]
            depth = str(max(other["depth"] for other in own))
            yield _cells(f"stage {row['stage']}", "", "", depth, own, profile)
        stage = row["stage"]
        indent = "  " if several and stage is not None else ""
        depth = str(row["depth"]) if row["branch"] is not None else ""
        yield _cells(f"{indent}{row['name']}", str(row["tokens"]), str(row["dim"]), depth, [row], profile)
        if row["branch"] is not None:
            yield from ((line,) for line in wrapped(row["op"], f"{indent}  "))
    yield _cells("all", "", "", "", ordered, profile)


def _cells(name: str, tokens: str, dim: str, depth: str, rows: Sequence[Record], profile: Record) -> tuple[str, ...]:
    """The line for one or more pieces."""
    macs = sum(row["macs"] for row in rows)
    memory, time = ([row[key] for row in rows] for key in ("activation_bytes", "time_share"))
    cells = (
        name,
        tokens,
        dim,
        depth,
        format_count(sum(row["params"] for row in rows)),
        format_count(macs) if macs else "-",
        f"{100 * macs / profile['macs']:.1f}" if macs else "-",
        "-" if None in memory or not sum(memory) else format_bytes(sum(memory)),
        "-" if None in time else f"{100 * sum(time):.1f}",
    )
    return _shown(cells, profile)


def _shown(cells: tuple[str, ...], profile: Record) -> tuple[str, ...]:
    """The cells of the columns that are not empty."""
    timed = any(row["time_share"] is not None for row in profile["parts"])
    return cells[: 9 if timed else 8 if profile["activation_bytes"] is not None else 7]


def _growth(profile: Record) -> Iterator[str]:
    yield from table(list(_sizes(profile)))
    exponents = profile["exponents"]
    if exponents:
        kinds = ", ".join(f"{kind} ^{power:.2f}" for kind, power in exponents.items() if kind != "total")
        yield ""
        yield from wrapped(f"{kinds}.", f"MACs grow as tokens^{exponents['total']:.2f}: ")
    changed = [row for row in profile["image_sizes"] if row["resized_weights"]]
    if changed:
        farthest = max(changed, key=lambda row: abs(row["tokens"] - profile["tokens"]))
        yield ""
        before, after = (_brief(record["image_size"]) for record in (profile, farthest))
        yield f"From {before} to {after} these weights change their size:"
        for weight in farthest["resized_weights"]:
            times = f", in {weight['blocks']} blocks" if weight["blocks"] > 1 else ""
            yield f"  {weight['name']} {_shape(weight['before'])} -> {_shape(weight['after'])}{times}"
    elif profile["fixed_input_size"] and profile["exponents"]:
        yield "No weight changes its size, but what the weights of a token mixer mean depends on the grid."
    elif profile["exponents"]:
        yield "The same weights serve all of these sizes."


def _sizes(profile: Record) -> Iterator[tuple[str, ...]]:
    timed = any(row["latency"] for row in profile["image_sizes"])
    yield ("image size", "tokens", "params", "MACs", *(["latency"] if timed else []))
    for row in profile["image_sizes"]:
        size = shown(row["image_size"])
        if row["tokens"] is None:
            yield from ((line,) for line in wrapped(row["reason"], f"{size}  "))
            continue
        latency = row["latency"] and f"{format_number(row['latency']['median_ms'])} ms"
        cells = (size, str(row["tokens"]), format_count(row["params"]), format_count(row["macs"]))
        yield (*cells, *([latency or "-"] if timed else []))
        if row["reason"]:
            yield from ((line,) for line in wrapped(row["reason"], "  "))


def _brief(size: Size) -> str:
    return str(size) if isinstance(size, int) else shown(size)


def _shape(shape: Sequence[int] | None) -> str:
    return "nothing" if shape is None else f"({', '.join(map(str, shape))})"

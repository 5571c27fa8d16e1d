"""`nas zoo`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from nas.commands.output import say_json, say_text

if TYPE_CHECKING:
    from search_space.zoo import Entry


@click.command("zoo", short_help="List the published models, or show one.")
@click.argument("name", required=False)
@click.option("--family", metavar="NAME", help="List only this family, such as mixer or repmlp.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--yaml", "as_yaml", is_flag=True, help="Print the architecture of NAME as YAML.")
def command(name: str | None, family: str | None, as_json: bool, as_yaml: bool) -> None:
    """List the published models with their exact and their published size, or show one.

    \b
    nas zoo                     all of them
    nas zoo mixer_b16           one: its block drawn, its cost, its sources
    nas zoo mixer_b16 --yaml    its architecture as a file
    """  # noqa: D301 (click reads the backspace)
    from search_space import zoo
    from search_space.errors import ConfigError, allowed

    if as_json and as_yaml:
        raise click.UsageError("--json and --yaml exclude each other")
    if name is not None:
        if family is not None:
            raise click.UsageError("--family applies to the list, without the NAME of a model")
        entry = zoo.entry(name)
        if as_yaml:
            say_text(entry.architecture.to_yaml().rstrip("\n"))
        elif as_json:
            say_json(record(entry))
        else:
            say_text(describe(entry))
        return
    if as_yaml:
        raise click.UsageError("--yaml needs the NAME of a model")
    families = list(zoo.FAMILIES)
    if family is not None and family not in families:
        raise ConfigError(f"--family is {family!r}; {allowed(family, families)}")
    entries = [entry for entry in zoo.entries() if family in (None, entry.family.name)]
    if as_json:
        say_json([record(entry) for entry in entries])
    else:
        say_text(table(entries))


def record(entry: Entry) -> dict[str, Any]:
    """Everything that is known about a model, as plain data."""
    architecture, published = entry.architecture, entry.published
    return {
        "name": entry.name,
        "family": entry.family.name,
        "params": architecture.params,
        "macs": architecture.macs,
        "macs_per_param": round(entry.macs_per_param, 2),
        "image_size": architecture.image_size,
        "published_params_m": published.params_m,
        "published_gflops": published.gflops,
        "published_top1": published.top1,
        "flops_per_mac": entry.family.flops_per_mac,
        "differences": entry.differences(),
        "note": entry.note,
        "source": published.source,
        "paper": entry.family.paper,
        "fixed_input_size": architecture.fixed_input_size,
        "hash": architecture.hash,
    }


_ROW = "{:<23} {:>4} {:>6} {:>6} {:>5}  {:>6} {:>6} {:>6}"


def table(entries: list[Entry]) -> str:
    """All models by family, with a footnote for each that differs from its publication or needs an explanation."""
    from nas.commands.tables import wrapped
    from search_space.units import format_count

    lines = [
        f"{'':50}{'published':>20}",
        _ROW.format("model", "size", "params", "MACs", "M/p", "M", "GFLOPs", "top-1"),
    ]
    footnotes: list[str] = []
    family = None
    for entry in entries:
        if entry.family is not family:
            family = entry.family
            lines += ["", f"{family.title}  {family.paper}", *([_units(family)] if _units(family) else [])]
        text = ": ".join(part for part in ("; ".join(entry.differences()), entry.note) if part)
        if text and text not in footnotes:
            footnotes.append(text)
        mark = f" [{footnotes.index(text) + 1}]" if text else ""
        architecture, published = entry.architecture, entry.published
        cells = [architecture.image_size, format_count(architecture.params), format_count(architecture.macs)]
        cells.append(f"{entry.macs_per_param:.0f}")
        figures = ["" if v is None else str(v) for v in (published.params_m, published.gflops, published.top1)]
        lines.append((_ROW.format(entry.name, *cells, *figures) + mark).rstrip())
    lines.append("")
    for number, text in enumerate(footnotes, start=1):
        lines += wrapped(text, f"[{number}] ")
    end = (
        "Counts are exact, and equal those of the reference code wherever it was run. M/p: MACs per parameter, how "
        "often each is used for an image. Show a model with: nas zoo NAME"
    )
    return "\n".join([*lines, *wrapped(end, "")])


def describe(entry: Entry) -> str:
    """One model: its family, its block, its exact and published cost, and its sources."""
    from nas.commands.tables import facts, wrapped
    from search_space.diagram import diagram

    family = entry.family
    lines = [f"{entry.name}: {family.title}, {family.paper}", *wrapped(family.change, ""), ""]
    lines += [diagram(entry.architecture), "", *facts(list(_facts(entry)), indent="")]
    return "\n".join([*lines, "", f"Measure it with: nas profile {_quoted(entry.name)}"])


def _facts(entry: Entry) -> Iterator[tuple[str, str]]:
    architecture, published = entry.architecture, entry.published
    yield "parameters", f"{architecture.params:,}"
    yield "MACs", f"{architecture.macs:,} an image"
    yield "MACs/parameter", f"{entry.macs_per_param:.1f}"
    yield "image sizes", architecture.image_sizes
    yield "hash", architecture.hash
    units = ((published.params_m, "M parameters"), (published.gflops, " GFLOPs"), (published.top1, " % top-1"))
    figures = ", ".join(f"{value}{unit}" for value, unit in units if value is not None)
    if figures:
        yield "published", f"{figures} on ImageNet-1k {_units(entry.family)}".strip()
        yield "source", published.source
    if entry.differences():
        yield "ours", "; ".join(entry.differences())
    if entry.note:
        yield "note", entry.note


def _units(family: Any) -> str:
    words = ["" if family.params_with_head else "parameters without the head"]
    words.append("" if family.flops_per_mac == 1 else f"{family.flops_per_mac} FLOPs a MAC")
    text = ", ".join(word for word in words if word)
    return f"(published: {text})" if text else ""


def _quoted(name: str) -> str:
    return f"'{name}'" if " " in name else name

"""`nas proxies`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nas.commands.bench import committed_tables
from nas.commands.options import table_option
from nas.commands.output import say_json, say_text
from search_space.errors import ConfigError, DataError

if TYPE_CHECKING:
    from nas.bench.table import Table


@click.command("proxies", short_help="Show how well training-free proxies rank architectures.")
@table_option
@click.option("--data", metavar="NAME", help="Read only the tables of this data set.")
@click.option("--seeds", metavar="N,N", help="Compare with the validation NLL of these search seeds.")
@click.option("--design", is_flag=True, help="Compare with the test NLL of the design seeds.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(folders: tuple[Path, ...], data: str | None, seeds: str | None, design: bool, as_json: bool) -> None:
    """Show how well training-free proxies rank the architectures of tabular benchmarks, and what they cost.

    \b
    nas proxies                                    all tables of a checkout
    nas proxies --table benchmarks/tables/digits one table
    nas proxies --seeds 0,1                        by what a search sees, without the truth seeds
    nas proxies --design                           by the design seeds, without the truth seeds

    The figures are Kendall's tau-b with 95 % bootstrap intervals: 1 is the same ranking, 0 is no relation.
    Architectures are compared only within their size band, except in the band "any".
    """  # noqa: D301 (click reads the backspace)
    from nas.bench.proxy_report import report

    chosen = _parse_seeds(seeds)
    records = [report(table, chosen, design=design) for table in _tables(folders, data)]
    if as_json:
        say_json(records)
        return
    say_text("\n\n".join("\n".join(_lines(record)) for record in records))


def _parse_seeds(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    try:
        return tuple(dict.fromkeys(int(seed) for seed in text.split(",")))
    except ValueError:
        raise ConfigError(f"--seeds is {text!r}; allowed: search seeds such as 0,1") from None


def _tables(folders: Sequence[Path], data: str | None) -> list[Table]:
    from nas.bench.table import Table
    from search_space.errors import allowed

    tables = [Table(path) for path in folders or committed_tables()]
    if data is None:
        return tables
    found = [table for table in tables if table.definition.data == data]
    if not found:
        raise DataError(
            f"no table is for the data set {data!r}; {allowed(data, {table.definition.data for table in tables})}"
        )
    return found


# As text.


def _lines(record: Mapping[str, Any]) -> Iterator[str]:
    from nas.commands.tables import wrapped

    yield from wrapped(f"rank correlation with the {record['judged_by']}", f"{record['table']}: ")
    if not record["is_truth"]:
        yield from wrapped("these figures replace the truth, which is not read", "  note: ")
    if record["spared"]:
        yield from wrapped(f"not read until the truth is: {', '.join(record['spared'])}", "  bands: ")
    if record["ranked"] < record["architectures"]:
        yield f"  {record['ranked']} of {record['architectures']} architectures are trained with all of these seeds"
    for proxy in record["proxies"]:
        if proxy["without_a_value"]:
            yield f"  {proxy['name']} has no value for {proxy['without_a_value']} of {proxy['scored']} architectures"
    yield from _blocks(record, [n for n, group in enumerate(record["groups"]) if group["kind"] != "family"], cost=True)
    yield ""
    yield "  by the token mixer of most blocks, size-matched"
    yield from _blocks(record, [n for n, group in enumerate(record["groups"]) if group["kind"] == "family"])


def _blocks(record: Mapping[str, Any], places: Sequence[int], cost: bool = False) -> Iterator[str]:
    """Tables of some groups as columns, as many as fit the terminal."""
    from nas.commands.tables import blocks

    groups, proxies = record["groups"], record["proxies"]
    names = ["", "n", "test-retest", *(proxy["name"] for proxy in proxies)]
    shown = [_column(groups[place], [proxy["taus"][place] for proxy in proxies]) for place in places]
    if cost:
        shown.append(["FTE, %", "", "100", *(_percent(proxy["fte"]) for proxy in proxies)])
    yield from blocks(names, shown)


def _column(group: Mapping[str, Any], taus: Sequence[Mapping[str, Any]]) -> list[str]:
    most = max((tau["n"] for tau in taus), default=0)
    return [group["name"], str(most), _cell(group["retest"]), *map(_cell, taus)]


def _cell(tau: Mapping[str, Any] | None) -> str:
    """A tau and its interval: ``.31 [ .22  .40]``."""
    if tau is None or tau["tau"] is None:
        return "-"
    return f"{_short(tau['tau'])} [{_short(tau['low'])} {_short(tau['high'])}]"


def _percent(share: float) -> str:
    return "<.01" if share < 1e-4 else f"{100 * share:.2g}"


def _short(tau: float) -> str:
    return f"{tau:.2f}".replace("0.", ".").replace("-.00", ".00").rjust(4)

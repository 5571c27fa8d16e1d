"""`nas bench`."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nas.commands.options import table_option, typed_path
from nas.commands.output import say, say_json, say_text
from nas.commands.tables import Notes
from search_space.errors import ConfigError, DataError, allowed
from search_space.units import format_duration

if TYPE_CHECKING:
    from nas.bench.contest import Contest
    from nas.bench.definition import Band
    from nas.bench.table import Table


@click.command("bench", short_help="Compare search strategies over tables of trainings.")
@table_option
@click.option("--runs", default=500, metavar="N", type=click.IntRange(2), help="Runs of every strategy [500].")
@click.option(
    "--strategies",
    metavar="A,B,...",
    help="Strategies to compare with random search, optionally with flags that replace their parts [all].",
)
@click.option("--bands", metavar="A,B,...", help="Bands to compare in [all of equal size].")
@click.option("--design", is_flag=True, help="Score by the design seeds; truth seeds and held-out bands are not read.")
@click.option("--jobs", type=click.IntRange(1), metavar="N", help="Number of processes [one per core].")
@click.option(
    "--cache",
    callback=typed_path,
    default="~/.cache/nas/bench",
    metavar="DIR",
    help="Folder that caches results [~/.cache/nas/bench].",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--out", callback=typed_path, metavar="FILE.svg", help="Also draw a picture.")
def command(
    folders: Sequence[Path],
    runs: int,
    strategies: str | None,
    bands: str | None,
    design: bool,
    jobs: int | None,
    cache: Path,
    as_json: bool,
    out: Path | None,
) -> None:
    """Compare search strategies, hundreds of runs each, over tables of finished trainings.

    \b
    nas bench --table benchmarks/tables/digits
    nas bench --strategies auto,tpe --runs 100 --design --out design.svg
    nas bench --strategies 'auto,auto --no-families,auto --pruner none'

    Searches see the validation curves of a table's search seeds. The architectures that they deliver are scored by the
    mean test NLL of other seeds, at 1 to 128 times the compute of one training. Nothing is trained. After Ctrl-C the
    same command continues.
    """  # noqa: D301 (click reads the backspace)
    from nas.bench.arms import arms
    from nas.bench.comparison import compare
    from nas.bench.contest import Scale
    from nas.bench.picture import check, draw
    from nas.commands.bench_text import render

    if out is not None:
        check(out)
    chosen = arms(_names(strategies))
    contests = _contests(folders or committed_tables(), _names(bands), design=design)
    try:
        with Notes() as notes:
            comparison = compare(
                contests,
                chosen,
                Scale(runs),
                jobs=jobs or os.cpu_count() or 1,
                cache_folder=cache,
                on_progress=_Progress(notes),
            )
    except KeyboardInterrupt:
        say("Stopped; finished runs are kept, and the same command continues.", err=True)
        raise
    if out is not None:
        draw(comparison, out)
    if as_json:
        say_json(comparison.to_dict())
    else:
        say_text(render(comparison))


def committed_tables() -> list[Path]:
    """The tables in the source of this project.

    Raises:
        DataError: If this installation does not have them.
    """
    folder = Path(__file__).parents[2] / "benchmarks" / "tables"
    found = sorted(path.parent for path in folder.glob("*/definition.yaml"))
    if not found:
        raise DataError(f"there are no tables in {folder}; name one with --table DIR")
    return found


def _contests(folders: Sequence[Path], names: Sequence[str], *, design: bool) -> list[Contest]:
    from nas.bench.contest import Contest
    from nas.bench.definition import ANY_SIZE
    from nas.bench.table import Table

    tables = [Table(folder) for folder in folders]
    known = dict.fromkeys(band.name for table in tables for band in table.definition.bands)
    for name in names:
        if name not in known:
            raise ConfigError(f"--bands names {name!r}; {allowed(name, known)}")
    if len({table.name for table in tables}) < len(tables):
        raise ConfigError(
            f"two tables have the same name: {', '.join(map(str, folders))}; a table is named after its folder"
        )
    chosen = [
        Contest(table, band, design=design)
        for table in tables
        for band in table.definition.bands
        if (band.name in names if names else band.name != ANY_SIZE)
        and not (design and _is_without_design_seeds(table, band))
    ]
    if not chosen:
        raise ConfigError("no band is left: bands without design seeds take no part in a comparison with --design")
    return chosen


def _is_without_design_seeds(table: Table, band: Band) -> bool:
    """Whether a band has no design seeds to score by."""
    return not set(table.definition.design_seeds) <= set(table.definition.seeds(band.name))


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()] if text else []


class _Progress:
    """A line on stderr with the time left."""

    def __init__(self, notes: Notes) -> None:
        self._notes, self._started = notes, time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if not done:
            return
        left = (time.monotonic() - self._started) / done * (total - done)
        self._notes(f"{done} of {total} simulations, {format_duration(left)} left")

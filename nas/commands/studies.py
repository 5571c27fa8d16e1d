"""`nas studies`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import click

from nas.commands.options import (
    Subcommands,
    checkpoint_option,
    checkpoints_elsewhere,
    note_checkpoints,
    refuse_with,
    study_options,
)
from nas.commands.output import say, say_json
from search_space.errors import ConfigError, StudyError, escaped, printable

if TYPE_CHECKING:
    from datetime import datetime

    from results.report.overview import Overview


@click.group(
    "studies",
    cls=Subcommands,
    invoke_without_command=True,
    short_help="List the studies of a database; rename or delete one.",
)
@study_options
@click.option("--json", "as_json", is_flag=True, help="Print the studies as JSON.")
@click.pass_context
def command(ctx: click.Context, storage: str | None, out: str, as_json: bool) -> None:
    """List the studies of a database with state, budget, best architecture and compute, or rename or delete one.

    \b
    nas studies                              all studies of nas-runs/nas.db
    nas studies rename OLD NEW
    nas studies delete NAME --yes

    A study is running while a process searches it, and finished when its winner has been tested, or chosen without
    finalists, or when its budget is spent.
    """  # noqa: D301 (click reads the backspace)
    if ctx.invoked_subcommand is not None:
        refuse_with(ctx, ctx.invoked_subcommand, ("as_json",), "it applies to the list of studies")
        ctx.default_map = {name: {"storage": storage, "out": out} for name in command.commands}
        return
    from nas.study.files import storage_url
    from results.report.overview import make_overviews
    from results.store.store import Store

    with closing(Store(storage_url(storage, out), create=False)) as store:
        found = make_overviews(store)
        if as_json:
            say_json([one.to_dict() for one in found])
        elif found:
            say(*_lines(found))
        else:
            raise StudyError(f"{store} holds no studies yet; run a search first")


@command.command("rename", short_help="Rename a study.")
@click.argument("old")
@click.argument("new")
@study_options
@checkpoint_option
def rename(old: str, new: str, storage: str | None, out: str, checkpoint_dir: str | None) -> None:
    """Rename the study OLD to NEW, in the database and in its folder under --out.

    Example: nas studies rename mlp_family-digits first-try
    """
    from nas.config import name_problem
    from nas.study.files import local_roots, storage_url
    from nas.study.housekeeping import rename_study, settle
    from results.store.store import Store

    for what, name in (("old", old), ("new", new)):  # no name leads out of --out
        if problem := name_problem(name):
            raise ConfigError(f"the {what} name is {name!r}; {problem}")
    roots = local_roots(out, checkpoint_dir)
    with closing(Store(storage_url(storage, out), create=False)) as store:
        settle(store, roots)
        study = store.study(old)
        if study is not None and (place := checkpoints_elsewhere(study.row.config, checkpoint_dir)):
            raise StudyError(
                f"the study {old!r} has its checkpoints in {place}; it can be renamed only if that is a path, and "
                "given as --checkpoint-dir"
            )
        moved = rename_study(store, old, new, roots)
        files = f"; its files are in {' and '.join(map(str, moved))}" if moved else ""
        say(f"The study {old} of {store} is now {new}{files}")


@command.command("delete", short_help="Delete a study and its files.")
@click.argument("name")
@study_options
@checkpoint_option
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def delete(name: str, storage: str | None, out: str, checkpoint_dir: str | None, yes: bool) -> None:
    """Delete the study NAME: its trials, finalists and figures, and its files under --out.

    Example: nas studies delete first-try

    Architectures and scores that another study uses are kept, as are files that this program did not write.
    """
    from nas.config import name_problem
    from nas.study.files import local_roots, storage_url
    from nas.study.housekeeping import belongings, delete_study, settle
    from results.store.store import Store
    from search_space.units import format_bytes

    if problem := name_problem(name):  # no name leads out of --out
        raise ConfigError(f"the name is {name!r}; {problem}")
    roots = local_roots(out, checkpoint_dir)
    with closing(Store(storage_url(storage, out), create=False)) as store:
        settle(store, roots)
        has = belongings(store, name, roots)
        places = " and ".join(map(str, has.folders))
        files = f", and {has.files} files ({format_bytes(has.size)}) in {places}" if has.files else ""
        what = f"the study {name} with {has.trials} trials in {store}{files}"
        if (study := store.study(name)) is not None:
            note_checkpoints(name, study.row.config, checkpoint_dir)
        if has.others:
            more = f", and {len(has.others) - 1} more" if len(has.others) > 1 else ""
            first = printable(str(has.others[0]), 300)
            say(f"nas: {first}{more}, which this program did not write for the study, is kept", err=True)
        if not yes:
            if not sys.stdin.isatty():
                raise click.UsageError(f"this would delete {what}; say --yes to delete it")
            if not click.confirm(escaped(f"Delete {what}?"), err=True):
                say("Nothing was deleted.", err=True)
                return
        delete_study(store, name, roots)
        say(f"Deleted {what}.")


def _lines(studies: Sequence[Overview]) -> Iterator[str]:
    from nas.commands.tables import table

    rows: list[Sequence[str]] = [("study", "state", "evaluated", "best", "FTE", "last activity (UTC)")]
    for one in studies:
        budget = "?" if one.budget is None else str(one.budget)
        best = "-" if one.best is None else f"{one.best.objective} {one.best.value:.4f}"
        evaluated = f"{one.evaluated} of {budget}"
        rows.append((one.name, one.state, evaluated, best, f"{one.fte:.1f}", _time(one.last_activity)))
        rows.append((f"  {'; '.join(_details(one))}",))
    return table(rows)


def _details(one: Overview) -> Iterator[str]:
    if one.space is not None and one.data is not None:
        yield f"{one.space} on {one.data}"
    yield ", ".join(f"{count} {state}" for state, count in one.counts.items()) or "no trials"
    if one.best is not None:
        seeds = f", mean of {one.best.seeds} seeds" if one.best.seeds > 1 else ""
        yield f"best is trial {one.best.trial}, {one.best.mixers} ({one.best.hash}){seeds}"
    yield f"created {_time(one.created)}"


def _time(time: datetime | None) -> str:
    return "-" if time is None else f"{time:%Y-%m-%d %H:%M}"

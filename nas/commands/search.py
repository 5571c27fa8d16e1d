"""`nas search`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nas.commands.options import Command, typed_path, warn_of_password
from nas.commands.output import say, say_json, say_text
from nas.config import SETTINGS, SearchConfig
from search_space.paths import shell_word

if TYPE_CHECKING:
    from results.report.report import Report

NO_WINNER = 3
"""The exit code of a search without a winner."""


def setting_options(function: Command) -> Command:
    """Every setting of `SearchConfig` as a flag.

    A flag that is not given is None, and keeps the value of the file or the default. `SearchConfig` checks all values,
    with the same messages for every source.
    """
    plug_ins_last = sorted(SETTINGS.values(), key=lambda known: known.name == "imports")
    for known in reversed(plug_ins_last):
        option = click.option(
            known.flags,
            known.name,
            type=None if known.kind.word is bool else known.kind.word,
            default=None,
            multiple=known.kind.repeatable,
            metavar=known.metavar or None,
            callback=warn_of_password if known.secret else None,
            help=known.help,
        )
        function = option(function)
    return function


@click.command("search", short_help="Search for an architecture, or continue a search.")
@setting_options
@click.option(
    "--config", callback=typed_path, metavar="FILE", help="YAML file with any of these settings as keys; flags win."
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on stdout; progress goes to stderr.")
def command(config: Path | None, as_json: bool, **flags: Any) -> int:
    """Search for an architecture, or continue a search.

    \b
    nas search                                           200 architectures on digits
    nas search --max-fte 64 --control random             compared with random search with equal compute
    nas search --data imagefolder:photos --max-params 1M
    nas search --config my_search.yaml --budget 400

    The same command again continues where the study stopped. Ctrl-C loses nothing. The exit code is 3 if there is no
    winner because nothing could be trained.
    """  # noqa: D301 (click reads the backspace)
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    settings = SearchConfig().with_settings(imports=flags["imports"])  # before the file, which may name their entries
    if config is not None:
        settings = settings.with_file(config)
    settings = settings.with_settings(**given)
    return run(settings, as_json)


def run(config: SearchConfig, as_json: bool) -> int:
    """Run a search, and its control if requested, with progress on stderr and the report on stdout.

    Returns:
        The exit code: 0, or `NO_WINNER`.
    """
    from nas.study.control import control_of

    report, was_spent = _search(config)
    wants_control = config.control is not None and report.winner is not None
    control = _search(control_of(config, report))[0] if wants_control else None
    if as_json:
        plain = report.to_dict()
        say_json(plain if control is None else {**plain, "control": control.to_dict()})
    else:
        _show(config, report, control, was_spent)
    if report.lack is None:
        return 0
    say(f"nas: {report.lack}", err=True)
    return NO_WINNER


def _show(config: SearchConfig, report: Report, control: Report | None, was_spent: bool) -> None:
    """Print the report and the next steps on stdout."""
    from nas.study.control import side_by_side
    from results.report.render import render

    say_text(render(report))
    if control is not None:
        say_text("\n" + side_by_side(report, control, config.control or ""))
    say_text("\n" + next_steps(config, report, was_spent))


def _search(config: SearchConfig) -> tuple[Report, bool]:
    """Search with progress on stderr; returns the report, and whether nothing was left to do."""
    from nas.api import search
    from nas.commands.progress import Progress

    again = command_line(config)
    progress = Progress()
    try:
        with progress:
            report = search(config, on_change=progress.update, on_start=progress.begin, on_notice=progress.note)
    except KeyboardInterrupt:
        say(progress.farewell(again), err=True)
        raise
    return report, progress.was_spent


def command_line(config: SearchConfig) -> str:
    """The command line of this process, without the password of a database."""
    from results.database.connection import shown

    secret = config.storage or ""
    words = [word.replace(secret, shown(secret)) if secret and secret in word else word for word in sys.argv[1:]]
    return "nas " + " ".join(map(shell_word, words))


def next_steps(config: SearchConfig, report: Report, was_spent: bool) -> str:
    """The commands to type next."""
    from results.database.connection import shown

    study = config.study_name
    where = f" --storage {shell_word(shown(config.storage))}" if config.storage else ""
    where += f" --out {shell_word(config.out)}" if config.out != "nas-runs" else ""
    where += "".join(f" --import {shell_word(name)}" for name in config.imports)
    lines = ["Next:", f"  nas dashboard{where}", f"  nas results {study}{where}"]
    if report.winner is not None:
        lines.insert(2, f"  nas export {study}{where} --best -o exported/")
    if was_spent and config.max_fte is not None and report.evaluated < report.budget:
        lines.insert(0, f"Nothing more can be done within --max-fte {config.max_fte:g}; raise it to continue\n")
    elif was_spent:
        more = f"The budget of {report.budget} is spent; raise it to continue: --budget {2 * report.budget}\n"
        lines.insert(0, more)
    return "\n".join(lines)

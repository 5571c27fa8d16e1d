"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from nas.commands.output import say
from search_space.errors import ConfigError, allowed, brief, printable
from search_space.paths import output_problem, path_problem, user_path

Command = TypeVar("Command", bound=Callable[..., Any])


def typed_path(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Callback of options that take a path, or several: what a user typed as a `Path`, with ``~`` expanded."""
    if isinstance(value, tuple):
        return tuple(typed_path(context, parameter, one) for one in value)
    return None if value is None else _checked(parameter, value, path_problem)


def typed_output(context: click.Context, parameter: click.Parameter, value: str) -> Path:
    """Callback of options that take a folder for what this program writes."""
    return _checked(parameter, value, output_problem)


def _typed_out(context: click.Context, parameter: click.Parameter, value: str) -> str:
    return str(typed_output(context, parameter, value))


def _checked(parameter: click.Parameter, value: Any, problem_of: Callable[[str], str | None]) -> Path:
    name = max(parameter.opts, key=len)
    if problem := problem_of(str(value)):
        raise ConfigError(f"{name} is {brief(str(value))}; {problem}")
    return user_path(value, name)


def warn_of_password(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Callback of ``--storage``: a password on the command line is not secret."""
    if value is not None:
        from results.database import has_password

        if has_password(value):
            say(
                "nas: warning: a password on the command line is seen by everybody on this machine, and by Ray; "
                "put it into ~/.pgpass or PGPASSWORD, or the whole URL into NAS_STORAGE",
                err=True,
            )
    return value


def listed(names: Iterable[str]) -> str:
    """Names from a database, which somebody else may have written, for people."""
    return ", ".join(printable(name, 100) for name in names)


def study_options(function: Command) -> Command:
    """``--storage`` and ``--out``: where the study lies."""
    function = click.option(
        "--out",
        callback=_typed_out,
        default="nas-runs",
        metavar="DIR",
        help="The --out folder of the search [nas-runs].",
    )(function)
    return click.option(
        "--storage",
        metavar="URL",
        callback=warn_of_password,
        help="Database [$NAS_STORAGE, else the SQLite file under --out].",
    )(function)


class Subcommands(click.Group):
    """A command with commands of its own, which answers an unknown one with those that there are."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        if found is None:
            raise click.UsageError(f"there is no command {cmd_name!r}; {allowed(cmd_name, self.commands)}", ctx)
        return found

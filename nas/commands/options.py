"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from nas.commands.output import say
from search_space.errors import ConfigError, allowed, brief, printable
from search_space.paths import path_problem, user_path

Command = TypeVar("Command", bound=Callable[..., Any])


def typed_path(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Callback of options that take a path, or several: what a user typed as a `Path`, with ``~`` expanded."""
    if value is None:
        return None
    if isinstance(value, tuple):
        return tuple(typed_path(context, parameter, one) for one in value)
    if problem := path_problem(str(value)):
        raise ConfigError(f"{parameter.opts[-1]} is {brief(str(value))}; {problem}")
    return user_path(value, parameter.opts[-1])


def _typed_out(context: click.Context, parameter: click.Parameter, value: str) -> str:
    return str(typed_path(context, parameter, value))


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

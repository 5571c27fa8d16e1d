"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from nas.commands.output import say
from search_space.errors import ConfigError, StorageError, allowed, brief, printable
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


table_option = click.option(
    "--table",
    "folders",
    multiple=True,
    callback=typed_path,
    metavar="DIR",
    help="A tabular benchmark; repeatable [those of this project].",
)
"""``--table``: the tables of trainings to work on."""


def warn_of_password(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Callback of ``--storage``: a password on the command line is not secret."""
    if value is not None:
        from results.database.connection import has_password

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


def checkpoint_option(function: Command) -> Command:
    """``--checkpoint-dir``, for commands that change files: what a database says is no path to delete from."""
    return click.option(
        "--checkpoint-dir",
        metavar="DIR",
        callback=_local,
        help="The --checkpoint-dir folder of the search, if it had one; without this nothing there is touched.",
    )(function)


def _local(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Callback of ``--checkpoint-dir``: remote storage is not looked through."""
    if value is not None:
        from runners.remote import RemoteFile, locate

        if isinstance(locate(value), RemoteFile):
            raise click.BadParameter(
                f"{value} is not looked through here; allowed: a path. What lies on remote storage is deleted with the "
                "tools of that storage",
                context,
                parameter,
            )
    return value


def checkpoints_elsewhere(config: Mapping[str, Any], given: str | None) -> str | None:
    """Where a study has its checkpoints by its settings, if that is neither under --out nor where the command says."""
    from nas.study.files import checkpoint_root

    place = config.get("checkpoint_dir")
    if not isinstance(place, str):
        return None
    try:
        same = given is not None and checkpoint_root(given) == checkpoint_root(place)
    except StorageError:  # somebody else has written it
        same = False
    return None if same else printable(place, 300)


def note_checkpoints(name: str, config: Mapping[str, Any], given: str | None) -> None:
    """Say that a study has files where the command does not go."""
    if place := checkpoints_elsewhere(config, given):
        say(
            f"nas: the checkpoints and weights of {printable(name, 100)} lie in {place}; "
            f"they are left alone unless --checkpoint-dir {place} is given",
            err=True,
        )


class Subcommands(click.Group):
    """A command with commands of its own, which answers an unknown one with those that there are."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        if found is None:
            raise click.UsageError(f"there is no command {cmd_name!r}; {allowed(cmd_name, self.commands)}", ctx)
        return found

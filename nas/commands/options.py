"""Options shared by several commands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from nas.commands.output import say
from search_space.errors import ConfigError, StorageError, allowed, brief, printable
from search_space.paths import output_problem, path_problem, user_path
from search_space.plugins import load
from search_space.size import ALLOWED_SIZES, LARGEST_IMAGE, Size, parse_size, sides

Command = TypeVar("Command", bound=Callable[..., Any])


def typed_path(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Callback of options that take one or several paths: returns `Path` objects with ``~`` expanded."""
    if isinstance(value, tuple):
        return tuple(typed_path(context, parameter, one) for one in value)
    return None if value is None else _checked(parameter, value, path_problem)


def typed_output(context: click.Context, parameter: click.Parameter, value: str) -> Path:
    """Callback of options that take a folder for output."""
    return _checked(parameter, value, output_problem)


def _typed_out(context: click.Context, parameter: click.Parameter, value: str) -> str:
    return str(typed_output(context, parameter, value))


def _checked(parameter: click.Parameter, value: Any, problem_of: Callable[[str], str | None]) -> Path:
    name = max(parameter.opts, key=len)
    if problem := problem_of(str(value)):
        raise ConfigError(f"{name} is {brief(str(value))}; {problem}")
    return user_path(value, name)


def typed_size(context: click.Context, parameter: click.Parameter, value: str | None) -> Size | None:
    """Callback of options that take the size of images."""
    if value is None:
        return None
    size = parse_size(value)
    if size is None or max(sides(size)) > LARGEST_IMAGE:
        raise ConfigError(f"{max(parameter.opts, key=len)} is {brief(value)}; {ALLOWED_SIZES}")
    return size


table_option = click.option(
    "--table",
    "folders",
    multiple=True,
    callback=typed_path,
    metavar="DIR",
    help="Folder of a tabular benchmark; repeatable [all of benchmarks/tables].",
)
"""``--table``: the tables of trainings to read."""


def warn_of_password(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Callback of ``--storage``: a password on the command line is not secret."""
    if value is not None:
        from results.database.connection import has_password

        if has_password(value):
            say(
                "nas: warning: a password on the command line is visible to all users of this machine and to Ray; "
                "put it into ~/.pgpass or PGPASSWORD, or the whole URL into NAS_STORAGE",
                err=True,
            )
    return value


def given(ctx: click.Context, name: str) -> str | None:
    """The flag of this parameter as it was given on the command line; None if it was not."""
    if ctx.get_parameter_source(name) is not click.core.ParameterSource.COMMANDLINE:
        return None
    parameter = next(one for one in ctx.command.params if one.name == name)
    off = parameter.secondary_opts and ctx.params[name] is False
    return max(parameter.secondary_opts if off else parameter.opts, key=len)


def refuse_with(ctx: click.Context, reason: str, names: Iterable[str], why: str) -> None:
    """Refuse flags that would be ignored.

    Args:
        ctx: The command.
        reason: The flag or word with which they have no effect.
        names: Names of their parameters.
        why: The reason, as a clause.

    Raises:
        UsageError: If one of them was given.
    """
    for name in names:
        if flag := given(ctx, name):
            raise click.UsageError(f"{flag} has no effect with {reason}: {why}", ctx)


def listed(names: Iterable[str]) -> str:
    """Names from a database as text, safe to print even if another program has written them."""
    return ", ".join(printable(name, 100) for name in names)


def _import(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> None:
    for name in value:
        load(name)


import_option = click.option(
    "--import",
    multiple=True,
    callback=_import,
    expose_value=False,
    is_eager=True,
    metavar="MODULE|FILE",
    help="Plug-in to import; repeatable.",
)
"""``--import``: plug-ins, imported before anything else is looked at."""


def study_options(function: Command) -> Command:
    """``--storage`` and ``--out``: where the study is; and ``--import`` for what its plug-ins define."""
    function = import_option(function)
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
    """``--checkpoint-dir``, for commands that delete files; they never follow a path that only a database names."""
    return click.option(
        "--checkpoint-dir",
        metavar="DIR",
        callback=_local,
        help="The --checkpoint-dir of the search, if any; without this flag nothing there is touched.",
    )(function)


def _local(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Callback of ``--checkpoint-dir``: remote storage is not searched."""
    if value is not None:
        from runners.remote import RemoteFile, locate

        if isinstance(locate(value), RemoteFile):
            raise click.BadParameter(
                f"{value} is remote storage; allowed: a path. Delete files there with the tools of that storage",
                context,
                parameter,
            )
    return value


def checkpoints_elsewhere(config: Mapping[str, Any], given: str | None) -> str | None:
    """Where the settings of a study put its checkpoints, if neither under --out nor where the command looks."""
    from nas.study.files import checkpoint_root

    place = config.get("checkpoint_dir")
    if not isinstance(place, str):
        return None
    try:
        same = given is not None and checkpoint_root(given) == checkpoint_root(place)
    except StorageError:  # another program has written it
        same = False
    return None if same else printable(place, 300)


def note_checkpoints(name: str, config: Mapping[str, Any], given: str | None) -> None:
    """Report that a study has files in a place that the command does not touch."""
    if place := checkpoints_elsewhere(config, given):
        say(
            f"nas: the checkpoints and weights of {printable(name, 100)} are in {place}; "
            f"they are not touched unless --checkpoint-dir {place} is given",
            err=True,
        )


class Subcommands(click.Group):
    """A group of commands; the error for an unknown command names the known ones."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        if found is None:
            raise click.UsageError(f"there is no command {cmd_name!r}; {allowed(cmd_name, self.commands)}", ctx)
        return found

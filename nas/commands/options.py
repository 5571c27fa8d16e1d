"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from search_space.errors import allowed

Command = TypeVar("Command", bound=Callable[..., Any])


def study_options(function: Command) -> Command:
    """``--storage`` and ``--out``: where the study lies."""
    function = click.option(
        "--out", default="nas-runs", metavar="DIR", help="The --out folder of the search [nas-runs]."
    )(function)
    return click.option("--storage", metavar="URL", help="Database [the SQLite file under --out].")(function)


class Subcommands(click.Group):
    """A command with commands of its own, which answers an unknown one with those that there are."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        if found is None:
            raise click.UsageError(f"there is no command {cmd_name!r}; {allowed(cmd_name, self.commands)}", ctx)
        return found

"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def study_options(function: Command) -> Command:
    """``--storage`` and ``--out``: where the study lies."""
    function = click.option(
        "--out", default="nas-runs", metavar="DIR", help="The --out folder of the search [nas-runs]."
    )(function)
    return click.option("--storage", metavar="URL", help="Database [the SQLite file under --out].")(function)

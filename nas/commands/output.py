"""What commands write: nothing that a terminal would obey, whoever chose the names in it."""

from __future__ import annotations

import logging

import click

from search_space.errors import escaped


def say(*lines: str, err: bool = False) -> None:
    """Write lines; a line break inside one came with a name or a message, and is shown as an escape."""
    for line in lines:
        click.echo(escaped(line), err=err)


def say_text(text: str) -> None:
    """Write what a renderer made of lines."""
    say(*text.split("\n"))


def say_json(plain: object) -> None:
    """Write plain data as JSON, in ASCII: a program reads every character of it back."""
    import json  # `nas --help` has no use for it

    click.echo(json.dumps(plain, indent=2))


class _Escaping(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        return escaped(super().formatMessage(record))


def escape_warnings() -> None:
    """Let what is logged where nobody has set up logging be as harmless as what is said."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Escaping())

"""Output of commands; control characters in names never reach the terminal."""

from __future__ import annotations

import logging

import click

from search_space.errors import escaped


def say(*lines: str, err: bool = False) -> None:
    """Write lines; a line break inside one comes from a name or a message and is escaped."""
    for line in lines:
        click.echo(escaped(line), err=err)


def say_text(text: str) -> None:
    """Write a text of several lines."""
    say(*text.split("\n"))


def say_json(plain: object) -> None:
    """Write plain data as ASCII JSON, so that every character survives."""
    import json  # `nas --help` does not need it

    click.echo(json.dumps(plain, indent=2))


def say_usage(error: click.ClickException) -> None:
    """Write what is wrong with a command line in one sentence, and name the help of the command if it is known."""
    message = error.format_message()
    ctx = getattr(error, "ctx", None)
    if ctx is not None and isinstance(error, (click.MissingParameter, click.NoSuchOption, click.BadOptionUsage)):
        message = f"{message.rstrip('.')}{'' if message.endswith('?') else '.'} See: {ctx.command_path} --help"
    say(f"nas: {message}", err=True)


class _Escaping(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        return escaped(super().formatMessage(record))


def escape_warnings() -> None:
    """Also escape the messages of loggers without a handler of their own."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Escaping())

"""The reference of the command line: settings from their fields, everything else from the commands themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from nas.commands import cli
from nas.config import SETTINGS


def settings() -> str:
    """Every setting of a search: flag, key, type, default, unit, meaning."""
    lines = ["| flag | key | type | default | unit | meaning |", "|---|---|---|---|---|---|"]
    for known in SETTINGS.values():
        choices = f": {', '.join(f'`{name}`' for name in known.kind.choices)}" if known.kind.choices else ""
        flags = f"`{known.flag}`, `--no-{known.name}`" if not known.metavar else f"`{known.flag} {known.metavar}`"
        cells = [flags, f"`{known.name}`", known.kind.name, known.otherwise, known.unit, known.summary + choices]
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(lines)


def commands() -> str:
    """Every command: its usage, what it does, and its flags."""
    return "\n\n".join(text for path, command in all_commands() for text in _described(path, command))


def all_commands(group: click.Group = cli, path: str = "nas") -> Iterator[tuple[str, click.Command]]:
    """All commands and subcommands, with their full names."""
    context = click.Context(group, info_name=path)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from all_commands(command, f"{path} {name}")


def _described(path: str, command: click.Command) -> Iterator[str]:
    usage = command.collect_usage_pieces(click.Context(command, info_name=path))
    yield f"### {path}"
    yield f"```text\n{' '.join([path, *usage])}\n```"
    yield from _paragraphs(command.help or "")
    flags = [one for one in command.params if isinstance(one, click.Option) and one.name not in SETTINGS]
    if path != "nas search":
        flags = [one for one in command.params if isinstance(one, click.Option)]
    if flags:
        rows = [f"| `{_written(one)}` | {one.help} |".replace(" || ", " | ") for one in flags]
        more = "All [settings](#settings) are flags, and so are:\n\n" if path == "nas search" else ""
        yield more + "\n".join(["| flag | meaning |", "|---|---|", *rows])


def _paragraphs(help_: str) -> Iterator[str]:
    """Paragraphs of a help text; those that click keeps line by line are examples."""
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(help_)):
        if paragraph.startswith("\b"):
            yield "```text\n" + paragraph.removeprefix("\b\n") + "\n```"
        else:
            yield " ".join(paragraph.split())


def _written(option: click.Option) -> str:
    names = "/".join([max(option.opts, key=len), *option.secondary_opts])
    if option.is_flag:
        return names
    shown = option.make_metavar(click.Context(click.Command("any"))).replace("|", r"\|")
    return f"{names} {shown}"

"""The flags of all commands: frozen in a file, explained in their help, and written down in the documentation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from nas.commands import cli
from nas.config import SETTINGS

FROZEN = Path(__file__).with_name("flags.txt")
"""Written anew by ``python tests/nas/commands/test_flags.py``; a flag that changes or goes breaks somebody's script."""
REFERENCE = Path(__file__).parents[3] / "docs" / "reference.md"


def all_commands(group: click.Group = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield " ".join((*path, name)), command
        if isinstance(command, click.Group):
            yield from all_commands(command, (*path, name))


COMMANDS = dict(all_commands())
FLAGS = {
    (name, max(option.opts, key=len)): option
    for name, command in COMMANDS.items()
    for option in command.params
    if isinstance(option, click.Option)
}


def written(name: str, command: click.Command) -> Iterator[str]:
    """Usage of a command, and a line for every flag: its forms, its value, its default."""
    yield " ".join(["nas", name, *command.collect_usage_pieces(click.Context(command))])
    for option in command.params:
        if isinstance(option, click.Option):
            value = "" if option.is_flag else f" {option.make_metavar(click.Context(command))}"
            repeatable = " ..." if option.multiple else ""
            default = "" if option.default in (None, False, ()) or "UNSET" in repr(option.default) else option.default
            if name == "search" and option.name in SETTINGS:
                default = SETTINGS[option.name].otherwise
            forms = "/".join([*option.opts, *option.secondary_opts])
            yield f"  {forms}{value}{repeatable}{f'  [{default}]' if default != '' else ''}"


def frozen() -> str:
    return "\n".join(line for name, command in COMMANDS.items() for line in written(name, command)) + "\n"


def test_no_flag_has_changed():
    assert frozen() == FROZEN.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name):
    command = COMMANDS[name]
    assert command.short_help
    lines = (command.help or "").splitlines()
    assert any(line.strip().removeprefix("Example: ").startswith(f"nas {name}") for line in lines[1:])
    assert f"### nas {name}\n" in REFERENCE.read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "flag"), FLAGS)
def test_every_flag_has_help(name, flag):
    option = FLAGS[name, flag]
    assert option.help is not None
    assert option.help[0].isupper() or option.help.startswith("--")
    assert option.help.endswith(".")
    section = REFERENCE.read_text(encoding="utf-8").partition(f"### nas {name}\n")[2].partition("\n### ")[0]
    if name == "search" and option.name in SETTINGS:
        section = REFERENCE.read_text(encoding="utf-8").partition("## Commands")[0]
    assert f"| `{flag}" in section


if __name__ == "__main__":
    FROZEN.write_text(frozen(), encoding="utf-8")

"""The commands of `nas`, one file each, which is imported when the command is used."""

from __future__ import annotations

import importlib

import click

from search_space.errors import allowed

COMMANDS = {
    "search": "Search for an architecture, or continue a search.",
    "results": "Show the trials and the report of a study.",
    "studies": "List the studies of a database; rename or delete one.",
    "dashboard": "Show the studies in the Optuna dashboard.",
    "export": "Export an architecture with its weights, verified.",
    "db": "Check, upgrade or copy the database.",
    "gc": "Show how much space studies take, and delete unneeded files.",
    "spaces": "List, show and check search spaces.",
    "recipes": "List and show recipes of a training.",
    "profile": "Break down what an architecture costs.",
    "bench": "Compare search strategies over tables of trainings.",
    "compare": "Show the costs of architectures side by side.",
    "proxies": "Show how well training-free proxies rank architectures.",
    "plugins": "List everything that is registered, and where it comes from.",
    "check-plugin": "Test a plug-in against the contracts of its kinds.",
    "zoo": "List the published models, or show one.",
}


class LazyGroup(click.Group):
    """A group that knows the names of its commands and imports each when it is used, so that `nas --help` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            raise click.UsageError(f"there is no command {cmd_name!r}; {allowed(cmd_name, COMMANDS)}", ctx)
        command: click.Command = importlib.import_module(f"nas.commands.{cmd_name.replace('-', '_')}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mlp-nas", prog_name="nas")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Search for vision architectures in one exact space of ViT, MLP-Mixer, ResMLP, gMLP and related models.

    Start with: nas search --space mlp_family --budget 200
    """
    if ctx.invoked_subcommand is None:
        from nas.commands.output import say_text

        say_text(ctx.get_help())

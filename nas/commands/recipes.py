"""`nas recipes`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from nas.commands.options import Subcommands, import_option
from nas.commands.output import say


@click.group("recipes", cls=Subcommands, invoke_without_command=True, short_help="List and show recipes of a training.")
@click.pass_context
def command(ctx: click.Context) -> None:
    """List the recipes that ship, or show the settings of one.

    \b
    nas recipes                              the recipes that ship
    nas recipes show deit                    what one sets, and its source
    nas recipes show deit --data cifar10     all settings of a training with it
    nas recipes show --data digits           all settings without a recipe
    """  # noqa: D301 (click reads the backspace)
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_recipes)


@command.command("list", short_help="List the recipes that ship.")
def list_recipes() -> None:
    """List the recipes that ship.

    Example: nas recipes list
    """
    from runners.recipe_files import list_recipes, load_recipe

    for name in list_recipes():
        say(f"{name}: {load_recipe(name).summary}")
    say("", "Show one with: nas recipes show NAME", "Train with one: nas search --recipe NAME")


@command.command("show", short_help="Show the settings of a recipe.")
@click.argument("recipe", metavar="[NAME|FILE]", required=False)
@click.option("--data", metavar="NAME", help="Show all settings of a training on this data set.")
@import_option
def show(recipe: str | None, data: str | None) -> None:
    """Show what a recipe sets; with --data, all settings that a training on a data set has with it.

    \b
    nas recipes show my_recipe.yaml          what the file sets; a mistake is reported with its line
    nas recipes show cct --data cifar10
    """  # noqa: D301 (click reads the backspace)
    from runners.protocol import DataSpec
    from runners.recipe_files import load_recipe, make_recipe

    if recipe is None and data is None:
        raise click.UsageError("name a recipe, or a data set with --data; `nas recipes` lists the recipes")
    file = None if recipe is None else load_recipe(recipe)
    if file is not None:
        words = [file.summary, f"source: {file.source}" if file.source else ""]
        say(*(word for word in words if word), *([""] if any(words) else []))
    settings = file.settings if data is None and file is not None else vars(make_recipe(DataSpec(data or ""), file))
    say(*_lines(settings))


def _lines(settings: Any) -> Iterator[str]:
    from runners.recipe import RULES

    for name, rule in RULES.items():
        if name in settings and settings[name] is not None:
            value = settings[name]
            shown = (
                str(value).lower() if isinstance(value, bool) else f"{value:g}" if rule.kind is float else str(value)
            )
            yield f"  {name:<16} {shown:<10} {rule.summary}"

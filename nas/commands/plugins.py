"""`nas plugins`."""

from __future__ import annotations

import click

from nas.commands.options import import_option
from nas.commands.output import say_json, say_text


@click.command("plugins", short_help="List everything that is registered, and where it comes from.")
@import_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """List everything that is registered, by kind: token mixers, data sets, samplers, pruners, ...

    Example: nas plugins --import my_plugin.py

    Entries of an installed distribution, a module or a file are listed with its version or digest.
    """
    from nas.registries import entries

    found = entries()
    if as_json:
        say_json(
            [
                {
                    "kind": entry.kind,
                    "name": entry.name,
                    "plugin": entry.plugin.name if entry.plugin else None,
                    "version": entry.plugin.version if entry.plugin else None,
                }
                for entry in found
            ]
        )
        return
    lines = []
    for kind in dict.fromkeys(entry.kind for entry in found):
        own = ", ".join(entry.name for entry in found if entry.kind == kind and entry.plugin is None)
        lines.append(f"{kind + ':':15} {own}")
        lines += [
            f"{'':15} {entry.name}  from {entry.plugin.name} ({entry.plugin.version})"
            for entry in found
            if entry.kind == kind and entry.plugin is not None
        ]
    say_text("\n".join(lines))

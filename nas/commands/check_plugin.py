"""`nas check-plugin`."""

from __future__ import annotations

import click

from nas.commands.output import say
from search_space.errors import ConfigError

BROKEN = 1
"""The exit code if a promise is not kept."""


@click.command("check-plugin", short_help="Test a plug-in against the contracts of its kinds.")
@click.argument("plugin", metavar="MODULE|FILE")
def command(plugin: str) -> int:
    """Test everything that a module or file registers against the promises of its kind.

    Example: nas check-plugin my_plugin.py

    The exit code is 1 if a promise is not kept, and 2 if the plug-in cannot be imported or registers nothing. For
    pytest, the same tests are classes in `nas.testing`.
    """
    from nas.testing import check
    from search_space.plugins import load, loaded

    name = load(plugin).name
    entries = next(one.entries for one in loaded() if one.plugin.name == name)
    if not entries:
        raise ConfigError(f"{name} registers nothing; a plug-in calls nas.register_dataset, register_sampler, ...")
    broken = 0
    for kind, entry in entries:
        say(f"{kind} {entry}")
        for finding in check(kind, entry):
            mark = "not kept" if finding.problem else "skipped" if finding.skipped else "ok"
            reason = finding.problem or finding.skipped
            say(f"  {mark:8}  {finding.promise}" + (f": {reason}" if reason else ""))
            broken += bool(finding.problem)
    if broken:
        say(f"nas: {name} does not keep {broken} of its promises", err=True)
        return BROKEN
    return 0

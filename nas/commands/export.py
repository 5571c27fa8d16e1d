"""`nas export`."""

from __future__ import annotations

from pathlib import Path

import click

from nas.commands.options import study_options, typed_output
from nas.commands.output import say
from results.export import EXPORTERS
from search_space.paths import shell_word


@click.command("export", short_help="Export an architecture with its weights, verified.")
@click.argument("study", required=False)
@study_options
@click.option("--best", is_flag=True, help="Export the winner of the study.")
@click.option("--trial", type=click.IntRange(min=0), metavar="N", help="Export trial N.")
@click.option(
    "--format",
    "format_",
    default="bundle",
    metavar="NAME",
    help=f"Format: {', '.join(EXPORTERS)}, or one of a plug-in [bundle].",
)
@click.option("-o", "--output", required=True, callback=typed_output, metavar="DIR", help="Folder to create.")
def command(
    study: str | None, storage: str | None, out: str, best: bool, trial: int | None, format_: str, output: Path
) -> None:
    """Export an architecture of STUDY: its YAML, weights, provenance, model card, and code that loads them.

    \b
    nas export --best -o exported/
    nas export mlp_family-digits --trial 12 -o trial-12/
    """  # noqa: D301 (click reads the backspace)
    from nas.study.files import local_roots
    from nas.study.housekeeping import settle
    from nas.study.opening import existing_study, folder_of
    from results.export.choice import exported_key
    from results.export.writing import export, find_exporter

    if best == (trial is not None):
        raise click.UsageError("give either --best or --trial N")
    exporter = find_exporter(format_)
    found = existing_study(study, storage, out, architectures=True)
    settle(found.store, local_roots(out))
    with folder_of(found, out).weights_here(exported_key(found, trial)) as weights:
        exported = export(found, weights, output, trial=trial, exporter=exporter)
    say(
        f"Exported trial {exported.contender.trial} ({exported.contender.mixers}) to {exported.folder}; loaded back, "
        f"its outputs agree with the trained model's (largest difference {exported.difference:.1e})."
    )
    if format_ != "bundle":
        return
    folder = shell_word(str(exported.folder))
    say(f'Try: cd {folder} && python -c "from load import load; model, mean, std = load(); print(model)"')

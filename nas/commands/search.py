"""`nas search`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nas.commands.options import typed_path, warn_of_password
from nas.commands.output import say, say_json, say_text
from nas.config import RUNNERS, SearchConfig
from nas.strategy.presets import STRATEGIES, ranker_names
from nas.strategy.pruners import PRUNERS
from nas.strategy.samplers.registry import SAMPLERS
from results.report.objectives import OBJECTIVES
from search_space.paths import shell_word

if TYPE_CHECKING:
    from results.report.report import Report

NO_WINNER = 3
"""The exit code of a search in which nothing could be trained."""


def _names(choices: Any) -> str:
    return ", ".join(choices)


# A flag that is not given stays None and leaves the config file's value, or the default, as it is. Values are checked
# in `SearchConfig`, in the same words wherever they come from.
@click.command("search", short_help="Search for an architecture, or continue a search.")
@click.option("--space", metavar="NAME|FILE", help="Search space [mlp_family].")
@click.option(
    "--data", metavar="NAME", help="Data set: digits, fashion_mnist, cifar10, ..., imagefolder:PATH [digits]."
)
@click.option("--budget", type=int, metavar="N", help="Distinct architectures to evaluate, over all runs [200].")
@click.option(
    "--max-fte",
    type=float,
    metavar="X",
    help="Compute to spend at most, in full trainings, finalists included [no limit].",
)
@click.option(
    "--objective",
    multiple=True,
    metavar="NAME",
    help=f"Repeatable; the first is the quality: {_names(OBJECTIVES)} [nll].",
)
@click.option(
    "--max-params", metavar="COUNT", help="Limit on parameters, such as 50k; 0 for none [the space's, by image size]."
)
@click.option("--max-macs", metavar="COUNT", help="Limit on MACs for one image, such as 5M.")
@click.option("--max-latency-ms", type=float, metavar="MS", help="Limit on the measured latency of one image.")
@click.option(
    "--trial-timeout",
    type=float,
    metavar="SECONDS",
    help="Compute of one attempt at a training; what takes longer is infeasible [no limit].",
)
@click.option("--strategy", metavar="NAME", help=f"{_names(STRATEGIES)} [auto]. The next six are its parts.")
@click.option(
    "--sampler",
    metavar="NAME|MODULE:CLASS",
    help=f"Sampler that proposes: {_names(SAMPLERS)}, or MODULE:CLASS [by strategy].",
)
@click.option("--ranker", metavar="NAME", help=f"What chooses among proposals: {_names(ranker_names())} [by strategy].")
@click.option(
    "--proxies",
    metavar="NAMES",
    help="What the surrogate sees beside architectures, such as zico,entropy; or none.",
)
@click.option("--pruner", metavar="NAME", help=f"Pruner that stops trials early: {_names(PRUNERS)} [by strategy].")
@click.option("--families/--no-families", default=None, help="Whether hand-designed families are tried first.")
@click.option("--local/--no-local", default=None, help="Whether neighbours of the best ones are candidates.")
@click.option(
    "--control", metavar="NAME", help="Afterwards search by this strategy with equal compute, to compare with: random."
)
@click.option("--epochs", type=int, metavar="E", help="Epochs of a full training [by data set].")
@click.option("--batch-size", type=int, metavar="B", help="Images a step [by data set].")
@click.option("--lr", type=float, metavar="LR", help="Peak learning rate [by data set].")
@click.option("--seed", type=int, metavar="K", help="Seed of the search and of its trials [0].")
@click.option("--finalists", type=int, metavar="K", help="How many of the best are retrained at the end [3].")
@click.option("--seeds", type=int, metavar="S", help="With how many seeds each [2].")
@click.option("--runner", metavar="NAME", help=f"{_names(RUNNERS)} [ray].")
@click.option(
    "--address",
    metavar="ADDRESS",
    help="Ray cluster to use: auto, HOST:PORT, ray://HOST:PORT [$RAY_ADDRESS, else Ray on this machine].",
)
@click.option("--cpus-per-trial", type=float, metavar="X", help="CPU cores a trial reserves [1].")
@click.option(
    "--gpus-per-trial", type=float, metavar="X", help="GPUs a trial reserves, such as 0.25 [1 where there are GPUs]."
)
@click.option("--device", metavar="NAME", help="auto, cpu, cuda, ... [auto].")
@click.option("--data-dir", metavar="DIR", help="Where data sets are cached [$NAS_DATA_DIR, ~/.cache/nas].")
@click.option("--image-size", type=int, metavar="PIXELS", help="Side to which an image folder is resized [64].")
@click.option(
    "--storage",
    metavar="URL",
    callback=warn_of_password,
    help="sqlite:///FILE or postgresql+psycopg://... [$NAS_STORAGE, else a SQLite file under --out].",
)
@click.option("--study", metavar="NAME", help="Name of the study [SPACE-DATA].")
@click.option("--out", metavar="DIR", help="Folder for everything the search writes [nas-runs].")
@click.option(
    "--checkpoint-dir", metavar="DIR", help="Where checkpoints and weights lie: a folder, s3://..., gs://... [--out]."
)
@click.option("--config", callback=typed_path, metavar="FILE", help="YAML file with any of these settings; flags win.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the end report as JSON on stdout; progress goes to stderr."
)
def command(config: Path | None, as_json: bool, **flags: Any) -> int:
    """Search for an architecture, or continue a search.

    The same command again continues where the study stopped. Ctrl-C loses nothing. The exit code is 3 if there is no
    winner, as nothing could be trained.
    """
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    settings = SearchConfig() if config is None else SearchConfig().with_file(config)
    settings = settings.with_settings(**given)
    return run(settings, as_json)


def run(config: SearchConfig, as_json: bool) -> int:
    """Run a search, and its control if there is to be one, with progress on stderr and the report on stdout.

    Returns:
        The exit code: 0, or `NO_WINNER`.
    """
    from nas.study.control import control_of

    report, was_spent = _search(config)
    wants_control = config.control is not None and report.winner is not None
    control = _search(control_of(config, report))[0] if wants_control else None
    if as_json:
        plain = report.to_dict()
        say_json(plain if control is None else {**plain, "control": control.to_dict()})
    else:
        _show(config, report, control, was_spent)
    if report.lack is None:
        return 0
    say(f"nas: {report.lack}", err=True)
    return NO_WINNER


def _show(config: SearchConfig, report: Report, control: Report | None, was_spent: bool) -> None:
    """The report and what may come next, on stdout."""
    from nas.study.control import side_by_side
    from results.report.render import render

    say_text(render(report))
    if control is not None:
        say_text("\n" + side_by_side(report, control, config.control or ""))
    say_text("\n" + next_steps(config, report, was_spent))


def _search(config: SearchConfig) -> tuple[Report, bool]:
    """Search with progress on stderr; returns the report, and whether there was nothing left to do."""
    from nas.api import search
    from nas.commands.progress import Progress

    again = command_line(config)
    progress = Progress()
    try:
        with progress:
            report = search(config, on_change=progress.update, on_start=progress.begin, on_notice=progress.note)
    except KeyboardInterrupt:
        say(progress.farewell(again), err=True)
        raise
    return report, progress.was_spent


def command_line(config: SearchConfig) -> str:
    """What was typed, without the password of a database."""
    from results.database.connection import shown

    secret = config.storage or ""
    words = [word.replace(secret, shown(secret)) if secret and secret in word else word for word in sys.argv[1:]]
    return "nas " + " ".join(map(shell_word, words))


def next_steps(config: SearchConfig, report: Report, was_spent: bool) -> str:
    """What a person may want to type next."""
    from results.database.connection import shown

    study = config.study_name
    where = f" --storage {shell_word(shown(config.storage))}" if config.storage else ""
    where += f" --out {shell_word(config.out)}" if config.out != "nas-runs" else ""
    lines = ["Next:", f"  nas dashboard{where}", f"  nas results {study}{where}"]
    if report.winner is not None:
        lines.insert(2, f"  nas export {study}{where} --best -o exported/")
    if was_spent and config.max_fte is not None and report.evaluated < report.budget:
        lines.insert(0, f"Nothing more can be done within --max-fte {config.max_fte:g}; raise it to go on\n")
    elif was_spent:
        more = f"The budget of {report.budget} was spent already; raise it to go on: --budget {2 * report.budget}\n"
        lines.insert(0, more)
    return "\n".join(lines)

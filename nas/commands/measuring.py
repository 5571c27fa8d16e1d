"""The options of `nas profile` and `nas compare` that say how to measure."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from nas.commands.options import Command, refuse_with
from runners.measuring.measurement import DTYPES, MeasuringSettings
from search_space.errors import ConfigError

if TYPE_CHECKING:
    from runners.measuring.profiler import Profiler

_MEASURED = ("device", "dtype", "batch", "threads", "timing", "seconds")
_TIMED = ("batch", "seconds")


def measuring_options(function: Command) -> Command:
    """The fields of `MeasuringSettings` as flags, and ``--closed-form``."""
    for option in (
        click.option(
            "--seconds",
            type=click.FloatRange(min=0, min_open=True),
            default=3.0,
            metavar="S",
            help="Time for each timing; at least a few passes are made [3].",
        ),
        click.option(
            "--timing/--no-timing", default=True, help="Whether to measure latency and throughput [--timing]."
        ),
        click.option("--closed-form", is_flag=True, help="Only count: measure nothing and build no model."),
        click.option(
            "--threads",
            type=click.IntRange(1, 1024),
            metavar="N",
            help="CPU threads of torch [torch's default].",
        ),
        click.option(
            "--batch",
            type=click.IntRange(1, 2**31 - 1),
            metavar="N",
            help="Images in a batch for the throughput [16, or fewer if that takes too long].",
        ),
        click.option(
            "--dtype",
            type=click.Choice(DTYPES),
            default="float32",
            help="Data type to cast weights and images to; no autocast [float32].",
        ),
        click.option("--device", default="auto", metavar="NAME", help="Device: auto, cpu, cuda, cuda:1, ... [auto]."),
    ):
        function = option(function)
    return function


def make_profiler(
    ctx: click.Context, note: Callable[[str], None], *, closed_form: bool, **settings: Any
) -> Profiler | None:
    """Return the profiler for the flags; None for ``--closed-form``.

    Args:
        ctx: The command, which knows the flags that were given.
        note: Called with the current step.
        closed_form: Whether nothing is measured.
        **settings: Fields of `MeasuringSettings`.

    Raises:
        NasError: If a flag has no effect because of another one, or there is no such device.
    """
    if closed_form:
        refuse_with(ctx, "--closed-form", _MEASURED, "it measures nothing")
        return None
    if not settings["timing"]:
        refuse_with(ctx, "--no-timing", _TIMED, "nothing is timed")
    if not math.isfinite(settings["seconds"]):
        raise ConfigError(f"--seconds is {settings['seconds']}; allowed: a number of seconds")
    from runners.measuring.profiler import Profiler  # loads torch

    return Profiler(MeasuringSettings(**settings), note)

"""Checks that the resources that a trial reserves are available."""

from __future__ import annotations

import os
from collections.abc import Mapping

from search_space.errors import RunnerError


def check_resources(wanted: Mapping[str, float], there: Mapping[str, float]) -> None:
    """Check that the resources that one trial reserves are available, by kind ("CPU", "GPU").

    Raises:
        RunnerError: If not.
    """
    for kind, amount in wanted.items():
        if amount > there.get(kind, 0.0):
            raise RunnerError(
                f"--{kind.lower()}s-per-trial is {amount:g}, but there are {there.get(kind, 0.0):g} {kind}s"
            )


def check_this_machine(cpus: float, gpus: float) -> None:
    """Check that this machine has what one trial reserves, before anything is started.

    Raises:
        RunnerError: If not.
    """
    there = {"CPU": float(os.cpu_count() or 1)}
    if gpus:
        from runners.measuring.device import gpu_count  # loads torch

        there["GPU"] = float(gpu_count())
    check_resources({"CPU": cpus, "GPU": gpus}, there)

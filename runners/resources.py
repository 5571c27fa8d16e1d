"""What a trial reserves, against what there is."""

from __future__ import annotations

import os
from collections.abc import Mapping

from search_space.errors import RunnerError


def check_resources(wanted: Mapping[str, float], there: Mapping[str, float]) -> None:
    """See whether there is as much as one trial reserves, by kind ("CPU", "GPU").

    Raises:
        RunnerError: If not.
    """
    for kind, amount in wanted.items():
        if amount > there.get(kind, 0.0):
            raise RunnerError(
                f"--{kind.lower()}s-per-trial is {amount:g}, but there are {there.get(kind, 0.0):g} {kind}s"
            )


def check_this_machine(cpus: float, gpus: float) -> None:
    """`check_resources` before anything is started.

    Raises:
        RunnerError: If this machine has less.
    """
    there = {"CPU": float(os.cpu_count() or 1)}
    if gpus:
        import torch  # takes its time to load

        there["GPU"] = float(torch.cuda.device_count())
    check_resources({"CPU": cpus, "GPU": gpus}, there)

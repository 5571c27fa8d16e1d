"""What is searched, and for what."""

from __future__ import annotations

from dataclasses import dataclass

from nas.config.setting import setting
from nas.config.values import choice, count, name_list, number, path, plugins, text, whole
from results.database.objectives import OBJECTIVES
from runners.measuring.targets import LATENCY_TARGETS


@dataclass(frozen=True)
class ProblemSettings:
    """What is searched, and for what."""

    imports: tuple[str, ...] = setting(  # first, since others may name what plug-ins register
        (), plugins(), "MODULE|FILE", "Plug-in to import, in every worker too; repeatable", otherwise="installed ones"
    )
    space: str = setting("mlp_family", path(), "NAME|FILE", "Search space, one that ships or a YAML file")
    data: str = setting("digits", text(), "NAME", "Data set, such as digits, fashion_mnist, cifar10, imagefolder:PATH")
    budget: int = setting(
        200, whole(1), "N", "Distinct architectures to evaluate, over all runs of the study", unit="architectures"
    )
    max_fte: float | None = setting(
        None,
        number(0, 1e9),
        "X",
        "Compute to spend, in full-training equivalents, finalists included",
        otherwise="no limit",
        unit="full trainings",
    )
    objective: tuple[str, ...] = setting(
        ("nll",),
        name_list("objectives", OBJECTIVES, lambda names: None, repeatable=True),  # `objectives` has the better message
        "NAME",
        "Objective, repeatable; the first is the quality searched for",
    )
    max_params: int | None = setting(
        None,
        count(0, 10**13),
        "COUNT",
        "Limit on parameters, such as 50k; 0 for none",
        otherwise="that of the space for this size of images",
        unit="parameters",
    )
    max_macs: int | None = setting(
        None, count(1, 10**16), "COUNT", "Limit on MACs for one image, such as 5M", otherwise="no limit", unit="MACs"
    )
    max_latency_ms: float | None = setting(
        None, number(0, 1e9), "MS", "Limit on the measured latency of one image", otherwise="no limit", unit="ms"
    )
    latency_target: str = setting(
        "device", choice(LATENCY_TARGETS), "NAME", "What measures the latency, by default the device of the trial"
    )
    trial_timeout: float | None = setting(
        None,
        number(0, 1e9),
        "SECONDS",
        "Time limit for one attempt at a training; an architecture that takes longer is infeasible",
        otherwise="no limit",
        unit="s",
    )

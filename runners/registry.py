"""The registry of runners. Names are available without Ray, which is imported when a runner is created."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from runners.protocol import DataSpec, Runner
from search_space.plugins import Plugin
from search_space.registry import Registered, Registry

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunnerSettings:
    """The settings from which a runner is created.

    Attributes:
        address: Address of a cluster; None for this machine.
        cpus_per_trial: CPU cores that a job reserves.
        gpus_per_trial: GPUs that a job reserves; None to let the runner decide.
        packages: Packages that workers on other machines must be able to import.
        plugins: Plug-ins that every process that runs jobs must import.
        images: The images that workers need; None if they need none.
        notice: Shows a message to the user.
    """

    address: str | None = None
    cpus_per_trial: float = 1.0
    gpus_per_trial: float | None = None
    packages: tuple[str, ...] = ("search_space", "runners")
    plugins: tuple[Plugin, ...] = ()
    images: DataSpec | None = None
    notice: Callable[[str], None] = log.warning


MakeRunner = Callable[[RunnerSettings], Runner]
RUNNERS: Registry[MakeRunner] = Registry("runner")


def register_runner(name: str) -> Callable[[Registered], Registered]:
    """Decorator that registers a class or function of `RunnerSettings` as the runner `name`.

    Args:
        name: As in ``--runner``.

    Raises:
        ValueError: If the name is taken.
    """
    return RUNNERS.register(name)


@register_runner("ray")
def _ray(settings: RunnerSettings) -> Runner:
    from runners.on_ray.folders import check_home

    check_home()  # Ray cannot even be imported without one
    from runners.on_ray.runner import RayRunner

    return RayRunner(
        address=settings.address,
        cpus_per_trial=settings.cpus_per_trial,
        gpus_per_trial=settings.gpus_per_trial,
        packages=settings.packages,
        plugins=settings.plugins,
        images=settings.images,
        notice=settings.notice,
    )


@register_runner("inline")
def _inline(settings: RunnerSettings) -> Runner:
    from runners.inline import InlineRunner  # imports torch when it runs

    return InlineRunner(threads=max(1, int(settings.cpus_per_trial)), gpus=settings.gpus_per_trial or 0.0)

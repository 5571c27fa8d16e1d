"""Searching from Python: the same as `nas search`, with the same names. Start reading here.

A search opens a study, runs it, and makes the report:

    open    `nas.study.spec` resolves the settings; `nas.study.opening` finds or creates the study, or refuses it
    run     a runner (`runners.inline`, `runners.on_ray`) asks `nas.study.search.Search` for jobs until there are none
    report  `results.report` reads the database
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

from nas.config import SearchConfig
from nas.study.opening import open_folder, open_store, open_with_files
from nas.study.search import Search
from nas.study.spec import StudySpec, make_spec
from results.report.render import render
from results.report.report import Report, make_report
from runners.data import prepare
from runners.data.scanning import scanning_once
from runners.evaluator import TaskEvaluator
from runners.protocol import DataSpec, Evaluator, Runner
from runners.registry import RUNNERS, RunnerSettings
from search_space.errors import LeaseLost
from search_space.plugins import Plugin

log = logging.getLogger(__name__)

PACKAGES = ("search_space", "nas", "runners", "results")
"""Packages that a worker on another machine must be able to import."""


def search(
    config: SearchConfig | None = None,
    *,
    evaluator: Evaluator | None = None,
    on_change: Callable[[Search], None] = lambda _: None,
    on_start: Callable[[Search, bool], None] = lambda search, new: None,
    on_notice: Callable[[str], None] = log.warning,
    **settings: Any,
) -> Report:
    """Search for an architecture, or continue the study if it exists.

    Example:
        >>> from nas import search
        >>> report = search(space="mlp_family", data="digits", budget=20, max_params="50k")  # doctest: +SKIP
        >>> report.winner.accuracy  # doctest: +SKIP

    Args:
        config: All settings at once.
        evaluator: Executes an evaluation; by default it trains (`runners.training.train.train`).
        on_change: Called with the search after every change.
        on_start: Called with the search, and whether the study is new, before the first job; again if other drivers of
            a shared study have taken over from this one.
        on_notice: Called with a sentence for the user, such as what a cluster lacks.
        **settings: Single settings, named like the flags of `nas search`; see `nas.config.SearchConfig`.

    Returns:
        The report.

    Raises:
        NasError: If a setting cannot be used.
        KeyboardInterrupt: On Ctrl-C; nothing is lost, and the same call continues the study.
    """
    if config is not None and settings:
        raise TypeError("give search() either a config or single settings, not both")
    config = config or SearchConfig.make(**settings)
    with scanning_once():
        spec = make_spec(config)
        runner = make_runner(config, None if evaluator else spec.data, spec.plugins, on_notice)
        # Everything that can fail comes before the first write.
        runner.check()
        if evaluator is None:
            _check_this_machine(spec, on_notice)
        folder = open_folder(config)
        with closing(open_store(config, folder, on_notice)) as store, store.driving(config.study_name):
            study, is_new = open_with_files(store, spec, folder)
            start = partial(Search, spec, study, folder, on_change, on_notice)
            _run(start, runner, TaskEvaluator(evaluator, config.training_device), on_start, is_new=is_new)
            report = make_report(study)
            folder.write_report(render(report), report.to_dict())
            store.check()
    return report


def _run(
    start: Callable[[], Search],
    runner: Runner,
    evaluator: Evaluator,
    on_start: Callable[[Search, bool], None],
    *,
    is_new: bool,
) -> None:
    """Let a runner execute the search until nothing is left to do."""
    while True:
        running = start()
        on_start(running, is_new)
        try:
            if not running.done:
                runner.run(running, evaluator)
            return
        except LeaseLost:  # other drivers have taken over what ran here: join again, if the study still exists
            is_new = False
        finally:
            running.close()


def _check_this_machine(spec: StudySpec, on_notice: Callable[[str], None]) -> None:
    """Raise an error before anything is written if the images or the device are not available.

    The nodes of a cluster get the images from here, but each has its own devices.
    """
    prepare(spec.data, on_notice)
    if _address(spec.config) is None and spec.config.device not in ("auto", "cpu"):
        from runners.measuring.device import pick_device

        pick_device(spec.config.device)
    fraction = spec.config.gpus_per_trial
    if _address(spec.config) is None and fraction and fraction < 1:
        from runners.measuring.device import gpu_memory
        from runners.training.memory_prediction import check_fraction

        if (total := gpu_memory()) is not None:
            check_fraction(spec.families(), spec.recipe, fraction, total)


def _address(config: SearchConfig) -> str | None:
    """The cluster that trials run on; None for this machine."""
    if config.runner != "ray":
        return None
    from runners.on_ray.address import cluster_address

    return cluster_address(config.address)


def make_runner(
    config: SearchConfig,
    images: DataSpec | None = None,
    plugins: tuple[Plugin, ...] = (),
    on_notice: Callable[[str], None] = log.warning,
) -> Runner:
    """The runner that a configuration asks for.

    Args:
        config: The configuration.
        images: The images that workers need; None if they need none.
        plugins: The plug-ins that workers import.
        on_notice: Called with a sentence for the user while it runs.

    Raises:
        RunnerError: If Ray is asked for and there is no home folder.
    """
    settings = RunnerSettings(
        address=config.address,
        cpus_per_trial=config.cpus_per_trial,
        gpus_per_trial=config.gpus_per_trial,
        packages=PACKAGES,
        plugins=plugins,
        images=images,
        notice=on_notice,
    )
    return RUNNERS.find(config.runner)(settings)

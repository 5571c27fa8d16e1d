"""Connecting to Ray: an instance started on this machine, or a cluster, whose nodes get this program's code and
settings.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RuntimeEnvSetupError

from runners.on_ray.ray_private import SamePath, for_this_machine, losses_off_stdout
from search_space.errors import RunnerError
from search_space.signals import handlers_kept

SECRET = "NAS_STORAGE"
_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
_PASSED = re.compile(r"(OMP|MKL|OPENBLAS|TORCH|PYTORCH|CUBLAS|CUDNN|NCCL)_\w+|NAS_(?!DATA_DIR|STORAGE)\w+")
"""Environment variables that affect trainings. Never one that may hold a password, such as `SECRET`."""


@contextmanager
def connection(address: str | None, packages: Sequence[str]) -> Iterator[bool]:
    """A connection to Ray, and whether it is new; an existing one is reused and left open.

    Code is shipped to every cluster, whatever its nodes have installed: it is one megabyte, sent once and cached by its
    digest, needs no comparison of versions, and reaches nodes that join later. Workers start in an empty folder;
    otherwise Ray would make them import from the path of the driver's folder first, where a node may have an older
    copy.

    A Ray started here listens only on localhost, and its workers import from the same places as this process.

    Args:
        address: Of a cluster; None to start Ray on this machine.
        packages: Names of the packages that workers need.

    Raises:
        RunnerError: If Ray cannot be reached or started.
    """
    if ray.is_initialized():
        yield False
        return
    options: dict[str, Any] = {"address": "local", "include_dashboard": False, "job_config": SamePath()}
    here = for_this_machine() if address is None else nullcontext()
    try:
        kept = handlers_kept(signal.SIGTERM)  # Ray would make the process exit at once
        with here, quiet(), kept, _hidden(SECRET), tempfile.TemporaryDirectory() as empty:
            if address is not None:
                options = {"address": address, "runtime_env": runtime_env(packages, os.environ)}
                if _JOB not in os.environ:  # a submitted job has a folder of its own
                    options["runtime_env"]["working_dir"] = empty
            ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # noqa: BLE001 (Ray has no kind of its own for what may go wrong here)
        with suppress(Exception):
            ray.shutdown()  # parts of it may have been started
        where = (
            f"the Ray cluster at {address} cannot be used" if address else "Ray could not be started on this machine"
        )
        raise RunnerError(f"{where}: {first_words(error)}") from None
    try:
        with losses_off_stdout():
            yield True
    finally:
        with suppress(KeyboardInterrupt):
            ray.shutdown()


def runtime_env(packages: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """The runtime environment of a worker on a cluster: the packages, and variables that affect trainings."""
    folders = []
    for name in packages:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.submodule_search_locations is not None
        folders.append(str(Path(spec.submodule_search_locations[0]).resolve()))
    passed = {name: value for name, value in environment.items() if _PASSED.fullmatch(name)}
    # If a node was started with the database's URL in its environment, trials do not see it.
    return {"py_modules": folders, "excludes": ["__pycache__"], "env_vars": {**passed, SECRET: ""}}


def on_every_node(probe: Callable[..., Any], *arguments: Any, timeout_s: float) -> list[Any]:
    """The result of a function on every live node; None for a node that does not answer in time.

    Args:
        probe: The function. It reserves no resources, so it also runs on busy nodes.
        arguments: Its arguments.
        timeout_s: Time for all nodes together, including the start of a worker process on each.

    Raises:
        RunnerError: If a node cannot start a worker with this program's code.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=0)(probe)
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    answers = [
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(*arguments)
        for node in nodes
    ]
    ready, _ = ray.wait(answers, num_returns=len(answers), timeout=timeout_s)
    found: list[Any] = []
    for answer in answers:
        try:
            found.append(ray.get(answer) if answer in ready else None)
        except RuntimeEnvSetupError as error:
            raise RunnerError(f"a node of the Ray cluster cannot start a worker: {first_words(error)}") from None
        except RayError:
            found.append(None)
    return found


def first_words(error: BaseException) -> str:
    """An error of Ray, which may have many lines, as one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:300] or type(error).__name__


@contextmanager
def _hidden(name: str) -> Iterator[None]:
    """Hide an environment variable while Ray starts on this machine, as its workers would inherit it."""
    value = os.environ.pop(name, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[name] = value


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Ray's notes and warnings, on which users cannot act, out of the progress display."""
    for name in ("ray", "ray.tune", "ray.data", "ray.air", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

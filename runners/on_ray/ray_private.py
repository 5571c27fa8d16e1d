"""All uses of Ray's private API; `test_ray_private.py` tests them against a new version of Ray.

The upper bound on Ray in `pyproject.toml` exists because of this module.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any, cast

import ray
from ray._private import ray_constants, worker
from ray._private.node import Node
from ray._private.services import get_ray_address_from_environment
from ray.job_config import JobConfig
from ray.train._internal import storage

from search_space.errors import RunnerError

log = logging.getLogger(__name__)

VITAL = {ray_constants.PROCESS_TYPE_RAYLET: "raylet", ray_constants.PROCESS_TYPE_GCS_SERVER: "control store (GCS)"}
"""Kinds of processes that a node cannot run without, and their names in messages."""


class SamePath(JobConfig):
    """Makes workers on this machine import from the same places as this process.

    By default they import from the current folder first, which may hold the user's own `results.py` or `torch.py` and
    is not on the path of the command `nas`.
    """

    def _get_proto_job_config(self) -> Any:
        folders = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100 (an entry may be empty, or a zip file)
        self._py_driver_sys_path = folders[::-1]  # a worker prepends them one after another
        return super()._get_proto_job_config()  # type: ignore[no-untyped-call]


def this_node() -> Node | None:
    """The Ray node that this process is connected to; None through Ray's client."""
    return cast("Node | None", worker._global_node)


def address_of_running_cluster() -> str:
    """HOST:PORT of the cluster to which this machine belongs.

    Raises:
        ConnectionError: If it belongs to none.
    """
    return str(get_ray_address_from_environment("auto", None))


@contextmanager
def localhost_alone() -> Iterator[None]:
    """Make a Ray that is started listen only on localhost, by the switch that does so on systems other than Linux."""
    with _replaced(ray_constants, "ENABLE_RAY_CLUSTER", by=False):
        yield


@contextmanager
def losses_off_stdout() -> Iterator[None]:
    """Keep Ray's messages about lost workers and nodes off stdout, which may carry a JSON report; trials report them,
    too.
    """

    def note(data: Mapping[str, Any], ignore_prefix: bool = False) -> None:
        log.debug("%s", data.get("lines"))

    with _replaced(worker, "print_to_stdstream", note):
        yield


@contextmanager
def tune_on_a_client(folder: str) -> Iterator[None]:
    """Let Tune run in a process outside the cluster: its files go to `folder`, since there is no Ray session.

    Raises:
        RunnerError: If this version of Ray keeps them elsewhere.
    """
    name = "_get_ray_train_session_dir"
    if not hasattr(storage, name):
        raise RunnerError(f"ray:// addresses do not work with Ray {ray.__version__}; search from a node of the cluster")
    with _replaced(storage, name, lambda: f"{folder}/session"):
        yield


@contextmanager
def _replaced(module: ModuleType, name: str, by: object) -> Iterator[None]:
    """Replace an attribute of a Ray module while the block runs."""
    usual = getattr(module, name)
    setattr(module, name, by)
    try:
        yield
    finally:
        setattr(module, name, usual)

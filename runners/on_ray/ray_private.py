"""What this program uses of Ray that is not public, in one place: a new Ray is tried against `test_ray_private.py`.

The upper bound on Ray in `pyproject.toml` is there for this module.
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
"""Kinds of processes that a node cannot do without, and what messages call them."""


class SamePath(JobConfig):
    """Has workers on this machine import from where this process does.

    Ray would have them import from the current folder first, which may hold the user's own `results.py` or `torch.py`
    and is not on the path of the command `nas`.
    """

    def _get_proto_job_config(self) -> Any:
        folders = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100 (an entry may be empty, or a zip file)
        self._py_driver_sys_path = folders[::-1]  # a worker puts one after the other in front
        return super()._get_proto_job_config()  # type: ignore[no-untyped-call]


def this_node() -> Node | None:
    """The node of Ray that this process is connected to; None through Ray's client."""
    return cast("Node | None", worker._global_node)


def address_of_running_cluster() -> str:
    """HOST:PORT of the cluster that this machine is a node of.

    Raises:
        ConnectionError: If it is a node of none.
    """
    return str(get_ray_address_from_environment("auto", None))


@contextmanager
def localhost_alone() -> Iterator[None]:
    """Have a Ray that is started listen on localhost alone, by the switch with which it does so beside Linux."""
    with _replaced(ray_constants, "ENABLE_RAY_CLUSTER", by=False):
        yield


@contextmanager
def losses_off_stdout() -> Iterator[None]:
    """Keep what Ray says of lost workers and nodes off stdout, where a report as JSON may go; trials tell it too."""

    def note(data: Mapping[str, Any], ignore_prefix: bool = False) -> None:
        log.debug("%s", data.get("lines"))

    with _replaced(worker, "print_to_stdstream", note):
        yield


@contextmanager
def tune_on_a_client(folder: str) -> Iterator[None]:
    """Let Tune run in a process that is no part of the cluster: its notes go to `folder`, for want of a Ray session.

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
    """A module of Ray's with another value under this name."""
    usual = getattr(module, name)
    setattr(module, name, by)
    try:
        yield
    finally:
        setattr(module, name, usual)

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

from ray._private import ray_constants, worker
from ray._private.node import Node
from ray._private.services import get_ray_address_from_environment
from ray.job_config import JobConfig

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
def for_this_machine() -> Iterator[None]:
    """Make a Ray that is started serve this machine alone.

    It listens only on localhost, by the switch that does so on systems other than Linux. The services that it does not
    need are not started, which saves two of three CPU seconds: the autoscaler, the dashboard, and the log monitor.
    """
    with (
        _replaced(ray_constants, "ENABLE_RAY_CLUSTER", by=False),
        _replaced(Node, "start_monitor", by=_start_nothing),
        _replaced(Node, "start_api_server", by=_start_nothing),
        _replaced(Node, "start_log_monitor", by=_start_nothing),
    ):
        yield


def _start_nothing(node: Node, **options: object) -> None:
    """Stands in for a service."""


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
def _replaced(owner: ModuleType | type, name: str, by: object) -> Iterator[None]:
    """Replace an attribute of a module or class of Ray while the block runs."""
    usual = getattr(owner, name)
    setattr(owner, name, by)
    try:
        yield
    finally:
        setattr(owner, name, usual)

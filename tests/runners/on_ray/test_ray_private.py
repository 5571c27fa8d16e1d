"""The private parts of Ray that are used exist and work."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.xdist_group("ray")]
ray = pytest.importorskip("ray")

from ray._private import ray_constants, worker  # noqa: E402
from ray._private.node import Node  # noqa: E402

from runners.on_ray import ray_private  # noqa: E402


def test_workers_are_told_the_path_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["", "/first", "/second.zip"])
    told = ray.job_config.JobConfig.from_json({})._get_proto_job_config().py_driver_sys_path
    assert list(told) == []  # Ray adds to it as it connects
    config = ray_private.SamePath()
    config._py_driver_sys_path.append("/the/current/folder")
    inserted: list[str] = []
    for folder in config._get_proto_job_config().py_driver_sys_path:
        inserted.insert(0, folder)
    assert inserted == [str(Path.cwd()), "/first", "/second.zip"]


def test_what_is_replaced_exists_and_is_put_back() -> None:
    def private() -> tuple[object, ...]:
        services = Node.start_monitor, Node.start_api_server, Node.start_log_monitor
        return ray_constants.ENABLE_RAY_CLUSTER, worker.print_to_stdstream, *services

    before = private()
    with ray_private.for_this_machine(), ray_private.losses_off_stdout():
        assert ray_constants.ENABLE_RAY_CLUSTER is False
        assert not set(private()) & set(before[1:])
        worker.print_to_stdstream({"lines": ["a worker died"]}, ignore_prefix=False)
    assert private() == before


def test_no_node_is_known_before_ray_is_started() -> None:
    if not ray.is_initialized():
        assert ray_private.this_node() is None

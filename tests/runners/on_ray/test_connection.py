"""The Ray that a search starts by itself."""

from __future__ import annotations

import os

import psutil
import pytest

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.xdist_group("ray")]
ray = pytest.importorskip("ray")

from runners.on_ray.connection import connection  # noqa: E402


def test_it_listens_on_localhost_alone() -> None:
    with connection(None, ()):
        assert ray.get(ray.remote(lambda: os.getpid()).remote()) != os.getpid()  # a worker is there, too
        processes = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
        sockets = [each for each in psutil.net_connections() if each.status == "LISTEN" and each.pid in processes]
    assert len(sockets) > 3
    assert {each.laddr.ip.removeprefix("::ffff:") for each in sockets} == {"127.0.0.1"}

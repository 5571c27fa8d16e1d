"""A Ray that dies during a search."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.xdist_group("ray")]
ray = pytest.importorskip("ray")

from ray._private import worker  # noqa: E402

from runners.on_ray import runner as ray_tune  # noqa: E402
from runners.on_ray import watchdog as ray_watchdog  # noqa: E402
from runners.on_ray.connection import connection  # noqa: E402
from runners.on_ray.runner import RayRunner  # noqa: E402
from runners.on_ray.watchdog import RayGone, Watchdog  # noqa: E402
from runners.protocol import Cause, Decision, Job, Outcome  # noqa: E402
from runners.recipe import Recipe  # noqa: E402
from runners.training.train import train  # noqa: E402
from search_space.errors import RunnerError  # noqa: E402


def kill(process: str) -> None:
    """Kill a process of the Ray that this process has started."""
    os.kill(worker._global_node.all_processes[process][0].process.pid, signal.SIGKILL)


class Killing:
    """One training; after its first report of each attempt it kills a process of Ray's."""

    def __init__(self, job: Job, victims: list[str]) -> None:
        self.job, self.victims = job, victims
        self.is_running, self.has_reported, self.outcomes = False, False, list[Outcome]()

    @property
    def done(self) -> bool:
        return bool(self.outcomes) and self.outcomes[-1].status == "complete"

    def ask(self) -> Job | None:
        if self.is_running or self.done:
            return None
        self.is_running, self.has_reported = True, False
        return self.job

    def report(self, key: str, epochs: object) -> Decision:
        if self.victims and not self.has_reported:
            kill(self.victims.pop(0))
        self.has_reported = True
        return Decision.CONTINUE

    def tell(self, key: str, outcome: Outcome) -> None:
        self.is_running = False
        self.outcomes.append(outcome)

    def idle(self) -> None:
        pass


def test_a_local_ray_that_dies_is_restarted_a_limited_number_of_times(
    make_job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_tune, "MOST_STARTS", 2)
    job = make_job(checkpoint=tmp_path / "checkpoint", rungs=(1, 2, 3), recipe=Recipe(epochs=2000))
    source, notes = Killing(job, ["raylet", "gcs_server"]), list[str]()
    with pytest.raises(
        RunnerError, match=r"^Ray on this machine has died \(its control store \(GCS\)\) 2 times\. Noth"
    ):
        RayRunner(notice=notes.append).run(source, train)
    (note,) = notes
    assert note.startswith("Ray on this machine has died (its raylet); Ray is restarted")
    assert [outcome.cause for outcome in source.outcomes] == [Cause.NODE_LOST] * 2
    assert not ray.is_initialized()
    assert not [child for child in psutil.Process().children() if child.name() in ("raylet", "gcs_server")]


def test_a_ray_that_dies_while_it_starts_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Ray 2.60 raises then is a bare `Exception`."""

    def die(**options: object) -> None:
        raise Exception("The current node timed out during startup.\nThis could happen ...")

    monkeypatch.setattr(ray, "init", die)
    expected = r"^Ray could not be started on this machine: The current node timed out during startup\."
    with pytest.raises(RunnerError, match=expected), connection(None, ()):
        pass


def test_a_lost_cluster_is_reported_and_ends_a_call_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("LOOK_EVERY_S", 0.01), ("HEAD_SILENT_S", 0.0), ("STUCK_S", 0.0)):
        monkeypatch.setattr(ray_watchdog, name, value)
    exited, words = threading.Event(), list[str]()

    def exit_with(text: str) -> None:
        words.append(text)
        exited.set()

    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"ray://127.0.0.1:{head.getsockname()[1]}"
        with Watchdog(address, exit_with) as watchdog:
            watchdog.check()
            head.close()
            assert exited.wait(60)
            with pytest.raises(RayGone, match=f"the Ray cluster at {address} has died"):
                watchdog.check()
    assert words[0].endswith("Nothing is lost; the same command continues the study")

"""The Ray runner on a real cluster of several nodes with separate environments and data directories."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    # Ray's own, at its start and in its callbacks.
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.xdist_group("ray-cluster"),
]
ray = pytest.importorskip("ray")

from ray import cloudpickle  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402
from ray.exceptions import RayActorError  # noqa: E402

import search_space  # noqa: E402
from nas.testing.runners import QueuedJobs  # noqa: E402
from runners.data import load_splits, load_test  # noqa: E402
from runners.on_ray import address as ray_address  # noqa: E402
from runners.on_ray.losses import describe_loss, loss  # noqa: E402
from runners.on_ray.runner import RayRunner  # noqa: E402
from runners.protocol import Cause, DataSpec, Decision, EpochResult, Job, Measured, Outcome  # noqa: E402
from runners.recipe import Recipe  # noqa: E402
from search_space.errors import RunnerError  # noqa: E402

EPOCHS = 5000
"""Longer than any test waits."""


def tell_of_itself(job: Job) -> Generator[EpochResult, None, Measured]:
    """Reports repeatedly where it runs and what it sees there."""
    seen = {
        "code": search_space.__file__,
        "process": f"{ray.util.get_node_ip_address()} {os.getpid()}",
        "gpus": ",".join(map(str, ray.get_gpu_ids())),
        **{name: os.environ.get(name, "") for name in ("NAS_DATA_DIR", "NAS_STORAGE", "OMP_PROC_BIND")},
    }
    if job.data.name != "digits":
        seen["images"] = digest_of(job.data)
    if job.key == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    for epoch in range(1, job.recipe.epochs + 1):
        yield EpochResult(epoch, 1.0, 1.0, 0.5, 0.0, Measured(device="CPU", versions=seen))
    return Measured()


def digest_of(spec: DataSpec) -> str:
    splits, test = load_splits(spec), load_test(spec)
    digest = hashlib.sha256(repr((splits.info, splits.mean, splits.std, splits.augmentation)).encode())
    for split in (splits.train, splits.validation, test):
        digest.update(split.images.numpy().tobytes() + split.labels.numpy().tobytes())
    return digest.hexdigest()


class Gathering(QueuedJobs):
    """Lets its jobs run until they have been seen in so many processes at the same time, and stops them then."""

    def __init__(self, jobs: Sequence[Job], processes: int = 1) -> None:
        super().__init__(jobs)
        self.processes = processes
        self.outcomes: dict[str, Outcome] = {}
        self.seen: dict[str, dict[str, str]] = {}
        self.devices: set[str] = set()

    def report(self, key: str, epochs: Sequence[EpochResult]) -> Decision:
        measured = epochs[-1].measured
        assert measured is not None
        self.seen[measured.versions["process"]] = measured.versions
        self.devices.add(measured.device)
        return Decision.STOP if len(self.seen) >= self.processes else Decision.CONTINUE

    def tell(self, key: str, outcome: Outcome) -> None:
        self.running.remove(key)
        self.outcomes[key] = outcome


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder for the cluster; not pytest's, as Ray's sockets need short names."""
    path = Path(tempfile.mkdtemp(prefix="nas-ray-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[Cluster]:
    """A head with one CPU and one GPU (in name only), and a node with two CPUs, each with a home of its own."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(folder))  # else all of this machine would take it for their "auto"
        made = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 1, "env_vars": home(folder, "a")}
        )
        made.add_node(num_cpus=2, node_ip_address="127.0.0.2", env_vars=home(folder, "b"))
        yield made
        ray.shutdown()
        made.shutdown()


def home(folder: Path, name: str) -> dict[str, str]:
    return {
        "HOME": str(folder / name),
        "NAS_DATA_DIR": str(folder / name / "data"),
        "NAS_STORAGE": "postgresql://me:secret@host/db",
    }


MakeJobs = Callable[..., list[Job]]


@pytest.fixture
def make_jobs(make_job: Callable[..., Job]) -> MakeJobs:
    """Jobs that report at every epoch; keywords change them."""

    def make(*keys: str, **changes: Any) -> list[Job]:
        recipe = Recipe(epochs=EPOCHS)
        return [make_job(key=key, rungs=tuple(range(1, EPOCHS)), recipe=recipe, **changes) for key in keys]

    return make


def test_code_and_settings_reach_every_node_and_passwords_none(
    cluster: Cluster, folder: Path, make_jobs: MakeJobs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NAS_STORAGE", "postgresql+psycopg://me:secret@host/db")
    monkeypatch.setenv("NAS_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("OMP_PROC_BIND", "close")
    source = Gathering(make_jobs("one", "two", "three"), processes=3)
    RayRunner(cluster.address, gpus_per_trial=0).run(source, tell_of_itself)

    seen = source.seen.values()
    assert all("py_modules_files" in worker["code"] for worker in seen)
    assert {worker["OMP_PROC_BIND"] for worker in seen} == {"close"}
    assert {worker["NAS_STORAGE"] for worker in seen} == {""}
    assert sorted(worker["NAS_DATA_DIR"] for worker in seen) == [str(folder / name / "data") for name in "abb"]
    assert [device.partition("(")[0] for device in source.devices] == [
        f"CPU on {os.uname().nodename.split('.')[0]} "
    ] * 2
    assert {device.partition("(")[2] for device in source.devices} == {
        f"{node['NodeManagerAddress']})" for node in cluster_nodes(cluster)
    }
    assert not ray.is_initialized()


def cluster_nodes(cluster: Cluster) -> list[dict[str, Any]]:
    return [node for node in cluster.global_state.node_table() if node["Alive"]]


def test_images_that_the_driver_alone_has_reach_every_node_once(
    cluster: Cluster,
    folder: Path,
    make_jobs: MakeJobs,
    write_images: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Nodes look for ``~/images`` in a home that has none."""
    assert write_images({name: [(40 * number, 9, 0) for number in range(6)] for name in "ab"}) == tmp_path / "images"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NAS_DATA_DIR", str(tmp_path / "data"))
    spec = DataSpec("imagefolder:~/images", image_size=8)
    source = Gathering(make_jobs("one", "two", "three", data=spec), processes=3)
    RayRunner(cluster.address, gpus_per_trial=0, images=spec).run(source, tell_of_itself)

    assert {outcome.status for outcome in source.outcomes.values()} == {"stopped"}
    assert {worker["images"] for worker in source.seen.values()} == {digest_of(spec)}
    for name in "ab":
        supplied = [path for path in (folder / name / "data" / "supplied").iterdir() if path.is_dir()]
        assert [len(list(path.iterdir())) for path in supplied] == [6]
        assert not (folder / name / "data" / "decoded").exists()


def test_trials_share_a_gpu(cluster: Cluster, make_jobs: MakeJobs, tmp_path: Path) -> None:
    source = Gathering(make_jobs("one", "two"), processes=2)
    RayRunner(cluster.address, cpus_per_trial=0.5, gpus_per_trial=0.5).run(source, tell_of_itself)
    assert [worker["gpus"] for worker in source.seen.values()] == ["0", "0"]


def test_a_trial_waits_with_a_note_until_the_cluster_has_what_it_needs_and_its_node_may_be_lost(
    cluster: Cluster, folder: Path, make_jobs: MakeJobs, tmp_path: Path
) -> None:
    notes, nodes = [], []

    def grow(note: str) -> None:
        notes.append(note)
        nodes.append(cluster.add_node(num_cpus=2, num_gpus=2, node_ip_address="127.0.0.3", env_vars=home(folder, "c")))

    class Losing(Gathering):
        def report(self, key: str, epochs: Sequence[EpochResult]) -> Decision:
            if not self.seen:
                cluster.remove_node(nodes[0], allow_graceful=False)
            super().report(key, epochs)
            return Decision.CONTINUE

    source = Losing(make_jobs("one"))
    runner = RayRunner(cluster.address, gpus_per_trial=2, notice=grow, notify_after_s=0.0)
    runner.run(source, tell_of_itself)

    [note] = notes
    assert "a trial requires 1 CPU and 2 GPUs, and the cluster has 3 CPUs and 1 GPU on 2 nodes" in note
    [worker] = source.seen.values()
    assert worker["process"].startswith("127.0.0.3")
    assert sorted(worker["gpus"].split(",")) == ["0", "1"]
    assert source.outcomes["one"].cause is Cause.NODE_LOST
    assert source.outcomes["one"].message.startswith("the node on 127.0.0.3 was lost: ")


def test_a_worker_that_dies_is_distinguished_from_a_lost_node(
    cluster: Cluster, make_jobs: MakeJobs, tmp_path: Path
) -> None:
    source = Gathering(make_jobs("killed"))
    RayRunner(cluster.address, gpus_per_trial=0).run(source, tell_of_itself)
    assert source.outcomes["killed"].cause is Cause.WORKER_LOST
    assert source.outcomes["killed"].message.startswith("the worker process on ")
    assert "node" not in source.outcomes["killed"].message


def test_a_cluster_is_found_by_auto_and_by_its_address(cluster: Cluster, tmp_path: Path) -> None:
    for address in ("auto", cluster.address):
        RayRunner(address).check()


def test_what_no_cluster_answers_at_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(RunnerError, match=r"no Ray cluster answers at 127\.0\.0\.1:1: "):
        RayRunner("127.0.0.1:1").check()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(ray_address, "CONNECT_TIMEOUT_S", 0.1)
        with pytest.raises(RunnerError, match=f"the server at {address} is not a Ray cluster"):
            RayRunner(address).check()
    for address in ("here", "http://127.0.0.1:8265/", "host:port", ":6379"):
        with pytest.raises(RunnerError, match=r"allowed: auto, HOST:PORT, ray://HOST:PORT"):
            RayRunner(address).check()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RunnerError, match=r"pip install 'ray\[client\]'"):
        RayRunner("ray://127.0.0.1:1").check()


@pytest.mark.parametrize(
    ("preempted", "reason", "cause", "said"),
    [
        (
            False,
            "The actor died because its node has died. Node Id: 1f",
            Cause.NODE_LOST,
            "the node on 10.0.0.3 was lost: The actor died",
        ),
        (
            True,
            "The actor died because its node has died.",
            Cause.NODE_LOST,
            "the node on 10.0.0.3 was preempted by its cloud",
        ),
        (
            False,
            "The actor is dead because its worker process has died.",
            Cause.WORKER_LOST,
            "the worker process on 10.0.0.3 died: ",
        ),
    ],
)
def test_the_ways_to_lose_a_worker_are_distinguished(preempted: bool, reason: str, cause: Cause, said: str) -> None:
    text = f"The actor died unexpectedly before finishing this task.\n\tpid: 7\n\tip: 10.0.0.3\n{reason}"
    found, told = describe_loss(RayActorError("1f", text, preempted=preempted))
    assert found is cause
    assert told.startswith(said)
    assert "pid" not in told


@pytest.mark.parametrize("is_there", [True, False])
def test_a_worker_that_is_missed_before_its_node_is_lost_with_it(
    monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    error = RayActorError("1f", "The actor died.\nThe actor is dead because its worker process has died.")
    with socket.create_server(("127.0.0.1", 0)) as raylet:
        node = {"Alive": True, "NodeManagerAddress": "127.0.0.1", "NodeManagerPort": raylet.getsockname()[1]}
        monkeypatch.setattr(ray, "nodes", lambda: [node])
        if not is_there:
            raylet.close()
        cause, words = loss(error, "127.0.0.1")
    assert cause is (Cause.WORKER_LOST if is_there else Cause.NODE_LOST)
    assert words.startswith("the worker process died" if is_there else "the node on 127.0.0.1 was lost")

"""Files that are written completely or not at all on full disks: a small tmpfs, and a limit on file sizes."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from runners.execution import Execution
from runners.files import FileFailure, write_atomically
from runners.protocol import INFEASIBLE_CAUSES, Cause, Interrupted, Job
from runners.recipe import Recipe
from runners.training.train import train

MakeJob = Callable[..., Job]
Full = Callable[[], AbstractContextManager[None]]
ROOM = 256 * 2**10


@pytest.fixture(params=["tmpfs", "rlimit"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Full]]:
    """A folder, and what makes writing of more than a kibibyte there fail for a while."""
    if request.param == "rlimit":
        yield tmp_path, files_limited
        return
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system may be mounted here")

    @contextmanager
    def filled() -> Iterator[None]:
        filler = folder / "filler"
        with filler.open("wb", buffering=0) as file:
            room = os.statvfs(folder)
            file.write(bytes(room.f_bavail * room.f_frsize))
        yield
        filler.unlink()

    yield folder, filled
    subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def files_limited() -> Iterator[None]:
    """The kernel refuses what goes beyond a kibibyte of a file (EFBIG), in the middle of the write."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


def run(job: Job) -> tuple[list, Cause | None, str]:
    execution, epochs, outcome = Execution(job, train), [], None
    while outcome is None:
        new, outcome = execution.advance()
        epochs += [replace(epoch, seconds=0.0, measured=None) for epoch in new]
    return epochs, outcome.cause, outcome.message


def test_what_does_not_fit_leaves_what_was_there(disk: tuple[Path, Full]) -> None:
    folder, full = disk
    path = folder / "file"
    write_atomically(path, b"old")

    with full(), pytest.raises(FileFailure) as caught:
        write_atomically(path, bytes(20 * 2**10))

    reason = {"disk": "No space left on device"}.get(folder.name, "File too large")
    assert f"{path} cannot be written: {reason}; it takes 20.0 KiB, and " in str(caught.value)
    assert str(caught.value).endswith(" are free there")
    assert path.read_bytes() == b"old"
    assert [file.name for file in folder.iterdir() if file.name.startswith(".")] == []
    write_atomically(path, bytes(20 * 2**10))
    assert path.stat().st_size == 20 * 2**10


def test_a_full_disk_loses_no_epoch(disk: tuple[Path, Full], tmp_path: Path, make_job: MakeJob) -> None:
    """The checkpoint of epoch 2 cannot be written: epoch 2 is reported, and training later resumes from that of epoch
    1."""
    folder, full = disk
    settings = {"recipe": Recipe(epochs=3)}
    whole, *_ = run(make_job(**settings))
    job = make_job(**settings, checkpoint=folder / "checkpoint", rungs=(1, 2))
    execution = Execution(job, train)
    first, _ = execution.advance()
    kept = job.checkpoint.read_bytes()

    with full():
        second, outcome = execution.advance()

    assert [replace(epoch, seconds=0.0, measured=None) for epoch in [*first, *second]] == whole[:2]
    assert second[0].measured == first[0].measured
    assert outcome is not None
    assert (outcome.status, outcome.cause) == ("failed", Cause.STORAGE)
    assert str(job.checkpoint) in outcome.message
    assert outcome.cause not in INFEASIBLE_CAUSES
    assert job.checkpoint.read_bytes() == kept
    assert run(replace(job, reported=1))[0] == whole[1:]


def test_weights_that_do_not_fit_are_no_bug(disk: tuple[Path, Full], make_job: MakeJob) -> None:
    folder, full = disk
    job = make_job(weights=folder / "weights")

    with full():
        epochs, cause, message = run(job)

    assert (len(epochs), cause) == (3, Cause.STORAGE)
    assert message.startswith(f"{job.weights} cannot be written: ")
    assert not job.weights.exists()


def test_an_interruption_on_a_full_disk_keeps_the_older_checkpoint(
    disk: tuple[Path, Full], make_job: MakeJob, caplog: pytest.LogCaptureFixture
) -> None:
    folder, full = disk
    job = make_job(recipe=Recipe(epochs=4), checkpoint=folder / "checkpoint", rungs=(1,))
    steps = train(job)
    next(steps)
    kept = job.checkpoint.read_bytes()
    next(steps)

    with full(), pytest.raises(Interrupted):
        steps.throw(Interrupted())

    assert job.checkpoint.read_bytes() == kept
    assert "no checkpoint was written, the training will resume from an older one" in caplog.text


def test_a_folder_that_is_a_file_is_storage_too(tmp_path: Path, make_job: MakeJob) -> None:
    (tmp_path / "file").write_bytes(b"")

    epochs, cause, message = run(make_job(checkpoint=tmp_path / "file" / "checkpoint", rungs=(1,)))

    assert (len(epochs), cause) == (1, Cause.STORAGE)
    assert "cannot be written" in message


def test_weights_that_cannot_be_read_are_storage(tmp_path: Path, make_job: MakeJob) -> None:
    """A folder in their place is the one way that fails for root, too."""
    (tmp_path / "weights").mkdir()

    _, cause, message = run(make_job(task="test", weights=tmp_path / "weights"))

    assert cause is Cause.STORAGE
    assert message.startswith(f"{tmp_path / 'weights'} cannot be read: ")


def test_a_file_is_on_the_disk_before_it_takes_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test cannot cut the power, but it can check the order of the calls."""
    calls: list[str] = []
    synchronise, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: [calls.append("fsync"), synchronise(handle)])
    monkeypatch.setattr(Path, "replace", lambda self, target: [calls.append("rename"), rename(self, target)])

    write_atomically(tmp_path / "folder" / "file", b"content")

    assert calls == ["fsync", "rename"]
    assert (tmp_path / "folder" / "file").read_bytes() == b"content"


def test_others_may_read_what_the_umask_lets_them(tmp_path: Path) -> None:
    usual = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", b"content")
    finally:
        os.umask(usual)

    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640

"""Checkpoints and weights on remote storage, over file systems of pyarrow that stand in for a bucket."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyarrow.fs import FileSelector, FileSystem, LocalFileSystem, S3FileSystem, SubTreeFileSystem

from runners import remote
from runners.execution import Execution
from runners.files import FileFailure, write_atomically
from runners.protocol import Cause, Job
from runners.recipe import Recipe
from runners.remote import RemoteFile, locate
from runners.training.train import train
from search_space.errors import StorageError, WeightsError

MakeJob = Callable[..., Job]


@pytest.fixture(params=["subtree", "mock"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileSystem:
    """A file system with a folder "bucket" to which every URL leads."""
    if request.param == "subtree":
        (tmp_path / "remote").mkdir()
        filesystem: FileSystem = SubTreeFileSystem(str(tmp_path / "remote"), LocalFileSystem())
    else:
        filesystem, _ = FileSystem.from_uri("mock:///")
    filesystem.create_dir("bucket/run")
    monkeypatch.setattr(remote, "connect", lambda root: (filesystem, "bucket"))
    return filesystem


def run(job: Job) -> list:
    return [replace(epoch, seconds=0.0, measured=None) for epoch in train(job)]


@pytest.mark.parametrize(
    ("place", "meant"),
    [
        ("runs/trial.pt", Path("runs/trial.pt")),
        ("/runs/trial.pt", Path("/runs/trial.pt")),
        ("file:///runs/a%20b.pt", Path("/runs/a b.pt")),
        ("file://localhost/runs/trial.pt", Path("/runs/trial.pt")),
        ("s3://bucket/runs/trial.pt", RemoteFile("s3://bucket/runs/trial.pt")),
        ("gs://bucket/trial.pt", RemoteFile("gs://bucket/trial.pt")),
    ],
)
def test_what_a_place_means(place: str, meant: object) -> None:
    assert locate(place) == meant


@pytest.mark.parametrize(
    "place",
    ["ftp://host/file", "s3://bucket", "s3://bucket/", "s3:///file", "gs:/bucket/file", "file://host/file", "file:///"],
)
def test_other_places_are_refused(place: str) -> None:
    with pytest.raises(StorageError) as caught:
        locate(place)

    assert str(caught.value) == (
        f"the location {place!r} is not supported; allowed: a path, file:///PATH, s3://BUCKET/KEY, gs://BUCKET/KEY"
    )


def test_credentials_in_a_url_are_refused_and_not_shown() -> None:
    with pytest.raises(StorageError, match="set them in the environment") as caught:
        locate("s3://AKIA:secret@bucket/trial.pt")

    assert "secret" not in str(caught.value)
    assert "AKIA" not in str(caught.value)


def test_which_bucket_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """The options go to the file system, the rest of the URL is the key; a connection serves all keys of a bucket."""
    opened: list[str] = []

    def open_one(url: str) -> tuple[FileSystem, str]:
        opened.append(url)
        filesystem, _ = FileSystem.from_uri("mock:///")
        filesystem.create_dir("bucket/run")
        return filesystem, "bucket"

    remote.connect.cache_clear()
    monkeypatch.setattr("pyarrow.fs.FileSystem", SimpleNamespace(from_uri=open_one))
    files = [locate(f"s3://bucket/run/{name}.pt?region=eu-west-1") for name in ("a", "b%20c")]
    for file in files:
        write_atomically(file, b"content")

    assert opened == ["s3://bucket/?region=eu-west-1"]
    filesystem, _ = remote.connect("s3://bucket/?region=eu-west-1")
    assert filesystem.open_input_stream("bucket/run/b c.pt").read() == b"content"
    remote.connect.cache_clear()


def test_a_real_s3_connection_is_made_of_the_options() -> None:
    """It sends nothing yet."""
    filesystem, root = remote.connect("s3://bucket/?region=eu-west-1&endpoint_override=localhost:9")

    assert isinstance(filesystem, S3FileSystem)
    assert (filesystem.region, root) == ("eu-west-1", "bucket")


def test_reading_writing_and_deleting(bucket: FileSystem) -> None:
    file = locate("s3://bucket/run/file")
    with pytest.raises(FileNotFoundError):
        file.read_bytes()
    with pytest.raises(FileNotFoundError):
        file.unlink()
    file.unlink(missing_ok=True)

    write_atomically(file, b"old")
    write_atomically(file, b"new")

    assert file.read_bytes() == b"new"
    assert bucket.open_input_stream("bucket/run/file").read() == b"new"
    assert len(bucket.get_file_info(FileSelector("bucket/run"))) == 1
    file.unlink()
    with pytest.raises(FileNotFoundError):
        file.read_bytes()


def test_a_training_resumes_from_remote_storage(bucket: FileSystem, make_job: MakeJob, tmp_path: Path) -> None:
    settings = {"recipe": Recipe(epochs=4)}
    whole = run(make_job(**settings, weights=tmp_path / "whole"))
    job = make_job(**settings, rungs=(2,), checkpoint=locate("s3://bucket/run/c"), weights=locate("gs://bucket/run/w"))
    job = pickle.loads(pickle.dumps(job))  # noqa: S301 (as it goes to a worker)
    steps = train(job)
    first = [replace(next(steps), seconds=0.0, measured=None) for _ in range(2)]
    steps.close()

    assert first + run(replace(job, reported=2)) == whole
    assert job.weights.read_bytes() == (tmp_path / "whole").read_bytes()
    assert run(replace(job, task="test")) == run(make_job(**settings, task="test", weights=tmp_path / "whole"))


def test_a_file_url_is_a_path(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job(checkpoint=locate(f"file://{tmp_path}/checkpoint"), rungs=(1,))
    run(job)

    assert (tmp_path / "checkpoint").is_file()


def test_what_is_missing_is_said_as_for_paths(bucket: FileSystem, make_job: MakeJob) -> None:
    missing = locate("s3://bucket/run/missing")
    assert run(make_job(checkpoint=missing)) == run(make_job())

    with pytest.raises(WeightsError, match="there are no weights at s3://bucket/run/absent"):
        run(make_job(task="test", weights=locate("s3://bucket/run/absent")))


def test_storage_that_takes_nothing(bucket: FileSystem, make_job: MakeJob) -> None:
    """A folder has the name of the file: whatever the reason, it is a failure of the storage, and epoch 1 is kept."""
    bucket.create_dir("bucket/run/taken")
    place = locate("s3://bucket/run/taken")

    with pytest.raises(FileFailure, match="s3://bucket/run/taken cannot be written: "):
        write_atomically(place, b"content")
    epochs, outcome = Execution(make_job(checkpoint=place, rungs=(1,)), train).advance()

    assert [epoch.epoch for epoch in epochs] == [1]
    assert outcome is not None
    assert outcome.cause is Cause.STORAGE

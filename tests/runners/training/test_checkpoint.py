from __future__ import annotations

import hashlib
import io
import logging
import pickle
import random
from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path

import pytest
import torch

from runners.protocol import DataSpec, EpochResult, Job, Latency
from runners.recipe import Recipe
from runners.training import checkpoint
from runners.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

MakeJob = Callable[..., Job]
MODEL = torch.nn.Linear(2, 1, bias=False)
CURVE = (EpochResult(1, 2.5, 2.25, 0.125, 0.5, balanced_accuracy=0.25, macro_f1=0.5, calibration_error=0.75),)


@pytest.fixture
def saved(tmp_path: Path, make_job: MakeJob) -> tuple[Path, Job]:
    path, job = tmp_path / "folder" / "checkpoint", make_job()
    save_checkpoint(path, job, Checkpoint(CURVE, {"weight": torch.tensor([[1.0, 2.0]])}, {"state": {}}))
    return path, job


def test_what_was_saved_is_loaded(saved: tuple[Path, Job]) -> None:
    loaded = load_checkpoint(*saved, MODEL)

    assert loaded is not None
    assert loaded.curve == CURVE
    assert loaded.model["weight"].tolist() == [[1.0, 2.0]]
    assert [path.name for path in saved[0].parent.iterdir()] == ["checkpoint"]  # nothing half-written is left


def test_a_checkpoint_of_an_earlier_version_has_no_metrics_beyond_accuracy(
    tmp_path: Path, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "astuple", lambda epoch: astuple(epoch)[:6])
    path, job = tmp_path / "checkpoint", make_job()
    save_checkpoint(path, job, Checkpoint(CURVE, {"weight": torch.zeros(1, 2)}, {}))

    assert load_checkpoint(path, job, MODEL).curve == (EpochResult(1, 2.5, 2.25, 0.125, 0.5),)


def test_a_latency_is_kept(tmp_path: Path, make_job: MakeJob) -> None:
    path, job, latency = tmp_path / "checkpoint", make_job(), Latency("a CPU", 1, 1, "fp32", 10, 50, 2.0, 1.0, 3.0)
    save_checkpoint(path, job, Checkpoint(CURVE, {"weight": torch.zeros(1, 2)}, {}, latency))

    assert load_checkpoint(path, job, MODEL).latency == latency


def test_the_size_of_batches_is_kept(saved: tuple[Path, Job]) -> None:
    path, job = saved
    assert load_checkpoint(path, job, MODEL).micro_batch is None
    save_checkpoint(path, job, Checkpoint(CURVE, {"weight": torch.zeros(1, 2)}, {}, None, 32, 256))

    loaded = load_checkpoint(path, job, MODEL)
    assert (loaded.micro_batch, loaded.evaluation_batch) == (32, 256)


def test_a_missing_checkpoint_gives_no_warning(
    tmp_path: Path, make_job: MakeJob, caplog: pytest.LogCaptureFixture
) -> None:
    assert load_checkpoint(tmp_path / "absent", make_job(), MODEL) is None
    assert caplog.records == []


@pytest.mark.parametrize("at", [0, 20, 60, -1])
def test_one_flipped_bit_is_noticed(saved: tuple[Path, Job], caplog: pytest.LogCaptureFixture, at: int) -> None:
    path, job = saved
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)

    assert load_checkpoint(path, job, MODEL) is None
    assert "is ignored, and the training restarts" in caplog.text


@pytest.mark.parametrize("length", [0, 5, 30, 200])
def test_a_truncated_file_is_ignored(saved: tuple[Path, Job], length: int) -> None:
    path, job = saved
    path.write_bytes(path.read_bytes()[:length])

    assert load_checkpoint(path, job, MODEL) is None


def test_no_mutation_of_a_file_raises(saved: tuple[Path, Job], caplog: pytest.LogCaptureFixture) -> None:
    """A thousand files: cut short, emptied, with bits flipped, bytes put in, parts swapped or overwritten."""
    path, job = saved
    whole = path.read_bytes()
    draws = random.Random(5)
    for number in range(1000):
        data = bytearray(whole)
        at, length = draws.randrange(len(data)), draws.randrange(1, 64)
        match number % 6:
            case 0:
                del data[at:]
            case 1:
                for _ in range(draws.randrange(1, 9)):
                    data[draws.randrange(len(data))] ^= 1 << draws.randrange(8)
            case 2:
                data[at:at] = draws.randbytes(length)
            case 3:
                del data[at : at + length]
            case 4:
                data = data[at:] + data[:at]
            case 5:
                data[at:] = draws.randbytes(len(data) - at)
        if data == whole:
            continue
        path.write_bytes(data)
        caplog.clear()

        assert load_checkpoint(path, job, MODEL) is None
        assert "is ignored, and the training restarts" in caplog.text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no archive",
        {},
        [],
        {"identity": None},
        {"model": 5},
        {"model": {"weight": 5}},
        {"model": None, "curve": 3},
        {"curve": [[1]]},
        {"curve": [[1.0] * 10]},
        {"latency": {"of": 1}},
    ],
    ids=str,
)
def test_nothing_in_a_file_with_a_right_checksum_raises(
    saved: tuple[Path, Job], caplog: pytest.LogCaptureFixture, content: object
) -> None:
    """As another version of this program might write it."""
    path, job = saved
    if isinstance(content, bytes):
        payload = content
    else:
        buffer = io.BytesIO()
        if isinstance(content, dict) and content:
            content = {**checkpoint._read(path), **content}
        torch.save(content, buffer)
        payload = buffer.getvalue()
    path.write_bytes(checkpoint._MAGIC + hashlib.sha256(payload).digest() + payload)

    assert load_checkpoint(path, job, MODEL) is None
    assert "is ignored, and the training restarts" in caplog.text


def test_a_folder_in_its_place_is_ignored(tmp_path: Path, make_job: MakeJob, caplog: pytest.LogCaptureFixture) -> None:
    assert load_checkpoint(tmp_path, make_job(), MODEL) is None
    assert f"checkpoint {tmp_path} is ignored" in caplog.text


def test_a_foreign_file_is_never_unpickled(saved: tuple[Path, Job]) -> None:
    path, job = saved
    path.write_bytes(pickle.dumps({"identity": None}))

    assert load_checkpoint(path, job, MODEL) is None


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"recipe": Recipe(epochs=4)}, {"data": DataSpec("digits", split_seed=1)}],
    ids=lambda change: next(iter(change)),
)
def test_a_checkpoint_of_another_job_is_ignored(
    saved: tuple[Path, Job], change: dict, caplog: pytest.LogCaptureFixture
) -> None:
    path, job = saved

    with caplog.at_level(logging.WARNING):
        assert load_checkpoint(path, replace(job, **change), MODEL) is None

    assert "belongs to another job" in caplog.text


def test_key_rungs_and_data_directory_may_change(saved: tuple[Path, Job]) -> None:
    path, job = saved
    moved = replace(job, key="trial-0002", rungs=(2,), data=replace(job.data, directory="/elsewhere"))

    assert load_checkpoint(path, moved, MODEL) is not None


def test_weights_of_other_shapes_are_ignored(saved: tuple[Path, Job], caplog: pytest.LogCaptureFixture) -> None:
    assert load_checkpoint(*saved, torch.nn.Linear(3, 1, bias=False)) is None
    assert "other names or shapes" in caplog.text

"""Images of a folder are stored or streamed: the same pixels and trainings, and a small disk is noticed in time."""

from __future__ import annotations

import os
import shutil
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from runners.data import image_cache, lazy_images, load_splits, load_test, prepare, stored_images
from runners.data.image_cache import StreamedImages
from runners.data.lazy_images import LazyImages
from runners.data.statistics import channel_statistics
from runners.data.stored_images import StoredImages
from runners.execution import Execution
from runners.protocol import Cause, DataSpec, EpochResult, Interrupted, Job
from runners.recipe import Recipe
from runners.training.train import _splits_on, train
from search_space.errors import DataError

Usage = namedtuple("Usage", "total used free")
SpecOf = Callable[..., DataSpec]


@pytest.fixture
def root(write_images: Callable[..., Path]) -> Path:
    """48 images of two classes, of which 28 are to train on; the classes differ in red, all images in green."""
    colours = {name: [(200 * label, 10 * number, 99) for number in range(24)] for label, name in enumerate("ab")}
    return write_images(colours)


@pytest.fixture
def spec_of(root: Path, tmp_path: Path) -> SpecOf:
    def make(image_cache: str = "auto", folder: str = "cache", **changes: Any) -> DataSpec:
        return DataSpec(f"imagefolder:{root}", str(tmp_path / folder), image_size=8, image_cache=image_cache, **changes)

    return make


@pytest.fixture
def all_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is small enough to be mapped, and images are read in several chunks."""
    monkeypatch.setattr(stored_images, "MAPPED_BYTES", 0)
    monkeypatch.setattr(lazy_images, "SURVEY", 5)


def free(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9 - room, room))


@pytest.mark.usefixtures("all_large")
@pytest.mark.parametrize(("cache", "kind"), [("disk", StoredImages), ("none", StreamedImages)])
@pytest.mark.parametrize("threads", [1, 3])
def test_pixels_and_statistics_are_those_of_a_map(
    spec_of: SpecOf, monkeypatch: pytest.MonkeyPatch, cache: str, kind: type, threads: int
) -> None:
    torch.set_num_threads(threads)
    lazy, lazy_test = load_splits(spec_of(cache, "other")), load_test(spec_of(cache, "other"))
    monkeypatch.setattr(stored_images, "MAPPED_BYTES", 2**20)
    mapped, mapped_test = load_splits(spec_of("disk")), load_test(spec_of("disk"))

    assert (lazy.mean, lazy.std) == (mapped.mean, mapped.std) == channel_statistics(mapped.train.images[:])
    for here, there in zip((*_parts(lazy), lazy_test), (*_parts(mapped), mapped_test), strict=True):
        assert isinstance(here.images, kind)
        assert isinstance(there.images, torch.Tensor)
        assert here.images.shape == there.images.shape
        assert here.images.numel() == there.images.numel()
        assert here.labels.equal(there.labels)
        assert here.images[:].equal(there.images)
        assert torch.cat(list(here.images.split(5))).equal(there.images)
        order = torch.randperm(len(here), generator=torch.Generator().manual_seed(0))
        assert here.images[order].equal(there.images[order])
        assert torch.cat(list(here.images.ahead(order.split(3), threads))).equal(there.images[order])
        assert here.images.to(torch.device("cpu")).equal(there.images)


def _parts(splits: Any) -> tuple[Any, Any]:
    return splits.train, splits.validation


def _small_job(
    make_job: Callable[..., Job], make_architecture: Callable[..., Any], data: DataSpec, **changes: Any
) -> Job:
    architecture = make_architecture(in_channels=3, classes=2)
    recipe = Recipe(epochs=3, batch_size=8)
    return make_job(architecture=architecture, data=data, recipe=recipe, **changes)


def _curve(job: Job) -> list[EpochResult]:
    _splits_on.cache_clear()
    return [replace(epoch, seconds=0.0, measured=None) for epoch in train(job)]


@pytest.mark.usefixtures("all_large")
def test_a_training_does_not_depend_on_where_pixels_come_from(
    make_job: Callable[..., Job], make_architecture: Callable[..., Any], spec_of: SpecOf, tmp_path: Path
) -> None:
    """Nor on an interruption, even if it continues with the other kind."""
    jobs = {
        cache: _small_job(make_job, make_architecture, spec_of(cache, cache), weights=tmp_path / f"{cache}.weights")
        for cache in ("disk", "none")
    }
    assert _curve(jobs["disk"]) == _curve(jobs["none"])
    assert (tmp_path / "disk.weights").read_bytes() == (tmp_path / "none.weights").read_bytes()

    job = replace(jobs["none"], checkpoint=tmp_path / "checkpoint", weights=tmp_path / "resumed")
    steps = train(job)
    next(steps)
    with pytest.raises(Interrupted):
        steps.throw(Interrupted())
    resumed = _curve(replace(job, data=jobs["disk"].data, reported=1))
    assert [epoch.epoch for epoch in resumed] == [2, 3]
    assert (tmp_path / "resumed").read_bytes() == (tmp_path / "none.weights").read_bytes()


@pytest.mark.parametrize(("content", "why"), [(b"damaged", "has changed since"), (None, "No such file")])
def test_an_image_that_is_damaged_within_a_training_is_named_and_nothing_is_lost(
    make_job: Callable[..., Job],
    make_architecture: Callable[..., Any],
    spec_of: SpecOf,
    root: Path,
    tmp_path: Path,
    content: bytes | None,
    why: str,
) -> None:
    job = _small_job(make_job, make_architecture, spec_of("none"), weights=tmp_path / "whole")
    whole = _curve(job)
    job = replace(job, checkpoint=tmp_path / "checkpoint", weights=tmp_path / "weights", rungs=(1,))
    _splits_on.cache_clear()
    execution = Execution(job, train)
    _, outcome = execution.advance()
    assert outcome is None
    kept = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in root.rglob("*.png")}
    for path in kept:
        path.unlink()
        if content is not None:
            path.write_bytes(content)

    epochs, outcome = execution.advance()

    assert (epochs, outcome.cause) == ([], Cause.DATA)
    assert why in outcome.message
    assert str(root) in outcome.message
    for path, (before, changed) in kept.items():
        path.write_bytes(before)
        os.utime(path, ns=(changed, changed))
    assert _curve(replace(job, reported=1)) == whole[1:]
    assert (tmp_path / "weights").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_file_that_is_no_image_is_named_before_a_training_finds_it(spec_of: SpecOf, root: Path) -> None:
    (root / "a" / "007.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"a/007\.png cannot be read as an image: its format is not known"):
        prepare(spec_of("none"))


def test_decoded_images_are_stored_if_they_fit(
    spec_of: SpecOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """48 images of 3 x 8 x 8 bytes take 9 KiB, of at most nine tenths of the free space."""
    heard: list[str] = []
    free(monkeypatch, 10239)
    prepare(spec_of(), heard.append)
    cache = tmp_path / "cache"
    assert heard[1:] == [
        f"the decoded images take 9.00 KiB, and 10.0 KiB are free in {cache / 'decoded'}, so they are decoded from "
        "their files in every epoch, which takes longer; --data-dir names a folder with more room"
    ]
    assert list(cache.rglob("*.npy")) == []
    assert isinstance(load_splits(spec_of()).train.images, StreamedImages)

    free(monkeypatch, 10240)
    assert isinstance(load_splits(spec_of()).train.images, StreamedImages)  # until the next command
    prepare(spec_of(), heard.append)
    assert len(list(cache.rglob("*.npy"))) == 3
    free(monkeypatch, 0)
    assert isinstance(load_splits(spec_of()).train.images, torch.Tensor)
    prepare(spec_of(), heard.append)
    assert len(heard) == 4  # a summary each


def test_a_small_disk_is_noticed_before_anything_is_decoded(
    spec_of: SpecOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_cache, "read_image", lambda *_: pytest.fail("an image was decoded"))
    free(monkeypatch, 9000)
    with pytest.raises(
        DataError, match=r"the decoded images take 9\.00 KiB, and 8\.79 KiB are free in .*; give --data-dir"
    ):
        prepare(spec_of("disk"))
    assert not (tmp_path / "cache" / "decoded").exists()


def test_images_are_streamed_if_wanted(spec_of: SpecOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And all of them are decoded once before, which takes long enough to be said."""
    heard: list[str] = []
    monkeypatch.setattr(image_cache, "WORTH_SAYING", 3 * 8 * 8 * 11)
    prepare(spec_of("none"), heard.append)
    prepare(spec_of("none"), heard.append)
    summary = heard[0]
    assert heard == [summary, "decoding 28 images once (5.25 KiB of pixels)", summary]
    assert list(tmp_path.rglob("*.npy")) == []


@pytest.mark.usefixtures("all_large")
@pytest.mark.parametrize("cache", ["disk", "none"])
def test_statistics_are_computed_once(
    spec_of: SpecOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    prepare(spec_of(cache))
    first = load_splits(spec_of(cache))
    with monkeypatch.context() as patch:
        patch.setattr(LazyImages, "survey", lambda *_: pytest.fail("all images were read again"))
        assert load_splits(spec_of(cache)).mean == first.mean
    for path in (tmp_path / "cache" / "decoded").glob("*.json"):
        path.write_text("[[1, 2")
    assert load_splits(spec_of(cache)).mean == first.mean
    for path in (tmp_path / "cache" / "decoded").glob("*.json"):
        path.write_text(str([[0] * 256] * 3))
    assert load_splits(spec_of(cache)).std == first.std


@pytest.mark.usefixtures("all_large")
def test_stored_images_that_were_cut_off_are_named(spec_of: SpecOf, tmp_path: Path) -> None:
    images = load_splits(spec_of("disk")).train.images
    for path in (tmp_path / "cache" / "decoded").glob("*.npy"):
        os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(DataError, match=r"\.npy were cut off; the next search decodes them again"):
        images[:]
    assert len(load_splits(spec_of("disk")).train.images[:]) == 28


@pytest.mark.usefixtures("all_large")
def test_abandoned_reading_ends(spec_of: SpecOf) -> None:
    images = load_splits(spec_of("none")).train.images
    assert isinstance(images, LazyImages)
    batches = images.ahead(torch.arange(28).split(2), threads=2)
    assert len(next(batches)) == 2
    batches.close()
    assert len(images[:]) == 28


@pytest.mark.usefixtures("all_large")
def test_only_stored_images_are_sent_to_other_nodes(spec_of: SpecOf) -> None:
    stored, streamed = (load_splits(spec_of(cache)).train.images for cache in ("disk", "none"))
    assert torch.from_numpy(stored.numpy()).equal(stored[:])
    with pytest.raises(
        DataError, match=r"would take 5\.25 KiB and are not stored, so they cannot be sent to other nodes"
    ):
        streamed.numpy()

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from runners.data import DatasetInfo, describe_dataset, load_splits, load_test, validation_images
from runners.protocol import DataSpec
from search_space.errors import DataError

RED, BLUE = (255, 0, 0), (0, 0, 255)
WriteImages = Callable[..., Path]


@pytest.fixture
def spec_of(tmp_path: Path) -> Callable[..., DataSpec]:
    def make(root: Path, split_seed: int = 0) -> DataSpec:
        return DataSpec(f"imagefolder:{root}", str(tmp_path / "cache"), split_seed, image_size=8)

    return make


SpecOf = Callable[..., DataSpec]


def test_a_flat_folder_is_carved_in_proportion(write_images: WriteImages, spec_of: SpecOf) -> None:
    spec = spec_of(write_images({"blue": [BLUE] * 10, "red": [RED] * 20}))

    assert validation_images(spec) == 6
    splits, test = load_splits(spec), load_test(spec)

    assert splits.info == describe_dataset(spec) == DatasetInfo(8, 3, 2)
    for split, counts in ((splits.train, [6, 12]), (splits.validation, [2, 4]), (test, [2, 4])):
        assert split.labels.bincount().tolist() == counts
        for label, colour in enumerate((BLUE, RED)):
            assert split.images[split.labels == label].flatten(2).unique(dim=2).flatten(1).unique(dim=0).tolist() == [
                list(colour)
            ]


def test_no_image_is_in_two_splits(write_images: WriteImages, spec_of: SpecOf) -> None:
    shades = [(value, value, 0) for value in range(40)]
    spec = spec_of(write_images({"a": shades[:20], "b": shades[20:]}))

    splits, test = load_splits(spec), load_test(spec)

    seen = [set(split.images[:, 0, 0, 0].tolist()) for split in (splits.train, splits.validation, test)]
    assert set.union(*seen) == set(range(40))
    assert sum(map(len, seen)) == 40


@pytest.mark.parametrize("name", ["val", "validation", "valid"])
def test_given_splits_are_used_as_they_are(write_images: WriteImages, spec_of: SpecOf, name: str) -> None:
    classes = {"train/a": [RED] * 3, "train/b": [RED] * 3, "test/a": [BLUE], "test/b": [BLUE] * 2}
    spec = spec_of(write_images({**classes, f"{name}/a": [(9, 9, 9)], f"{name}/b": [(9, 9, 9)]}))

    assert validation_images(spec) == 2
    splits = load_splits(spec)

    assert len(splits.train) == 6
    assert splits.validation.images.unique().tolist() == [9]
    assert load_test(spec).labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize("layout", ["given", "carved"])
def test_loading_the_splits_never_opens_a_test_image(write_images: WriteImages, spec_of: SpecOf, layout: str) -> None:
    prefix = "train/" if layout == "given" else ""
    classes = {f"{prefix}a": [RED] * 10, f"{prefix}b": [BLUE] * 10}
    if layout == "given":
        classes |= {"test/a": [RED], "test/b": [BLUE]}
    root = write_images(classes)
    spec = spec_of(root)
    kept = {path: path.read_bytes() for path in root.rglob("*.png")}
    for path in kept:  # of all images, only those that load_splits has no need of may be broken
        path.write_bytes(b"broken")
        try:
            load_splits(spec)
        except DataError:
            path.write_bytes(kept[path])

    broken = [path for path in kept if path.read_bytes() == b"broken"]

    assert len(broken) == (2 if layout == "given" else 4)
    with pytest.raises(DataError, match="cannot be read as an image"):
        load_test(spec)


def test_images_are_decoded_once(
    write_images: WriteImages, spec_of: SpecOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runners.data import image_cache

    root = write_images({"train/a": [RED] * 5, "train/b": [BLUE] * 5, "val/a": [RED], "val/b": [BLUE]})
    first = load_splits(spec_of(root))
    decodings: list[str] = []
    monkeypatch.setattr(image_cache, "read_image", lambda path, *_: decodings.append(path))

    again = load_splits(spec_of(root))

    assert decodings == []
    assert again.train.images.equal(first.train.images)


def test_of_many_that_want_them_at_once_one_decodes_and_clears_up_after_one_that_was_killed(
    write_images: WriteImages, spec_of: SpecOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runners.data import image_cache

    spec = spec_of(write_images({"a": [RED] * 5, "b": [BLUE] * 5}))
    load_test(spec)
    [finished] = (tmp_path / "cache/decoded").glob("*.npy")
    finished.rename(finished.with_name(f".{finished.stem}.unfinished"))
    decodings: list[str] = []
    read = image_cache.read_image
    monkeypatch.setattr(image_cache, "read_image", lambda path, *more: (decodings.append(path), read(path, *more))[1])
    threads = [threading.Thread(target=load_test, args=(spec,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(decodings) == len(set(decodings)) == 2
    assert {path.suffix for path in (tmp_path / "cache/decoded").iterdir()} == {".npy", ".lock", ".json"}


def test_a_changed_image_is_decoded_again(write_images: WriteImages, spec_of: SpecOf) -> None:
    classes = {"train/a": [RED], "train/b": [RED], "val/a": [RED], "val/b": [RED], "test/a": [RED], "test/b": [RED]}
    root = write_images(classes)
    assert load_test(spec_of(root)).images[:, 2].unique().tolist() == [0]
    write_images({"test/a": [BLUE]})
    os.utime(root / "test/a/000.png", ns=(1, 1))  # a time of its own, however fast the test runs

    assert load_test(spec_of(root)).images[:, 2].unique().tolist() == [0, 255]


def test_the_middle_of_a_wide_image_is_cut_out(tmp_path: Path, write_images: WriteImages, spec_of: SpecOf) -> None:
    from PIL import Image

    root = write_images({f"{part}/{name}": [RED] for part in ("train", "val", "test") for name in "ab"})
    wide = Image.new("RGB", (24, 8), RED)
    wide.paste(BLUE, (8, 0, 16, 8))
    wide.save(root / "test/a/000.png")

    assert load_test(spec_of(root)).images[0, 2].unique().tolist() == [255]


def test_one_class_is_too_few(write_images: WriteImages, spec_of: SpecOf) -> None:
    with pytest.raises(DataError, match="at least two classes; it has 1"):
        describe_dataset(spec_of(write_images({"only": [RED]})))


def test_a_missing_folder_is_named(tmp_path: Path, spec_of: SpecOf) -> None:
    with pytest.raises(DataError, match=r"there is no folder .*/absent"):
        describe_dataset(spec_of(tmp_path / "absent"))


def test_an_empty_class_is_named(write_images: WriteImages, spec_of: SpecOf) -> None:
    with pytest.raises(DataError, match="images/empty holds no image"):
        load_splits(spec_of(write_images({"a": [RED] * 4, "empty": []})))


def test_an_unreadable_image_is_named(write_images: WriteImages, spec_of: SpecOf) -> None:
    root = write_images({"train/a": [RED] * 5, "train/b": [RED] * 5, "val/a": [RED], "val/b": [RED]})
    for path in (root / "train/a").glob("*.png"):
        path.write_text("no image")

    with pytest.raises(DataError, match=r"train/a/00\d.png cannot be read as an image"):
        load_splits(spec_of(root))


def test_other_classes_in_validation_are_refused(write_images: WriteImages, spec_of: SpecOf) -> None:
    root = write_images({"train/a": [RED] * 5, "train/b": [RED] * 5, "val/a": [RED], "val/c": [RED]})

    with pytest.raises(DataError, match=r"val has other classes \(a, c\) than train \(a, b\)"):
        load_splits(spec_of(root))


def test_too_few_images_to_carve_from(write_images: WriteImages, spec_of: SpecOf) -> None:
    # A fifth of 8 images is the first that is 2 when rounded.
    with pytest.raises(DataError, match="2 images of 2 classes, too few to split; 8 are needed"):
        load_splits(spec_of(write_images({"a": [RED], "b": [RED]})))

"""What counts as data in a folder of images, and the remarks about the rest."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from runners.data import describe_dataset, load_splits, load_test, prepare, validation_images
from runners.protocol import DataSpec
from search_space.errors import DataError

RED, BLUE = (255, 0, 0), (0, 0, 255)
WriteImages = Callable[..., Path]
SpecOf = Callable[[Path], DataSpec]


@pytest.fixture
def spec_of(tmp_path: Path) -> SpecOf:
    return lambda root: DataSpec(f"imagefolder:{root}", str(tmp_path / "cache"), image_size=2)


def sizes(spec: DataSpec) -> tuple[int, int, int]:
    splits = load_splits(spec)
    return len(splits.train), len(splits.validation), len(load_test(spec))


def told(spec: DataSpec) -> list[str]:
    notes: list[str] = []
    prepare(spec, notes.append)
    return notes


def shades(count: int, blue: int = 0) -> list[tuple[int, int, int]]:
    return [(number % 256, number // 256, blue) for number in range(count)]


def both(split: str, count: int, blue: int) -> dict[str, list[tuple[int, int, int]]]:
    """Two classes of different images."""
    return {f"{split}/{name}": shades(count, blue + number) for number, name in enumerate("ab")}


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("Training", "Validation", "Testing"),
        ("TRAIN", "VALID", "TEST"),
        ("train", "dev", "testing"),
        ("training", "Val", "test"),
    ],
)
def test_splits_are_found_by_their_usual_names_and_said(
    write_images: WriteImages, spec_of: SpecOf, train: str, validation: str, test: str
) -> None:
    root = write_images({**both(train, 5, 0), **both(validation, 2, 10), **both(test, 3, 20)})
    assert describe_dataset(spec_of(root)).classes == 2
    assert sizes(spec_of(root)) == (10, 4, 6)
    assert told(spec_of(root)) == [
        f"the image folder {root} has 2 classes: 10 training images ({train}), 4 validation images ({validation}), "
        f"6 test images ({test})"
    ]


def test_carved_splits_are_said_too(write_images: WriteImages, spec_of: SpecOf) -> None:
    root = write_images({"a": shades(1000, 1), "b": shades(500, 2)}, size=(1, 1))
    assert told(spec_of(root)) == [
        f"the image folder {root} has 2 classes: 900 training images (carved), 300 validation images (carved), "
        "300 test images (carved)"
    ]


@pytest.mark.parametrize("names", [("train", "Training", "test"), ("train", "val", "valid"), ("train", "TEST", "test")])
def test_two_folders_of_one_split_are_refused(
    write_images: WriteImages, spec_of: SpecOf, names: tuple[str, ...]
) -> None:
    root = write_images({f"{split}/{name}": [RED] * 5 for split in names for name in "ab"})
    with pytest.raises(DataError, match=r"images has 2 folders of \w+ images: \w+, \w+; keep one of them"):
        describe_dataset(spec_of(root))


def test_a_class_may_be_called_train(write_images: WriteImages, spec_of: SpecOf) -> None:
    root = write_images({"train": shades(5, 1), "cat": shades(5, 2), "dog": shades(5, 3), "test": shades(5, 4)})
    assert describe_dataset(spec_of(root)).classes == 4
    assert sizes(spec_of(root)) == (12, 4, 4)
    assert told(spec_of(root))[1:] == [f"folders of {root} that were taken for classes, not splits: train, test"]
    write_images({"train/express": shades(5, 5)})  # folders within a class are part of it
    assert describe_dataset(spec_of(root)).classes == 4
    assert sum(sizes(spec_of(root))) == 25


def test_splits_by_other_names_are_classes_and_it_is_said(write_images: WriteImages, spec_of: SpecOf) -> None:
    root = write_images({**both("training_set", 5, 1), **both("test_set", 5, 3)})
    assert told(spec_of(root))[1:] == [
        f"in {root} there is no image directly in any folder that was taken for a class (test_set, training_set), but "
        "deeper; folders of splits are called train, val and test"
    ]


def test_images_beside_classes_and_folders_beside_splits_are_left_alone_and_said(
    write_images: WriteImages, spec_of: SpecOf
) -> None:
    root = write_images({**both("train", 5, 1), "train": [RED], **both("val", 1, 3), **both("test", 1, 5)})
    assert sizes(spec_of(root)) == (10, 2, 2)
    assert told(spec_of(root))[1:] == [f"1 image in no folder of a class, such as {root}/train/000.png: left out"]
    (root / "train/000.png").unlink()
    write_images({"sketches/a": [RED], "all": [RED]})
    assert sizes(spec_of(root)) == (10, 2, 2)
    assert told(spec_of(root))[1:] == [f"{root} holds folders besides the splits, which are left alone: all, sketches"]


def test_unlabelled_test_images_are_left_alone_and_said(write_images: WriteImages, spec_of: SpecOf) -> None:
    root = write_images({**both("train", 10, 1), "test": [BLUE] * 7})
    (root / "val").mkdir()
    assert sizes(spec_of(root)) == (12, 4, 4)
    assert told(spec_of(root))[1:] == [
        f"{root}/val holds no image and is left alone",
        f"{root}/test holds 7 images in no folder of a class, which are left alone",
    ]


@pytest.mark.parametrize(
    "folders",
    [{"train": 3, "test": 3}, {"val/a": 3, "val/b": 3, "test/a": 3, "test/b": 3}, {"a": 3, "b": 3, "val/a": 3}],
)
def test_half_a_layout_is_refused(write_images: WriteImages, spec_of: SpecOf, folders: dict[str, int]) -> None:
    root = write_images({name: [RED] * count for name, count in folders.items()})
    with pytest.raises(DataError, match="allowed: CLASS/IMAGE, or train/CLASS/IMAGE"):
        describe_dataset(spec_of(root))


def test_hidden_files_and_folders_are_no_data(write_images: WriteImages, spec_of: SpecOf) -> None:
    """Copies of training images there would be tested on."""
    root = write_images({**both("train", 5, 1), **both("val", 1, 3), **both("test", 1, 5)})
    for folder in (".ipynb_checkpoints", "@eaDir", "__MACOSX", "$RECYCLE.BIN"):
        for place in ("", "train", "test", "train/a", "test/b"):
            write_images({f"{place}/{folder}": [RED], f"{place}/{folder}/deeper": [RED]})
    for path in ("train/a", "test/b"):
        for name in ("._000.png", ".hidden.png", "Thumbs.db", ".DS_Store", "desktop.ini"):
            (root / path / name).write_bytes(b"no image")
    assert sizes(spec_of(root)) == (10, 2, 2)
    assert len(told(spec_of(root))) == 1


def test_identical_images_in_two_splits_are_counted_and_said(write_images: WriteImages, spec_of: SpecOf) -> None:
    root = write_images({**both("train", 5, 1), **both("val", 2, 3), **both("test", 1, 5)})
    (root / "test/a/copy.png").write_bytes((root / "train/a/003.png").read_bytes())
    (root / "test/b/copy.png").write_bytes((root / "val/a/001.png").read_bytes())
    (root / "test/b/again.png").write_bytes((root / "test/b/000.png").read_bytes())  # within one split, nothing leaks
    summary, leak = told(spec_of(root))
    assert summary.endswith("5 test images (test)")
    assert leak.startswith(
        f"2 images of validation or test are in another split too, such as {root}/test/a/copy.png, which equals "
        f"{root}/train/a/003.png: "
    )
    assert sizes(spec_of(root)) == (10, 4, 5)


def test_copies_that_carving_parts_are_counted_too(write_images: WriteImages, spec_of: SpecOf) -> None:
    _, leak = told(spec_of(write_images({"a": [RED] * 10, "b": [BLUE] * 10})))
    assert leak.startswith("8 images of validation or test are in another split too")


def test_links_to_folders_are_followed_once(write_images: WriteImages, spec_of: SpecOf, tmp_path: Path) -> None:
    root = write_images({"a": shades(5, 1), "b": shades(5, 2)})
    outside = tmp_path / "outside"
    (root / "a").rename(outside)
    outside_too = tmp_path / "outside too"
    outside_too.mkdir()
    Image.new("RGB", (2, 2), (9, 9, 9)).save(outside_too / "1.png")
    (root / "a").symlink_to(outside)
    (root / "b" / "more").symlink_to(outside_too)
    (root / "b" / "more again").symlink_to(outside_too)
    (outside / "upwards").symlink_to(root)
    (outside / "itself").symlink_to(outside)
    (root / "b" / "everything").symlink_to("/")
    assert sum(sizes(spec_of(root))) == 11
    assert f"4 links to a folder that is already counted among the images, such as {root}/" in told(spec_of(root))[1]


def test_a_folder_counts_at_its_own_place_rather_than_at_a_link(write_images: WriteImages, spec_of: SpecOf) -> None:
    root = write_images({**both("train", 5, 1), **both("val", 1, 3), **both("test", 2, 5)})
    (root / "train/a/0 more").symlink_to(root / "test/a")
    assert sizes(spec_of(root)) == (10, 2, 4)
    (root / "train/a-too").symlink_to("a")
    with pytest.raises(
        DataError, match="train/a-too holds no image that can be read; in the classes there are 2 links to a folder"
    ):
        describe_dataset(spec_of(root))


def test_links_from_splits_into_a_folder_of_all_images(write_images: WriteImages, spec_of: SpecOf) -> None:
    root = write_images({f"{group}-{name}": shades(5, ord(group)) for group in "tvx" for name in "ab"})
    pool = root.rename(root.parent / "pool")
    root.mkdir()
    pool = pool.rename(root / "pool")
    for split, group in (("train", "t"), ("val", "v"), ("test", "x")):
        (root / split).mkdir()
        for name in "ab":
            (root / split / name).symlink_to(pool / f"{group}-{name}")
    assert sizes(spec_of(root)) == (10, 10, 10)


def test_what_pillow_does_not_read_is_counted_and_named(write_images: WriteImages, spec_of: SpecOf) -> None:
    root = write_images({**both("train", 5, 1), **both("val", 1, 3), **both("test", 1, 5)})
    for name in ("1.heic", "2.HEIC", "notes.txt", "drawing.eps", "LICENSE"):
        (root / "train/a" / name).write_bytes(b"x")
    assert sizes(spec_of(root)) == (10, 2, 2)
    [note] = told(spec_of(root))[1:]
    assert note.startswith("1 .eps file, 2 .heic files, 1 .txt file, 1 file without a suffix among the images, such")


def test_what_is_no_file_neither_hangs_nor_crashes(write_images: WriteImages, spec_of: SpecOf) -> None:
    root = write_images({**both("train", 5, 1), **both("val", 1, 3), **both("test", 1, 5), "test/a/x.png": [BLUE]})
    os.mkfifo(root / "train/a/pipe.png")
    (root / "train/a/nowhere.png").symlink_to("absent.png")
    (root / "train/a/itself.png").symlink_to("itself.png")
    (root / "train/a/device.png").symlink_to("/dev/zero")
    (root / "train/b/empty.png").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(root / "train/a/socket.png"))
    assert sizes(spec_of(root)) == (10, 2, 3)
    [note] = told(spec_of(root))[1:]
    assert note.startswith("2 broken links, 3 special files (pipe, socket, device) among the images, such as ")


@pytest.mark.parametrize("split", ["train/", ""])
def test_a_class_without_a_training_image_is_refused_by_name(
    write_images: WriteImages, spec_of: SpecOf, split: str
) -> None:
    root = write_images({f"{split}a": [RED] * 10, f"{split}b": [RED] * 10, f"{split}empty": []})
    (root / f"{split}empty/photo.heic").touch()
    with pytest.raises(
        DataError, match=rf"images/{split}empty holds no image that can be read; in the classes there are 1 .heic file"
    ):
        describe_dataset(spec_of(root))


def test_a_class_that_carving_leaves_nothing_to_train_on_is_refused(write_images: WriteImages, spec_of: SpecOf) -> None:
    root = write_images({"many": [RED] * 60, "one": [BLUE]})
    refused = 0
    for seed in range(20):  # with some seeds its only image is held out
        spec = DataSpec(f"imagefolder:{root}", spec_of(root).directory, seed, image_size=2)
        try:
            validation_images(spec)
        except DataError as error:
            assert f"{root}/one has 1 image, and splitting leaves none to train on" in str(error)  # noqa: PT017
            refused += 1
    assert 0 < refused < 20


def test_a_class_may_be_absent_from_validation_and_test(write_images: WriteImages, spec_of: SpecOf) -> None:
    root = write_images({**both("train", 5, 1), "val/a": shades(2, 3), "test/b": shades(2, 4), "test/a": []})
    assert sizes(spec_of(root)) == (10, 2, 2)
    assert load_test(spec_of(root)).labels.tolist() == [1, 1]
    assert told(spec_of(root))[1:] == [f"{root}/val holds no image of b", f"{root}/test holds no image of a"]


def test_very_deep_folders_are_refused(write_images: WriteImages, spec_of: SpecOf) -> None:
    root = write_images({"a": [RED] * 10, "/".join("b" * 100): [RED] * 10})
    with pytest.raises(DataError, match="is nested more than 64 folders deep"):
        describe_dataset(spec_of(root))


def test_names_that_do_not_print_work_and_are_shown_escaped(write_images: WriteImages, spec_of: SpecOf) -> None:
    """Bytes that are no UTF-8, a line break, and what colours a terminal."""
    odd = os.fsdecode(b"\xff\n\x1b[31m")
    root = write_images(
        {f"{split}/{name}": shades(2, ord(split[1])) for split in ("train", "val", "test") for name in ("a", odd)}
    )
    assert sizes(spec_of(root)) == (4, 4, 4)
    (root / "train" / odd / "note.txt").touch()
    (root / "val" / odd / "000.png").write_bytes((root / "train" / odd / "000.png").read_bytes())
    notes = told(spec_of(root))
    (root / "val" / odd / "000.png").write_bytes(b"no image")
    with pytest.raises(DataError) as unreadable:
        load_splits(spec_of(root))
    (root / "val/other").mkdir()
    (root / "val" / odd / "000.png").rename(root / "val/other/000.png")
    with pytest.raises(DataError) as other:
        load_splits(spec_of(root))
    shown = [*notes, str(unreadable.value), str(other.value)]
    assert len(shown) == 5
    assert all(text.isprintable() for text in shown)
    assert all("\\udcff\\n\\x1b[31m" in text for text in shown[1:])

"""Studies of a folder of images continue with the same images and refuse others, whatever the file names."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import text

from nas.api import search
from results.report.report import Report
from results.store.store import StudyStore
from runners.synthetic import synthetic
from search_space.errors import StudyError

BOTH = """
import sys
from nas.__main__ import main
at = sys.argv.index("then")
for words in (sys.argv[1:at], sys.argv[at + 1 :]):
    sys.argv = ["nas", *words]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""
"""Two commands in one process: loading torch takes longer than all else."""


def write(root: Path, classes: tuple[str, str] = ("cat", "dog")) -> Path:
    for blue, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for number in range(12):
            Image.new("RGB", (3, 3), (20 * number, 0, blue)).save(root / name / f"{number:02}.png")
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "pictures")


@pytest.fixture
def go_on(settings: dict[str, Any], tmp_path: Path) -> Callable[..., Report]:
    """Begin or continue the study on a folder; with the budget spent, it is only opened."""

    def make(root: Path, **changes: Any) -> Report:
        own = {"data": f"imagefolder:{root}", "data_dir": str(tmp_path / "cache"), "image_size": 8, "budget": 2}
        return search(**{**settings, **own, "evaluator": synthetic, "finalists": 0, **changes})

    return make


def test_a_study_continues_with_a_moved_folder(go_on: Callable[..., Report], root: Path, database_url: str) -> None:
    """Also to and from a name that is not UTF-8, which a database and a report show escaped."""
    go_on = partial(go_on, storage=database_url)
    assert go_on(root).data == f"imagefolder:{root}"
    moved = root.rename(root.parent / os.fsdecode(b"\xff"))
    assert go_on(moved, budget=3).evaluated == 3
    assert go_on(moved, study="other").data.endswith("/\\udcff")
    assert go_on(moved.rename(root.parent / "elsewhere"), budget=4).evaluated == 4


def test_a_command_scans_every_folder_and_file_once(
    go_on: Callable[..., Report], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To find, fingerprint, decode, train on and test the images; the next command looks again."""
    looks: Counter[tuple[str, str]] = Counter()

    def count(name: str) -> None:
        look = getattr(os, name)

        def counted(path: Any, *arguments: Any, **options: Any) -> Any:
            if not isinstance(path, int):
                looks[name, os.fsdecode(path)] += 1
            return look(path, *arguments, **options)

        monkeypatch.setattr(os, name, counted)

    count("scandir")
    count("stat")
    folders, images = [str(root), str(root / "cat"), str(root / "dog")], sorted(map(str, root.glob("*/*.png")))
    looks.clear()
    trained = {"evaluator": None, "epochs": 1, "finalists": 1, "seeds": 1}
    assert go_on(root, **trained).winner.test_accuracy is not None
    assert [looks["scandir", path] for path in folders] == [1] * 3
    assert [looks["stat", path] for path in images] == [1] * 24
    looks.clear()
    go_on(root, **trained, budget=3)
    assert [looks["stat", path] for path in images] == [1] * 24


def test_a_study_does_not_continue_with_other_images(go_on: Callable[..., Report], root: Path) -> None:
    go_on(root)
    Image.new("RGB", (3, 3), (1, 2, 3)).save(root / "cat/05.png")
    moved = root.rename(root.parent / "elsewhere")
    with pytest.raises(StudyError, match=r"data\.fingerprint was 24 images, content .* and is now 24 images, content "):
        go_on(moved)


@pytest.fixture
def of_an_earlier_version(root: Path, stored: Callable[..., StudyStore]) -> Callable[[], str]:
    """Have the study say what an earlier version recorded: a digest of the line ``PATH SIZE`` of every file."""

    def rewrite() -> str:
        lines = [f"{path.relative_to(root)} {path.stat().st_size}" for path in sorted(root.rglob("*.png"))]
        recorded = f"{len(lines)} images, digest {hashlib.sha256(chr(10).join(lines).encode()).hexdigest()[:12]}"
        study = stored()
        identity = {**study.row.identity, "data": {**study.row.identity["data"], "fingerprint": recorded}}
        with study.store.engine.begin() as connection:
            connection.execute(text("UPDATE nas_studies SET identity = :identity"), {"identity": json.dumps(identity)})
        return recorded

    return rewrite


def test_a_study_of_an_earlier_version_continues(
    go_on: Callable[..., Report], root: Path, of_an_earlier_version: Callable[[], str]
) -> None:
    Image.new("RGBA", (3, 3), (1, 2, 3, 255)).save(root / "dog/05.png")  # nothing in it is transparent
    go_on(root)
    recorded = of_an_earlier_version()
    assert go_on(root, budget=3).evaluated == 3
    (root / "dog/05.png").unlink()
    with pytest.raises(StudyError, match=f"data.fingerprint was {recorded} and is now 23 images, digest "):
        go_on(root)


@pytest.mark.parametrize("kind", ["deep", "transparent", "turned"])
def test_it_does_not_continue_if_an_image_was_read_differently(
    go_on: Callable[..., Report], root: Path, of_an_earlier_version: Callable[[], str], kind: str
) -> None:
    """Its trials saw 16-bit grey as white, hidden colours, and photographs on their side."""
    image = Image.new({"deep": "I;16", "transparent": "RGBA"}.get(kind, "RGB"), (3, 3))
    image.putpixel((0, 0), {"deep": 300, "transparent": (9, 9, 9, 0)}.get(kind, (9, 9, 9)))
    exif = Image.Exif()
    exif[274] = 6 if kind == "turned" else 1
    image.save(root / "dog/05.png", exif=exif)
    go_on(root)
    recorded = of_an_earlier_version()
    with pytest.raises(StudyError, match=f"was {recorded} and is now {recorded}, read or split in another way"):
        go_on(root)


def test_what_was_found_is_said_when_a_search_starts(settings: dict[str, Any], root: Path, tmp_path: Path) -> None:
    shutil.copy(root / "cat/00.png", root / "cat/copy.heic")
    notices: list[str] = []
    changes = {"data": f"imagefolder:{root}", "data_dir": str(tmp_path / "cache"), "image_size": 8, "budget": 1}
    search(**{**settings, **changes, "epochs": 1, "finalists": 0}, on_notice=notices.append)
    assert notices[0] == (
        f"the image folder {root} has 2 classes: 14 training images (carved), 5 validation images (carved), "
        "5 test images (carved)"
    )
    assert notices[1] == f"1 .heic file among the images, such as {root}/cat/copy.heic: left out"
    assert len(notices) == 2


def test_names_that_are_no_utf8_work_from_the_search_to_the_bundle(
    tmp_path: Path, space_files: dict[str, Path]
) -> None:
    """In a C locale; a folder, a class and a file are called so, and the class holds a line break besides."""
    root = write(tmp_path / os.fsdecode(b"f\xfcr"), (os.fsdecode(b"\xfe\ncat"), "dog"))
    (root / "dog/00.png").rename(root / os.fsdecode(b"dog/\xff.png"))

    out = str(tmp_path / "runs")
    settings = ["--space", str(space_files["tiny"]), "--runner", "inline", "--strategy", "random", "--budget", "1"]
    training = ["--epochs", "1", "--finalists", "0", "--image-size", "8", "--out", out, "--json"]
    search = ["search", "--data", f"imagefolder:{root}", *settings, *training]
    export = ["export", "--best", "--out", out, "-o", str(tmp_path / "bundle")]
    environment = {**os.environ, "LC_ALL": "C", "NAS_DATA_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", BOTH, *search, "then", *export], capture_output=True, check=False, env=environment
    )
    assert b"Traceback" not in done.stderr
    assert done.returncode == 0, done.stderr
    assert b"has 2 classes: 14 training images (carved)" in done.stderr
    assert b"\\udcfcr" in done.stderr
    report, _ = json.JSONDecoder().raw_decode(done.stdout.decode())
    assert report["data"].endswith("/f\\udcfcr")
    assert (tmp_path / "bundle" / "model.safetensors").is_file()

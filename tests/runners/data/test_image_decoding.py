"""Every mode of Pillow's is read as what it means, from files that Pillow wrote; expectations are worked by hand."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from runners.data import load_test, prepare
from runners.data.image_decoding import read_image
from runners.protocol import DataSpec
from search_space.errors import DataError

RED, BLUE = (255, 0, 0), (0, 0, 255)
ReadBack = Callable[..., list[list[int]]]


@pytest.fixture
def folder(write_images: Callable[..., Path]) -> Path:
    """A data set with one test image of class `a`, which a test replaces."""
    return write_images({f"{split}/{name}": [RED] for split in ("train", "val", "test") for name in "ab"})


@pytest.fixture
def spec(folder: Path, tmp_path: Path) -> DataSpec:
    return DataSpec(f"imagefolder:{folder}", str(tmp_path / "cache"), image_size=2)


@pytest.fixture
def read_back(folder: Path, spec: DataSpec) -> ReadBack:
    """The corners of an image after it was saved and read: (R, G, B) at top left, top right, bottom left, right."""

    def read(image: Image.Image, suffix: str, **options: Any) -> list[list[int]]:
        for old in (folder / "test/a").iterdir():
            old.unlink()
        image.save(folder / f"test/a/000{suffix}", **options)
        corners: list[list[int]] = load_test(spec).images[0].flatten(1).T.tolist()
        return corners

    return read


def square(values: Any, kind: str) -> Image.Image:
    return Image.fromarray(np.array(values, dtype=kind))


def test_integers_of_16_bits_are_scaled_from_65535(read_back: ReadBack) -> None:
    # 257 = 65535 / 255; 32768 / 257 = 127.5+
    assert read_back(square([[0, 257], [32768, 65535]], "uint16"), ".png") == [[0] * 3, [1] * 3, [128] * 3, [255] * 3]


@pytest.mark.parametrize("kind", ["<u2", ">u2"])
def test_so_they_are_in_tiff_of_either_byte_order(read_back: ReadBack, kind: str) -> None:
    assert read_back(square([[0, 257], [514, 65535]], kind), ".tif") == [[0] * 3, [1] * 3, [2] * 3, [255] * 3]


def test_so_they_are_in_a_pgm_whatever_its_white(folder: Path, spec: DataSpec) -> None:
    (folder / "test/a/000.png").unlink()
    (folder / "test/a/000.pgm").write_bytes(b"P5 2 2 1023\n" + struct.pack(">4H", 0, 1023, 512, 1023))
    # 512 / 1023 x 255 = 127.6
    assert load_test(spec).images[0, 0].flatten().tolist() == [0, 255, 128, 255]


def test_integers_of_32_bits_have_no_white_but_that_of_16(read_back: ReadBack, folder: Path, spec: DataSpec) -> None:
    assert read_back(square([[0, 257], [514, 65535]], "int32"), ".tif") == [[0] * 3, [1] * 3, [2] * 3, [255] * 3]
    for values, said in (([[0, 1], [2, 65536]], "run from 0 to 65536"), ([[-1, 1], [2, 3]], "run from -1 to 3")):
        square(values, "int32").save(folder / "test/a/000.tif")
        with pytest.raises(DataError, match=rf"a/000.tif cannot be read as an image: its pixels {said}; of integers"):
            load_test(spec)


def tiff(bits: int, photometric: int, pixels: bytes, *more: tuple[int, int]) -> bytes:
    """A little-endian TIFF of 2 x 2 pixels of one channel (TIFF 6.0, section 4)."""
    tags = [(256, 2), (257, 2), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, 2)]
    tags += [(279, len(pixels)), *more]
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    header = struct.pack("<2sHI", b"II", 42, 8 + len(pixels))
    return header + pixels + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_white_of_12_bits_is_4095(folder: Path, spec: DataSpec) -> None:
    # Two rows of two: 0x000, 0xfff and 0x800, 0x010, most significant bits first; 2048 / 4095 x 255 = 127.5+
    (folder / "test/a/000.png").write_bytes(tiff(12, 1, bytes([0x00, 0x0F, 0xFF, 0x80, 0x00, 0x10])))
    assert load_test(spec).images[0, 0].flatten().tolist() == [0, 255, 128, 1]


def test_white_may_be_zero_in_a_tiff(folder: Path, spec: DataSpec) -> None:
    """Tag 262, PhotometricInterpretation, 0: WhiteIsZero (TIFF 6.0, page 37)."""
    (folder / "test/a/000.png").write_bytes(tiff(16, 0, struct.pack("<4H", 0, 257, 514, 65535)))
    assert load_test(spec).images[0, 0].flatten().tolist() == [255, 254, 253, 0]


def test_signed_bytes_are_refused_by_name(folder: Path, spec: DataSpec) -> None:
    """Tag 339, SampleFormat, 2: signed (TIFF 6.0, page 80)."""
    (folder / "test/a/000.png").write_bytes(tiff(8, 1, struct.pack("4b", -100, 0, 1, 100), (339, 2)))
    with pytest.raises(DataError, match=r"a/000.png cannot be read as an image: signed integers of 8 bits"):
        load_test(spec)


def test_floating_point_is_0_to_1(read_back: ReadBack) -> None:
    # 0.2 x 255 = 51, 0.5 x 255 = 127.5, to the even number
    assert read_back(square([[0, 0.2], [0.5, 1]], "float32"), ".tiff") == [[0] * 3, [51] * 3, [128] * 3, [255] * 3]


@pytest.mark.parametrize(
    ("values", "said"), [([0, 255.0], "from 0 to 255"), ([-0.5, 1], "from -0.5 to 1"), ([float("nan"), 1], "nan")]
)
def test_other_floating_point_is_refused_by_name(read_back: ReadBack, values: list[float], said: str) -> None:
    with pytest.raises(DataError, match=rf"a/000.tif cannot be read as an image: .*{said}.*0 \(black\) to 1 \(white\)"):
        read_back(square([values, [0, 0]], "float32"), ".tif")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_photographs_are_turned_upright(read_back: ReadBack, orientation: int, suffix: str) -> None:
    """Where the first row and column of what is stored belong: EXIF 2.32, tag 274."""
    # The corners 0 1 / 2 3 as seen, and how a camera stores them.
    stored = {
        1: [[0, 1], [2, 3]],
        2: [[1, 0], [3, 2]],
        3: [[3, 2], [1, 0]],
        4: [[2, 3], [0, 1]],
        5: [[0, 2], [1, 3]],
        6: [[1, 3], [0, 2]],
        7: [[3, 1], [2, 0]],
        8: [[2, 0], [3, 1]],
    }
    colours = np.array([(0, 0, 0), (80, 80, 80), (160, 160, 160), (240, 240, 240)], dtype=np.uint8)
    image = Image.fromarray(colours[np.array(stored[orientation])])
    exif = Image.Exif()
    exif[274] = orientation
    options = {"lossless": True} if suffix == ".webp" else {}
    seen = read_back(image, suffix, exif=exif, **options)
    assert [corner[0] for corner in seen] == [0, 80, 160, 240]


def test_what_is_transparent_is_white(read_back: ReadBack) -> None:
    # 128 of 255 red over white: 255, and 255 x 127 / 255 = 127 of the other two
    rgba = [[(*RED, 255), (*RED, 0)], [(*RED, 128), (*BLUE, 255)]]
    assert read_back(square(rgba, "uint8"), ".png") == [list(RED), [255] * 3, [255, 127, 127], list(BLUE)]
    # 51 of 255 black over white: 204
    grey = square([[(0, 255), (0, 0)], [(0, 51), (9, 255)]], "uint8")
    assert read_back(grey, ".png") == [[0] * 3, [255] * 3, [204] * 3, [9] * 3]


def test_one_colour_may_be_transparent(read_back: ReadBack) -> None:
    palette = Image.new("P", (2, 2))
    palette.putpalette([*RED, *BLUE, 7, 8, 9, 1, 2, 3])
    palette.putdata([0, 1, 2, 3])
    seen = [list(RED), [255] * 3, [7, 8, 9], [1, 2, 3]]
    assert read_back(palette, ".png", transparency=1) == seen
    assert read_back(palette, ".png", transparency=bytes([255, 255, 0, 255])) == [
        list(RED),
        list(BLUE),
        [255] * 3,
        [1, 2, 3],
    ]
    grey = square([[5, 7], [7, 5]], "uint8")
    assert read_back(grey, ".png", transparency=7) == [[5] * 3, [255] * 3, [255] * 3, [5] * 3]
    sixteen = square([[257, 514], [514, 257]], "uint16")
    assert read_back(sixteen, ".png", transparency=514) == [[1] * 3, [255] * 3, [255] * 3, [1] * 3]
    coloured = square([[RED, BLUE], [BLUE, RED]], "uint8")
    assert read_back(coloured, ".png", transparency=BLUE) == [list(RED), [255] * 3, [255] * 3, list(RED)]


@pytest.mark.parametrize(
    ("bits", "kind", "rows", "colour", "seen"),
    [
        (2, 0, [b"\x60", b"\x60"], [2], [85, 255]),  # levels 1 and 2 of 0 to 3
        (4, 0, [b"\x78", b"\x78"], [8], [119, 255]),  # levels 7 and 8 of 0 to 15
        (16, 2, [struct.pack(">6H", 0x701, 0x702, 0x703, *[0x801] * 3)] * 2, [0x801] * 3, [7, 255]),
    ],
)
def test_so_it_may_where_pillow_scales_the_pixels(
    folder: Path, spec: DataSpec, bits: int, kind: int, rows: list[bytes], colour: list[int], seen: list[int]
) -> None:
    """Colours of tRNS are as deep as the file, which a PNG may be in 2, 4 and 16 bits (PNG, section 11.3.2)."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 2, 2, bits, kind, 0, 0, 0)
    transparent = struct.pack(f">{len(colour)}H", *colour)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = (b"IHDR", header), (b"tRNS", transparent), (b"IDAT", pixels), (b"IEND", b"")
    (folder / "test/a/000.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    assert load_test(spec).images[0, 0].tolist() == [seen] * 2


def test_modes_of_printers_and_television(read_back: ReadBack) -> None:
    # (255 - C)(255 - K) / 255: no ink is white; full magenta and yellow red; half of black 127
    inks = [[(0, 0, 0, 0), (0, 255, 255, 0)], [(0, 0, 0, 128), (255, 255, 255, 255)]]
    cmyk = Image.frombytes("CMYK", (2, 2), np.array(inks, dtype=np.uint8).tobytes())
    assert read_back(cmyk, ".tif") == [[255] * 3, list(RED), [127] * 3, [0] * 3]
    # JFIF: without colour differences (128), R = G = B = Y
    levels = np.array([[(0, 128, 128), (90, 128, 128)], [(180, 128, 128), (255, 128, 128)]], dtype=np.uint8)
    ycbcr = Image.frombytes("YCbCr", (2, 2), levels.tobytes())
    assert read_back(ycbcr, ".tif") == [[0] * 3, [90] * 3, [180] * 3, [255] * 3]


def test_lab_is_lightness_as_the_eye_sees_it(read_back: ReadBack) -> None:
    """L* = 50.2 is Y = ((50.2 + 16) / 116)^3 = 0.186, in sRGB 255 (1.055 Y^(1 / 2.4) - 0.055) = 119."""
    grey = Image.new("L", (2, 2))
    grey.putdata([0, 128, 255, 255])
    middle = Image.new("L", (2, 2), 128)
    seen = np.array(read_back(Image.merge("LAB", [grey, middle, middle]), ".tif"))
    assert np.abs(seen - np.array([[0] * 3, [119] * 3, [255] * 3, [255] * 3])).max() <= 1  # littlecms rounds


def test_of_one_bit_0_is_black_and_1_white(read_back: ReadBack) -> None:
    image = Image.new("1", (2, 2))
    image.putdata([0, 255, 255, 0])
    assert read_back(image, ".png") == [[0] * 3, [255] * 3, [255] * 3, [0] * 3]


@pytest.mark.parametrize("suffix", [".gif", ".tif", ".png", ".webp"])
def test_of_several_images_in_a_file_the_first_counts(read_back: ReadBack, suffix: str) -> None:
    frames = [Image.new("RGB", (2, 2), colour) for colour in (RED, BLUE, BLUE)]
    options = {"lossless": True} if suffix == ".webp" else {}
    seen = read_back(frames[0], suffix, save_all=True, append_images=frames[1:], **options)
    assert seen == [list(RED)] * 4


@pytest.mark.parametrize("suffix", [".jfif", ".ppm", ".pbm", ".tga", ".JPG", ".ico", ".qoi"])
def test_whatever_pillow_reads_is_an_image(read_back: ReadBack, suffix: str) -> None:
    kind = {".jfif": "JPEG", ".JPG": "JPEG", ".pbm": "PPM", ".ico": "ICO"}.get(suffix)
    image = Image.new("1" if suffix == ".pbm" else "RGB", (16, 16), 255 if suffix == ".pbm" else (250, 250, 250))
    assert min(map(min, read_back(image, suffix, format=kind))) >= 249


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM", "ICO", "TGA", "JPEG2000", "AVIF"])
def test_a_damaged_file_is_read_or_refused_by_name(
    tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    whole = io.BytesIO()
    exif = Image.Exif()
    exif[274] = 6
    options = {"exif": exif} if kind in ("PNG", "JPEG", "TIFF", "WEBP") else {}
    Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(whole, kind, **options)
    refused = 0
    for attempt in range(25):
        content = np.frombuffer(whole.getvalue(), np.uint8).copy()
        reach = len(content) if attempt % 2 else min(len(content), 200)  # heads matter most
        content[random.integers(0, reach, 4)] = random.integers(0, 256, 4)
        path = tmp_path / f"{attempt}.png"
        path.write_bytes(content[: reach if attempt % 5 else reach // 2].tobytes())
        try:
            with warnings.catch_warnings(action="ignore"):
                assert read_image(str(path), 8).shape == (3, 8, 8)
        except DataError as error:
            assert str(error).startswith(f"{path} cannot be read as an image: ")  # noqa: PT017
            refused += 1
    assert refused
    assert capfd.readouterr() == ("", "")


def test_postscript_is_not_run(folder: Path, spec: DataSpec) -> None:
    (folder / "test/a/000.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 2 2\n%%EndComments\nshowpage\n"
    )
    with pytest.raises(DataError, match="cannot be read as an image: its format is not known"):
        load_test(spec)


def test_what_pillow_warns_of_is_counted_and_said_once(
    folder: Path, spec: DataSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image of more pixels than Pillow finds usual, and one with damaged EXIF data."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    Image.new("RGB", (20, 15)).save(folder / "train/a/001.png")
    Image.new("RGB", (20, 15)).save(folder / "train/a/002.png")
    Image.new("RGB", (4, 4)).save(folder / "val/b/000.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\x09\0garbage")
    told: list[str] = []
    prepare(spec, told.append)

    odd = [note for note in told if note.startswith("Pillow finds something odd")]
    assert len(odd) == 2
    assert "about 2 of 4 image files, such as " in odd[0]
    assert "train/a/001.png: Image size (300 pixels) exceeds limit" in odd[0]
    assert "about 1 of 3 image files, such as " in odd[1]
    assert "val/b/000.jpg: " in odd[1]


def test_libtiff_does_not_write_to_stderr(folder: Path, spec: DataSpec) -> None:
    path = folder / "test/a/000.tif"
    Image.new("RGB", (300, 300)).save(path, compression="tiff_lzw")
    damaged = bytearray(path.read_bytes())
    damaged[8:120] = bytes(value ^ 0xA5 for value in damaged[8:120])
    path.write_bytes(damaged)
    program = (
        "from runners.protocol import DataSpec\nfrom runners.data import load_test\n"
        "from search_space.errors import DataError\n"
        f"try:\n    load_test(DataSpec({spec.name!r}, {spec.directory!r}, image_size=2))\n"
        "except DataError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert "a/000.tif cannot be read as an image: " in done.stdout
    assert done.stderr == ""

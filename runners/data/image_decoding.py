"""Decodes one image file to a rectangle of bytes in RGB (or another of `MODES`), whatever its Pillow mode.

- Integers of more than 8 bits are scaled from their nominal range: 65,535 is white, 4,095 in a TIFF of 12 bits.
  32-bit integers have none, so only 0 to 65,535 is accepted.
- Floating point is 0 (black) to 1 (white); anything else has no known meaning and is refused.
- Transparent areas show a white background, as on paper and in most viewers, unless alpha is a channel.
- Photographs are turned upright by their EXIF orientation. Of animations and multi-page files the first image is used.
"""

from __future__ import annotations

import ctypes
import os
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile

from runners.data.base import legible
from search_space.errors import DataError
from search_space.size import Size, sides

_NOT_READ = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
"""Formats that Pillow recognises without decoding them, and EPS, for which it runs Ghostscript on the file."""
_WHITE_IS_ZERO = 0
_SIGNED = 2
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
"""TIFF tags that Pillow does not apply to images of more than 8 bits."""

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
"""Modes of decoded images by their number of channels: grey, grey and alpha, RGB, RGB and alpha (or a fourth band)."""

Pixels = np.ndarray[Any, np.dtype[Any]]


@cache
def image_formats() -> tuple[str, ...]:
    """Pillow's names for the formats that are decoded."""
    Image.init()
    return tuple(name for name in Image.OPEN if name not in _NOT_READ)


@cache
def image_suffixes() -> frozenset[str]:
    """File name suffixes of images, in lower case, with the dot."""
    formats = {*image_formats(), "MPO"}  # a JPEG that contains further images
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats)


def read_image(path: str, size: Size, channels: int = 3, state: tuple[int, int] | None = None) -> Pixels:
    """The centre of an image, resized: the largest part of these proportions.

    Args:
        path: The file.
        size: Side, or height and width, of the result in pixels.
        channels: One of `MODES`.
        state: Size and time of change (ns) that the file is known to have.

    Returns:
        (C, H, W) uint8.

    Raises:
        DataError: If the file cannot be read as an image, or has changed; the message names it.
    """
    _silence_libtiff()
    try:
        with open(path, "rb") as file, Image.open(_unchanged(file, path, state), formats=image_formats()) as image:
            _scale_transparency(image)
            image.load()
            converted = _in_mode(_upright(image), getattr(image, "tag_v2", {}), MODES[channels])
            # Pillow would weight colours by the alpha, but a fourth band may have another meaning.
            bands = converted.split() if converted.mode in ("LA", "RGBA") else (converted,)
            fitted = [ImageOps.fit(band, sides(size)[::-1], Image.Resampling.BILINEAR) for band in bands]
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"{legible(path)} cannot be read as an image: its format is not known") from error
    except MemoryError as error:
        raise DataError(f"{legible(path)} cannot be read as an image: it does not fit into memory") from error
    except Exception as error:  # decoders raise anything for a damaged file
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(f"{legible(path)} cannot be read as an image: {legible(reason)}") from error
    return np.dstack([np.asarray(band) for band in fitted]).transpose(2, 0, 1)


def _unchanged(file: BinaryIO, path: str, state: tuple[int, int] | None) -> BinaryIO:
    status = os.fstat(file.fileno())
    if state is not None and (status.st_size, status.st_mtime_ns) != state:
        raise DataError(f"{legible(path)} has changed since its folder was read; restore it, or start a new study")
    return file


def was_read_alike(path: str) -> bool:
    """Whether an earlier version read the same image: it ignored depth, transparency and orientation."""
    try:
        with Image.open(path, formats=image_formats()) as image:
            turned = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1) != 1  # without decoding a PNG
            if not (turned or image.mode.startswith("I") or image.mode in ("F", "LAB") or _may_be_transparent(image)):
                return True
            _scale_transparency(image)
            image.load()
            seen = _in_colour(_upright(image), getattr(image, "tag_v2", {}))
            return seen.size == image.size and seen.tobytes() == image.convert("RGB").tobytes()
    except Exception:  # noqa: BLE001 (what reads it next says so)
        return False


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception as error:  # noqa: BLE001 (EXIF is data within data; its parser raises whatever it meets)
        warnings.warn(f"damaged EXIF data, so its orientation is not known ({error})", stacklevel=2)
        return image


def _may_be_transparent(image: Image.Image) -> bool:
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info


def _scale_transparency(image: Image.Image) -> None:
    """Scale the transparent colour of a PNG like its pixels, which Pillow scales from 2, 4 or 16 to 8 bits."""
    colour = image.info.get("transparency")
    if isinstance(image, PngImageFile) and image.tile and colour is not None:
        raw = image.tile[0].args
        if raw in ("L;2", "L;4"):
            image.info["transparency"] = colour * {"L;2": 85, "L;4": 17}[raw]
        elif raw == "RGB;16B":
            image.info["transparency"] = tuple(value >> 8 for value in colour)


def _in_mode(image: Image.Image, tags: Mapping[int, Any], mode: str) -> Image.Image:
    """The image in one of `MODES`; an image without transparency is opaque. `tags` are TIFF tags."""
    if mode in ("LA", "RGBA") and _may_be_transparent(image) and not image.mode.startswith("I"):
        straight = image.convert("LA") if image.mode == "La" else image
        return straight.convert("RGBA").convert(mode)
    return _in_colour(image, tags).convert(mode)


def _in_colour(image: Image.Image, tags: Mapping[int, Any]) -> Image.Image:
    """The image as 8-bit RGB; `tags` are TIFF tags."""
    mode = image.mode
    if mode == "L" and tags.get(_SAMPLE_FORMAT, (1,))[0] == _SIGNED:
        raise ValueError("signed integers of 8 bits have no known meaning")
    if mode == "F" or mode.startswith("I"):
        return Image.fromarray(_grey_levels(image, tags)).convert("RGB")
    if mode == "LAB":
        return _from_lab(image)
    if _may_be_transparent(image):
        straight = image.convert("LA") if mode == "La" else image
        visible = straight.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", visible.size, "white"), visible).convert("RGB")
    return image.convert("RGB")


def _grey_levels(image: Image.Image, tags: Mapping[int, Any]) -> Pixels:
    """Levels from 0 to 255 of an image of one channel of more than 8 bits: (H, W) uint8."""
    values = np.asarray(image)
    if image.mode == "F":
        white, meaning = 1.0, "of floating point, only 0 (black) to 1 (white) has a known meaning"
    else:
        bits = tags.get(_BITS_PER_SAMPLE, (16,))[0] if image.mode.startswith("I;16") else 16
        white, meaning = 2.0**bits - 1, f"of integers, only 0 (black) to {2**bits - 1:,} (white) has a known meaning"
    least, most = values.min(), values.max()  # NaN if any is
    if not 0 <= least <= most <= white:
        raise ValueError(f"its pixels run from {least:.6g} to {most:.6g}; {meaning}")
    shares = values / white
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        shares = 1 - shares
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):  # the grey level that marks transparency
        shares = np.where(values == transparent, 1.0, shares)
    return np.rint(shares * 255).astype(np.uint8)


def _from_lab(image: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert converted is not None  # not converted in place
    return converted


@cache
def _silence_libtiff() -> None:
    """Keep libtiff from writing errors of a file to stderr: Pillow raises them, and we name the file.

    Pillow turns off libtiff's warnings but not its errors, and has no switch for them.
    """
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            path = next((line.split(maxsplit=5)[-1].strip() for line in maps if "/libtiff" in line), None)
        if path is not None:
            ctypes.CDLL(path).TIFFSetErrorHandler(None)
    except (OSError, AttributeError):  # another system, or another build of Pillow: the output is harmless
        return

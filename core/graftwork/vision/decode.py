"""The one place where bytes become pixels: any picture file as an upright RGB tensor.

Training, evaluation, prediction and the report all call `decode_rgb`, so a picture looks the same everywhere. Resizing
and augmentation do not live here.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, features
from PIL import __version__ as pillow_version
from torch import Tensor

from graftwork.data.paths import meant
from graftwork.errors import DataError
from graftwork.vision.damaged import why_unreadable
from graftwork.vision.levels import NO_RANGES, Ranges, deep_values, to_eight_bits

PIXEL_LIMIT = 178_956_970
"""Pixels; a larger picture is taken for a decompression bomb, as Pillow does (twice its MAX_IMAGE_PIXELS)."""

SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".pjpeg", ".pjp", ".mpo", ".png", ".apng", ".bmp", ".dib", ".gif",
    ".webp", ".avif", ".tif", ".tiff", ".jp2", ".j2k", ".j2c", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".tga",
})  # fmt: skip
"""File names that are taken for pictures, in lower case; whoever looks for pictures by name takes these."""

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_APP1 = b"\xff\xe1"
"""What says how a JPEG is turned, EXIF or XMP, stands in such a segment; these bytes never occur among coded pixels."""

_simplejpeg: Any = import_module("simplejpeg") if find_spec("simplejpeg") else None
"""None where there is no wheel of it yet (a new Python): Pillow gives the same pixels from JPEGs, a third slower."""


def decode_rgb(cell: Mapping[str, Any], ranges: Ranges = NO_RANGES) -> Tensor:
    """The pixels of an image cell, as people see them.

    The EXIF orientation is applied, grey becomes three equal channels, CMYK and palettes become RGB, transparency is laid
    on white, levels of more than 8 bits are scaled to 8, and of several frames or pages the first is taken.

    Args:
        cell: {"bytes": the file's content or None, "path": where the file is, or its name}.
        ranges: of the data set or the model, see `graftwork.vision.levels`; without them deep levels are scaled by a rule a
            picture.

    Returns:
        uint8 [3, height, width]; in memory the channels of a pixel stand together, as resizing likes them.

    Raises:
        DataError: the file is missing, empty, truncated, no picture, or larger than PIXEL_LIMIT pixels.
    """
    data = read_cell(cell)
    where = cell.get("path") or "an image"
    if not data:
        raise DataError(why_unreadable(data), where=where)
    pixels = _decode_jpeg(data)
    if pixels is None:
        pixels = _decode_with_pillow(data, where, ranges)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def decoders() -> dict[str, str]:
    """The libraries that pixels come from, by name, with their versions."""
    used = {"pillow": f"{pillow_version} with libjpeg {features.version('libjpeg_turbo') or features.version('jpg')}"}
    return used if _simplejpeg is None else {**used, "simplejpeg": str(_simplejpeg.__version__)}


def read_cell(cell: Mapping[str, Any] | None) -> bytes:
    """The encoded content of an image cell; None is a cell that a table or the hub has left empty.

    Raises:
        DataError: the cell has neither content nor a readable file.
    """
    if cell is None:
        raise DataError("an image cell is empty")
    if cell.get("bytes") is not None:
        return bytes(cell["bytes"])
    path = cell.get("path")
    if not path:
        raise DataError("an image cell has neither bytes nor a path")
    try:
        return Path(meant(path)).read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", where=str(path)) from None


def to_rgb(image: Image.Image) -> Image.Image:
    """A Pillow image as RGB: transparency on white, 16-bit and float values scaled to 8 bits by what this image holds."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(to_eight_bits(np.asarray(image))).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def turn_upright(image: Image.Image) -> Image.Transpose | None:
    """How to turn an image as its EXIF orientation asks; None where it is upright or its EXIF data are damaged.

    The image must have been loaded: Pillow looks for a PNG's EXIF data by loading it, and what that raises is lost here.
    """
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # Pillow's EXIF reader raises many kinds; the pixels are good all the same
        return None


def _decode_jpeg(data: bytes) -> np.ndarray | None:
    """A JPEG by libjpeg-turbo, without Pillow in between; None for every file whose treatment is left to Pillow.

    Measured on one thread: 0.73 of Pillow's time on photos of about 500 pixels a side, 0.2 on 32×32, and equal pixels on all
    files of three real data sets. It is strict: at the least sign of damage Pillow decides, and says what is wrong.
    """
    if _simplejpeg is None or data[:2] != b"\xff\xd8":
        return None
    try:
        height, width, colours, _ = _simplejpeg.decode_jpeg_header(data)
        # CMYK and YCCK: Adobe's inverted values need Pillow.
        if colours not in ("Gray", "YCbCr", "RGB") or height * width > PIXEL_LIMIT:
            return None
        pixels: np.ndarray = _simplejpeg.decode_jpeg(data, "RGB")
        if _APP1 in data:
            pixels = _upright(pixels, data)
    except (ValueError, OSError, Image.DecompressionBombError):
        return None
    return pixels


def _upright(pixels: np.ndarray, data: bytes) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data)) as image:
            turn = turn_upright(image)
    return pixels if turn is None else np.array(Image.fromarray(pixels).transpose(turn))


def _decode_with_pillow(data: bytes, where: str, ranges: Ranges = NO_RANGES) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # large pictures and odd metadata are the audit's business
            with Image.open(io.BytesIO(data)) as image:
                deep = deep_values(image, data) if ranges else None
                image.load()
                rgb = to_rgb(image if deep is None else Image.fromarray(to_eight_bits(deep, ranges)))
                turn = turn_upright(image)  # not ImageOps.exif_transpose, which writes EXIF again and may fail at that
                return np.array(rgb if turn is None else rgb.transpose(turn))
    except Image.DecompressionBombError:
        raise DataError(f"has more than {PIXEL_LIMIT:,} pixels", where=where) from None
    except Exception as error:  # a library boundary: damaged files make Pillow raise whatever its readers run into
        raise DataError(why_unreadable(data, error), where=where) from None

"""The one place where bytes become pixels: any picture file as an upright RGB tensor.

Training, evaluation, prediction and the report all call `decode_rgb`, so a picture looks the same everywhere. Resizing
and augmentation do not live here.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision import io as torchvision_io

from graftwork.errors import DataError

PIXEL_LIMIT = 178_956_970
"""Pixels; a larger picture is taken for a decompression bomb, as Pillow does (twice its MAX_IMAGE_PIXELS)."""

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
"""File names that are taken for pictures, in lower case."""

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
_NO_FRAME = frozenset({0x01, *range(0xD0, 0xD9)})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def decode_rgb(cell: Mapping[str, Any]) -> Tensor:
    """The pixels of an image cell, as people see them.

    The EXIF orientation is applied, grey becomes three equal channels, CMYK and palettes become RGB, transparency is laid
    on white, 16-bit values are scaled to 8 bits, and of an animation the first frame is taken.

    Args:
        cell: {"bytes": the file's content or None, "path": where the file is, or its name}.

    Returns:
        uint8 [3, height, width]; in memory the channels of a pixel stand together, as resizing likes them.

    Raises:
        DataError: the file is missing, empty, truncated, no picture, or larger than PIXEL_LIMIT pixels.
    """
    data = read_cell(cell)
    where = cell.get("path") or "an image"
    if not data:
        raise DataError("is empty (zero bytes)", where=where)
    fast = _decode_jpeg(data)
    return fast if fast is not None else _decode_with_pillow(data, where)


def read_cell(cell: Mapping[str, Any]) -> bytes:
    """The encoded content of an image cell.

    Raises:
        DataError: the cell has neither content nor a readable file.
    """
    if cell.get("bytes") is not None:
        return bytes(cell["bytes"])
    path = cell.get("path")
    if not path:
        raise DataError("an image cell has neither bytes nor a path")
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", where=str(path)) from None


def to_rgb(image: Image.Image) -> Image.Image:
    """A Pillow image as RGB: transparency on white, 16-bit and float values scaled to 8 bits."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_to_eight_bits(np.asarray(image))).convert("RGB")
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


def jpeg_frame(data: bytes) -> tuple[int, int, int] | None:
    """Width, height (pixels) and number of colour components in a JPEG's frame header; None when there is none."""
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _NO_FRAME:
            at += 2
        elif marker in _FRAMES:
            height, width, components = struct.unpack_from(">HHB", data, at + 5)
            return width, height, components
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None


def _decode_jpeg(data: bytes) -> Tensor | None:
    """A JPEG by torchvision; None for every file whose treatment is left to Pillow.

    Measured on 400×533 JPEGs, one thread: 0.45 ms an image against Pillow's 0.67 ms, with equal pixels. Only JPEGs: a
    damaged PNG makes torchvision's decoder (0.29) write out of bounds and kills the process. torchvision announces that
    its decoders will go one day, hence looked up by name: without them, Pillow does it all.
    """
    decode = getattr(torchvision_io, "decode_jpeg", None)
    if decode is None or data[:2] != b"\xff\xd8":
        return None
    frame = jpeg_frame(data)
    # Four components are CMYK or YCCK, for which Adobe's inverted values need Pillow.
    if frame is None or frame[2] not in (1, 3) or frame[0] * frame[1] > PIXEL_LIMIT:
        return None
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    try:
        pixels: Tensor = decode(encoded, "RGB", apply_exif_orientation=True)
        return pixels
    except RuntimeError:
        return None  # Pillow either copes, or says what is wrong


def _decode_with_pillow(data: bytes, where: str) -> Tensor:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # large pictures and odd metadata are the audit's business
            with Image.open(io.BytesIO(data)) as image:
                image.load()
                rgb = to_rgb(image)
                turn = turn_upright(image)  # not ImageOps.exif_transpose, which writes EXIF again and may fail at that
                pixels = np.array(rgb if turn is None else rgb.transpose(turn))
    except Image.DecompressionBombError:
        raise DataError(f"has more than {PIXEL_LIMIT:,} pixels", where=where) from None
    except UnidentifiedImageError:
        raise DataError("is no picture that can be read", where=where) from None
    except Exception as error:  # a library boundary: damaged files make Pillow raise whatever its readers run into
        raise DataError(f"cannot be decoded ({error})", where=where) from None
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _to_eight_bits(values: np.ndarray) -> np.ndarray:
    """Grey values of 16 bits, 32 bits or floats as uint8; floats in 0..1 and integers up to 65,535 are scaled."""
    top = float(values.max(initial=0))
    if values.dtype.kind == "f":
        scaled = values * 255.0 if top <= 1.0 else values
    else:
        scaled = values / 257.0 if values.dtype == np.uint16 or top > 255 else values
    return np.clip(np.rint(np.nan_to_num(scaled)), 0, 255).astype(np.uint8)

"""A mask file's values or colours. A file that is no mask of the wanted kind is refused with a finding's code."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from graftwork.errors import DataError
from graftwork.vision.damaged import reason_of, why_unreadable
from graftwork.vision.decode import PIXEL_LIMIT
from graftwork_segmentation.labelmap import LARGEST_VALUE
from graftwork_segmentation.lookup import Form

_PNG = b"\x89PNG\r\n\x1a\n"
_TINT = 8.0  # levels between the channels of a pixel, in the mean
_SPREAD = {2: 85, 4: 17}
"""By bits: Pillow spreads grey PNG of 2 and 4 bits over 0..255, which would turn class 3 into 255 or 51."""


def mask_values(data: bytes, form: Form) -> NDArray[Any]:
    """The values, or colours, of an encoded mask, [height, width].

    Raises:
        DataError: it cannot be read, or not in this form.
    """
    try:
        return decode_codes(data, form).codes
    except Refused as refused:
        raise DataError(refused.reason) from None


class Refused(Exception):
    """A file that is no mask of the wanted kind."""

    def __init__(self, problem: str, reason: str) -> None:
        super().__init__(reason)
        self.problem = problem
        self.reason = reason
        self.opacity = 0


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded mask.

    Args:
        codes: values [height, width], uint32 where they are colours.
        trait, palette, opacity: as in MaskLook; the palette is whole.
    """

    codes: NDArray[Any]
    trait: str = ""
    palette: Mapping[int, int] = field(default_factory=dict)
    opacity: int = 0


def decode_codes(data: bytes, form: Form) -> Decoded:
    if not data:
        raise Refused("unreadable-mask", "is empty (zero bytes)")
    opacity = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # large pictures and odd metadata are no fault of a mask
            with Image.open(io.BytesIO(data)) as image:
                if image.width * image.height > PIXEL_LIMIT:
                    raise Image.DecompressionBombError
                kind = _lossy_kind(image, data)
                if kind and not form.lossy:
                    raise Refused("jpeg-mask", f"is a {kind}, which changes the values of a mask")
                image.load()
                opacity = _opacity(image)
                if form.alpha:
                    if not opacity:
                        raise Refused(
                            "mask-of-other-kind", "has no alpha channel, which shows in others what they mean"
                        )
                    return Decoded(np.asarray(image.getchannel("A")), opacity=opacity)
                return replace(_values(_without_tint(image) if kind else image, data, form), opacity=opacity)
    except Refused as refused:
        refused.opacity = opacity
        raise
    except Image.DecompressionBombError:
        raise Refused("unreadable-mask", f"has more than {PIXEL_LIMIT:,} pixels") from None
    except UnidentifiedImageError:
        raise Refused("unreadable-mask", why_unreadable(data)) from None
    except Exception as error:  # a library boundary: damaged files make Pillow raise whatever its readers run into
        raise Refused("unreadable-mask", reason_of(error)) from None


def _opacity(image: Image.Image) -> int:
    """How many levels the alpha channel has; 0 where there is none."""
    if "A" not in image.getbands():
        return 0
    return sum(count > 0 for count in image.getchannel("A").histogram())


def _lossy_kind(image: Image.Image, data: bytes) -> str:
    """What the file is called where its format changes values; empty where it keeps them."""
    if image.format in ("JPEG", "MPO"):
        return "JPEG"
    if image.format == "WEBP":
        return "lossy WebP" if b"VP8 " in data[12:64] else ""
    if image.format == "TIFF":
        return "TIFF with JPEG inside" if image.info.get("compression") in ("jpeg", "tiff_jpeg", "webp") else ""
    return "AVIF" if image.format == "AVIF" else ""


def _without_tint(image: Image.Image) -> Image.Image:
    """Grey, where a lossy file has colours by its losses alone."""
    if image.mode != "RGB":
        return image
    pixels = np.asarray(image).astype(np.int16)
    tint = np.ptp(pixels, axis=2)
    return image.convert("L") if float(tint.mean()) < _TINT else image


def _values(image: Image.Image, data: bytes, form: Form) -> Decoded:
    mode = image.mode
    if mode.startswith("F"):
        return Decoded(_whole_numbers(image))
    single = mode in ("1", "L", "P", "LA", "La", "PA") or mode.startswith("I")
    by_palette = mode in ("P", "PA") and form.palette
    if single and not form.by_colour and not by_palette:
        plain = image.getchannel(0) if len(image.getbands()) > 1 else image
        values = np.asarray(plain)
        if mode == "1":
            return Decoded(values.astype(np.uint8))
        spread = _SPREAD.get(data[24]) if mode == "L" and data.startswith(_PNG) and data[25] == 0 else None
        return Decoded(values if spread is None else values // spread, palette=_palette(image))
    if mode.startswith("I"):
        raise Refused("mask-of-other-kind", "is grey with 16 bits or more, and the label map has colours")
    # Never RGBA onto white: a transparent pixel's colour is its label all the same.
    packed = np.frombuffer(image.convert("RGB").tobytes("raw", "BGRX"), dtype="<u4")
    codes = packed.reshape(image.height, image.width) & 0xFFFFFF
    if not form.by_colour and bool((codes >> 8 == codes & 0xFFFF).all()):  # red and green equal green and blue
        return Decoded((codes & 0xFF).astype(np.uint8), "" if by_palette else "grey-as-rgb")
    if form.by_colour is False:
        raise Refused("mask-of-other-kind", "is in colour, and the label map has values")
    return Decoded(codes, "palette-by-colour" if mode in ("P", "PA") else "")


def _whole_numbers(image: Image.Image) -> NDArray[Any]:
    """The values of a mask that was saved as floating-point numbers, where all of them are whole."""
    values = np.asarray(image)
    if not np.isfinite(values).all() or (values < 0).any() or (values > LARGEST_VALUE).any() or (values % 1).any():
        raise Refused("unreadable-mask", "holds floating-point numbers that are not whole, or not 0 to 65,535")
    return values.astype(np.uint16)


def _palette(image: Image.Image) -> Mapping[int, int]:
    """Colours by index, where there is a palette."""
    levels = image.getpalette("RGB") if image.mode in ("P", "PA") else None
    if not levels:
        return {}
    return {at // 3: levels[at] << 16 | levels[at + 1] << 8 | levels[at + 2] for at in range(0, len(levels) - 2, 3)}


def runs_of(codes: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where stretches of one value start in the flattened mask, and how long they are.

    Masks are made of them: what is looked up or sorted is some thousand runs, not all pixels.
    """
    flat = codes.reshape(-1)
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    return starts, np.diff(np.append(starts, flat.size))

"""The one place where a mask file becomes class indices. What is wrong with masks is said by `audit`.

A mask's numbers are data, not a picture: no colour conversion, scaling or EXIF orientation may touch them.
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from graftwork.data.arrow import column_of, distinct_values
from graftwork.data.columns import add_column
from graftwork.errors import DataError
from graftwork.vision.damaged import reason_of, why_unreadable
from graftwork.vision.decode import PIXEL_LIMIT, read_cell
from graftwork_segmentation.labelmap import LARGEST_VALUE, SETTINGS, VOID, to_json
from graftwork_segmentation.lookup import Form, key_of_code, lookup

if TYPE_CHECKING:
    from datasets import Dataset

CLASS_PIXELS = "class_pixels"
"""A column that the audit adds: pixels of every class in each mask, so that no mask is decoded again for it."""

_PNG = b"\x89PNG\r\n\x1a\n"
_TINT = 8.0  # levels between the channels of a pixel, in the mean
_SPREAD = {2: 85, 4: 17}
"""By bits: Pillow spreads grey PNG of 2 and 4 bits over 0..255, which would turn class 3 into 255 or 51."""


@dataclass(frozen=True, slots=True)
class MaskLook:
    """What one look at a mask showed.

    Args:
        problem: why it cannot be used: `missing-mask-file`, `unreadable-mask`, `jpeg-mask`, `mask-of-other-kind`; None
            where it can.
        reason: in words.
        content: hex digest of the encoded file, 32 digits.
        width, height: pixels.
        by_colour: whether the values are colours (red · 65,536 + green · 256 + blue).
        values, counts, runs: the distinct values, ascending, their pixels, and in how many stretches
            these stand, along rows or columns of pixels, whichever are more.
        palette: the colour of every value of a mask with a palette.
        opacity: how many levels the alpha channel has; 0 where there is none.
        trait: `grey-as-rgb` (three equal channels, read as values), `palette-by-colour`, or empty.
    """

    problem: str | None = None
    reason: str = ""
    content: str = ""
    width: int = 0
    height: int = 0
    by_colour: bool = False
    values: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    counts: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    runs: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    palette: Mapping[int, int] = field(default_factory=dict)
    trait: str = ""
    opacity: int = 0


def decode_mask(
    cell: Mapping[str, Any], mask_map: str, strict: bool = False, shape: Sequence[int] | None = None
) -> Tensor:
    """A mask's class indices.

    Where the map has values, a palette's indices and a grey mask's numbers are the values; where it has colours, a
    palette's colours count.

    Args:
        cell: {"bytes": the file's content or None, "path": where the file is, or its name}.
        mask_map: JSON; value (`7`) or colour (`#804080`) to class index, 255 for what is not scored.
        strict: whether a value that the map does not have is an error; else it is not scored.
        shape: the picture's height and width; a mask of another size is brought to it where the map says so.

    Returns:
        uint8 [height, width].

    Raises:
        DataError: the file is missing, damaged, a JPEG, of the other kind than the map, or, if strict, has other values.
    """
    table = lookup(mask_map)
    where = cell.get("path") or "a mask"
    try:
        codes = _codes(read_cell(cell), table.form).codes
    except _Refused as refused:
        raise DataError(refused.reason, where=where) from None
    starts, lengths = _runs(codes)
    values = codes.reshape(-1)[starts]
    indices, known = table(values)
    if strict and not known.all():
        stranger = key_of_code(int(values[~known][0]), table.by_colour)
        raise DataError(f"has the value {stranger}, which is not in the label map", where=where)
    mask = torch.from_numpy(np.repeat(indices, lengths).reshape(codes.shape))
    if not table.scale or shape is None or tuple(mask.shape) == tuple(shape):
        return mask
    return torch.nn.functional.interpolate(mask[None, None], tuple(shape), mode="nearest-exact")[0, 0]


def mask_values(data: bytes, form: Form) -> NDArray[Any]:
    """The values, or colours, of an encoded mask, [height, width].

    Raises:
        DataError: it cannot be read, or not in this form.
    """
    try:
        return _codes(data, form).codes
    except _Refused as refused:
        raise DataError(refused.reason) from None


def look_at_mask(cell: Mapping[str, Any], form: Form) -> MaskLook:
    """Decode a mask and count its values. Never raises for bad content.

    Args:
        cell: as for `decode_mask`.
        form: how it is read.
    """
    try:
        data = read_cell(cell)
    except DataError as error:
        return MaskLook("missing-mask-file", error.what)
    content = hashlib.sha256(data).hexdigest()[:32]
    try:
        read = _codes(data, form)
    except _Refused as refused:
        return MaskLook(refused.problem, refused.reason, content, opacity=refused.opacity)
    codes = read.codes
    starts, lengths = _runs(codes)
    values, places = np.unique(codes.reshape(-1)[starts], return_inverse=True)
    counts = np.bincount(places, lengths, len(values)).astype(np.int64)
    down = np.concatenate(
        [codes[0], codes[1:][codes[1:] != codes[:-1]]]
    )  # where a stretch starts in a column of pixels
    stretches = np.bincount(np.searchsorted(values, down), minlength=len(values))
    runs = np.maximum(np.bincount(places, minlength=len(values)), stretches).astype(np.int64)
    height, width = codes.shape
    used = {value: read.palette[value] for value in values.tolist() if value in read.palette}
    colours = codes.dtype == np.uint32
    values = values.astype(np.int64)
    return MaskLook(None, "", content, width, height, colours, values, counts, runs, used, read.trait, read.opacity)


def remap(rows: Dataset, names: Sequence[str], classes: Sequence[str]) -> Dataset:
    """The rows with `mask_map` in the numbering of a model that is trained already; classes are matched by name.

    Args:
        rows: of the data.
        names: the data's class names by index.
        classes: the model's.

    Raises:
        DataError: the data has classes that the model does not know.
    """
    index = {name: number for number, name in enumerate(classes)}
    strangers = [name for name in names if name not in index]
    if strangers:
        known = ", ".join(classes[:12]) + (", …" if len(classes) > 12 else "")
        hint = f"It knows {known}; say with merge: or ignore: in labels.yaml what the others are"
        raise DataError(f"has classes that the model does not know: {', '.join(strangers[:12])}", hint=hint)
    texts, places = distinct_values(column_of(rows, "mask_map"))
    renumbered = []
    for text in texts:
        old: dict[str, int] = json.loads(text)
        renumbered.append(
            to_json({key: n if key in SETTINGS or n == VOID else index[names[n]] for key, n in old.items()})
        )
    kept = rows.remove_columns(CLASS_PIXELS) if CLASS_PIXELS in rows.column_names else rows
    return add_column(kept, "mask_map", [renumbered[place] for place in places.tolist()])


class _Refused(Exception):
    """A file that is no mask of the wanted kind."""

    def __init__(self, problem: str, reason: str) -> None:
        super().__init__(reason)
        self.problem = problem
        self.reason = reason
        self.opacity = 0


@dataclass(frozen=True, slots=True)
class _Read:
    """A decoded mask.

    Args:
        codes: values [height, width], uint32 where they are colours.
        trait, palette, opacity: as in MaskLook; the palette is whole.
    """

    codes: NDArray[Any]
    trait: str = ""
    palette: Mapping[int, int] = field(default_factory=dict)
    opacity: int = 0


def _codes(data: bytes, form: Form) -> _Read:
    if not data:
        raise _Refused("unreadable-mask", "is empty (zero bytes)")
    opacity = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # large pictures and odd metadata are no fault of a mask
            with Image.open(io.BytesIO(data)) as image:
                if image.width * image.height > PIXEL_LIMIT:
                    raise Image.DecompressionBombError
                kind = _lossy_kind(image, data)
                if kind and not form.lossy:
                    raise _Refused("jpeg-mask", f"is a {kind}, which changes the values of a mask")
                image.load()
                opacity = _opacity(image)
                if form.alpha:
                    if not opacity:
                        raise _Refused(
                            "mask-of-other-kind", "has no alpha channel, which shows in others what they mean"
                        )
                    return _Read(np.asarray(image.getchannel("A")), opacity=opacity)
                return replace(_values(_without_tint(image) if kind else image, data, form), opacity=opacity)
    except _Refused as refused:
        refused.opacity = opacity
        raise
    except Image.DecompressionBombError:
        raise _Refused("unreadable-mask", f"has more than {PIXEL_LIMIT:,} pixels") from None
    except UnidentifiedImageError:
        raise _Refused("unreadable-mask", why_unreadable(data)) from None
    except Exception as error:  # a library boundary: damaged files make Pillow raise whatever its readers run into
        raise _Refused("unreadable-mask", reason_of(error)) from None


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


def _values(image: Image.Image, data: bytes, form: Form) -> _Read:
    mode = image.mode
    if mode.startswith("F"):
        return _Read(_whole_numbers(image))
    single = mode in ("1", "L", "P", "LA", "La", "PA") or mode.startswith("I")
    by_palette = mode in ("P", "PA") and form.palette
    if single and not form.by_colour and not by_palette:
        plain = image.getchannel(0) if len(image.getbands()) > 1 else image
        values = np.asarray(plain)
        if mode == "1":
            return _Read(values.astype(np.uint8))
        spread = _SPREAD.get(data[24]) if mode == "L" and data.startswith(_PNG) and data[25] == 0 else None
        return _Read(values if spread is None else values // spread, palette=_palette(image))
    if mode.startswith("I"):
        raise _Refused("mask-of-other-kind", "is grey with 16 bits or more, and the label map has colours")
    # Never RGBA onto white: a transparent pixel's colour is its label all the same.
    packed = np.frombuffer(image.convert("RGB").tobytes("raw", "BGRX"), dtype="<u4")
    codes = packed.reshape(image.height, image.width) & 0xFFFFFF
    if not form.by_colour and bool((codes >> 8 == codes & 0xFFFF).all()):  # red and green equal green and blue
        return _Read((codes & 0xFF).astype(np.uint8), "" if by_palette else "grey-as-rgb")
    if form.by_colour is False:
        raise _Refused("mask-of-other-kind", "is in colour, and the label map has values")
    return _Read(codes, "palette-by-colour" if mode in ("P", "PA") else "")


def _whole_numbers(image: Image.Image) -> NDArray[Any]:
    """The values of a mask that was saved as floating-point numbers, where all of them are whole."""
    values = np.asarray(image)
    if not np.isfinite(values).all() or (values < 0).any() or (values > LARGEST_VALUE).any() or (values % 1).any():
        raise _Refused("unreadable-mask", "holds floating-point numbers that are not whole, or not 0 to 65,535")
    return values.astype(np.uint16)


def _palette(image: Image.Image) -> Mapping[int, int]:
    """Colours by index, where there is a palette."""
    levels = image.getpalette("RGB") if image.mode in ("P", "PA") else None
    if not levels:
        return {}
    return {at // 3: levels[at] << 16 | levels[at + 1] << 8 | levels[at + 2] for at in range(0, len(levels) - 2, 3)}


def _runs(codes: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where stretches of one value start in the flattened mask, and how long they are.

    Masks are made of them: what is looked up or sorted is some thousand runs, not all pixels.
    """
    flat = codes.reshape(-1)
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    return starts, np.diff(np.append(starts, flat.size))

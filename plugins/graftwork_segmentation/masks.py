"""The one place where a mask file becomes class indices. What is wrong with masks is said by `audit`.

A mask's numbers are data, not a picture: no colour conversion, scaling or EXIF orientation may touch them.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from graftwork.data.arrow import column_of, distinct_values
from graftwork.data.columns import add_column
from graftwork.errors import DataError
from graftwork.vision.decode import PIXEL_LIMIT, read_cell
from graftwork_segmentation.labelmap import REST, VOID, to_json

if TYPE_CHECKING:
    from datasets import Dataset

CLASS_PIXELS = "class_pixels"
"""A column that the audit adds: pixels of every class in each mask, so that no mask is decoded again for it."""

_PNG = b"\x89PNG\r\n\x1a\n"
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
        values, counts: the distinct values, ascending, and their pixels.
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
    trait: str = ""


@dataclass(frozen=True)
class Lookup:
    """A mask map, ready to use.

    Args:
        by_colour: whether its keys are colours.
        codes: its values or colours as numbers, ascending, int64.
        indices: their class indices, uint8.
        rest: the class index of what is not listed; None where that is unknown.
    """

    by_colour: bool
    codes: NDArray[np.int64]
    indices: NDArray[np.uint8]
    rest: int | None

    def __call__(self, values: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Class indices of values, and whether each is known; unknown ones become VOID."""
        rest = np.uint8(VOID if self.rest is None else self.rest)
        if not len(self.codes):
            return np.full(values.shape, rest), np.full(values.shape, self.rest is not None)
        places = np.minimum(np.searchsorted(self.codes, values), len(self.codes) - 1)
        listed = self.codes[places] == values
        indices = np.where(listed, self.indices[places], rest)
        return indices, listed | (self.rest is not None)


@functools.lru_cache(maxsize=64)
def lookup(mask_map: str) -> Lookup:
    """The column `mask_map` as a Lookup; a table has one such text for all rows, or few."""
    given: dict[str, int] = json.loads(mask_map)
    rest = given.pop(REST, None)
    codes = {code_of(key): index for key, index in given.items()}
    ordered = sorted(codes)
    indices = np.array([codes[code] for code in ordered], dtype=np.uint8)
    by_colour = any(key.startswith("#") for key in given)
    return Lookup(by_colour, np.array(ordered, dtype=np.int64), indices, rest)


def code_of(key: str) -> int:
    """The number of a mask map's key: `7` is 7, `#000102` is 258."""
    return int(key[1:], 16) if key.startswith("#") else int(key)


def key_of_code(code: int, by_colour: bool) -> str:
    """The mask map's key of a number; the reverse of `code_of`."""
    return f"#{code:06x}" if by_colour else str(code)


def decode_mask(cell: Mapping[str, Any], mask_map: str, strict: bool = False) -> Tensor:
    """A mask's class indices.

    Where the map has values, a palette's indices and a grey mask's numbers are the values; where it has colours, a
    palette's colours count.

    Args:
        cell: {"bytes": the file's content or None, "path": where the file is, or its name}.
        mask_map: JSON; value (`7`) or colour (`#804080`) to class index, 255 for what is not scored.
        strict: whether a value that the map does not have is an error; else it is not scored.

    Returns:
        uint8 [height, width].

    Raises:
        DataError: the file is missing, damaged, a JPEG, of the other kind than the map, or, if strict, has other values.
    """
    table = lookup(mask_map)
    where = cell.get("path") or "a mask"
    try:
        codes, _ = _codes(read_cell(cell), table.by_colour)
    except _Refused as refused:
        raise DataError(refused.reason, where=where) from None
    starts, lengths = _runs(codes)
    values = codes.reshape(-1)[starts]
    indices, known = table(values)
    if strict and not known.all():
        stranger = key_of_code(int(values[~known][0]), table.by_colour)
        raise DataError(f"has the value {stranger}, which is not in the label map", where=where)
    return torch.from_numpy(np.repeat(indices, lengths).reshape(codes.shape))


def look_at_mask(cell: Mapping[str, Any], by_colour: bool | None) -> MaskLook:
    """Decode a mask and count its values. Never raises for bad content.

    Args:
        cell: as for `decode_mask`.
        by_colour: whether the label map has colours; None where there is no map: what the file has.
    """
    try:
        data = read_cell(cell)
    except DataError as error:
        return MaskLook("missing-mask-file", error.what)
    content = hashlib.sha256(data).hexdigest()[:32]
    try:
        codes, trait = _codes(data, by_colour)
    except _Refused as refused:
        return MaskLook(refused.problem, refused.reason, content)
    starts, lengths = _runs(codes)
    values, places = np.unique(codes.reshape(-1)[starts], return_inverse=True)
    counts = np.bincount(places, lengths, len(values)).astype(np.int64)
    height, width = codes.shape
    colours = codes.dtype == np.uint32
    return MaskLook(None, "", content, width, height, colours, values.astype(np.int64), counts, trait)


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
        renumbered.append(to_json({key: n if n == VOID else index[names[n]] for key, n in old.items()}))
    kept = rows.remove_columns(CLASS_PIXELS) if CLASS_PIXELS in rows.column_names else rows
    return add_column(kept, "mask_map", [renumbered[place] for place in places.tolist()])


class _Refused(Exception):
    """A file that is no mask of the wanted kind."""

    def __init__(self, problem: str, reason: str) -> None:
        super().__init__(reason)
        self.problem = problem
        self.reason = reason


def _codes(data: bytes, by_colour: bool | None) -> tuple[NDArray[Any], str]:
    """Values [height, width] (uint32 where they are colours), and the look's trait."""
    if not data:
        raise _Refused("unreadable-mask", "is empty (zero bytes)")
    if data.startswith(b"\xff\xd8"):
        raise _Refused("jpeg-mask", "is a JPEG, which changes the values of a mask")
    if data.startswith(b"RIFF") and data[12:16] == b"VP8 ":
        raise _Refused("jpeg-mask", "is a lossy WebP, which changes the values of a mask")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # large pictures and odd metadata are no fault of a mask
            with Image.open(io.BytesIO(data)) as image:
                if image.width * image.height > PIXEL_LIMIT:
                    raise Image.DecompressionBombError
                image.load()
                return _values(image, data, by_colour)
    except _Refused:
        raise
    except Image.DecompressionBombError:
        raise _Refused("unreadable-mask", f"has more than {PIXEL_LIMIT:,} pixels") from None
    except UnidentifiedImageError:
        raise _Refused("unreadable-mask", "is no picture that can be read") from None
    except Exception as error:  # a library boundary: damaged files make Pillow raise whatever its readers run into
        raise _Refused("unreadable-mask", f"cannot be decoded ({error})") from None


def _values(image: Image.Image, data: bytes, by_colour: bool | None) -> tuple[NDArray[Any], str]:
    mode = image.mode
    if mode.startswith("F"):
        raise _Refused("unreadable-mask", "holds floating-point numbers")
    single = mode in ("1", "L", "P", "LA", "La", "PA") or mode.startswith("I")
    if single and not by_colour:
        plain = image.getchannel(0) if len(image.getbands()) > 1 else image
        values = np.asarray(plain)
        if mode == "1":
            return values.astype(np.uint8), ""
        spread = _SPREAD.get(data[24]) if mode == "L" and data.startswith(_PNG) and data[25] == 0 else None
        return values if spread is None else values // spread, ""
    if mode.startswith("I"):
        raise _Refused("mask-of-other-kind", "is grey with 16 bits or more, and the label map has colours")
    # Never RGBA onto white: a transparent pixel's colour is its label all the same.
    packed = np.frombuffer(image.convert("RGB").tobytes("raw", "BGRX"), dtype="<u4")
    codes = packed.reshape(image.height, image.width) & 0xFFFFFF
    if not by_colour and bool((codes >> 8 == codes & 0xFFFF).all()):  # red and green equal green and blue
        return (codes & 0xFF).astype(np.uint8), "grey-as-rgb"
    if by_colour is False:
        raise _Refused("mask-of-other-kind", "is in colour, and the label map has values")
    return codes, "palette-by-colour" if mode in ("P", "PA") else ""


def _runs(codes: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where stretches of one value start in the flattened mask, and how long they are.

    Masks are made of them: what is looked up or sorted is some thousand runs, not all pixels.
    """
    flat = codes.reshape(-1)
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    return starts, np.diff(np.append(starts, flat.size))

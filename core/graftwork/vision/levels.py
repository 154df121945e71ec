"""How levels of more than 8 bits a channel become 8 bits: by one range for a whole data set.

The audit finds the range from the training split, a model keeps it among its facts, and whoever decodes is given it. A
model without it was trained on pictures of 8 bits, or before there was such a range: each picture is then scaled by a rule
of its own, as it was then.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from graftwork.errors import UsageError

if TYPE_CHECKING:
    from datasets import Dataset

FACT = "pixel_range"
"""The name of the fact: {"integer": [0, 4095], "float": [0.0, 1.0]}, those kinds of values that the training pictures have."""

KIND, LOW, HIGH = "pixel_kind", "pixel_low", "pixel_high"
"""Columns that the audit adds where a data set has such pictures: `integer` or `float` (None for 8 bits), and the spread."""

Ranges = Mapping[str, tuple[float, float]]
"""The values that become 0 and 255, by kind of values."""

NO_RANGES: Ranges = {}

_NATURAL = (255, 1023, 4095, 16383, 65535)
"""The largest values of 8, 10, 12, 14 and 16 bits."""

_STRAY = 10_000
"""One pixel, and one more in so many, is left aside at either end: hot and dead pixels do not stretch the range."""

_NO_DATA = 1e30
"""Floats beyond it (the largest float, often) stand for no value."""

_MARKS = (-9999.0, -99999.0, -32767.0, -32768.0)
"""Levels that stand for no value where all others lie above a tenth of them."""

_MARKED = np.iinfo(np.int64).min
"""A whole number that no file holds: put where a picture's own mark for no value stands."""

_NO_DATA_TAG = 42113
"""Of TIFF, GDAL's: the level that stands for no value, as text."""

FEW = 16
"""Of 256 levels; a picture with fewer left shows next to nothing."""


def depth_of(image: Image.Image) -> str | None:
    """`integer` or `float` where an image that is opened and not loaded yet has more than 8 bits a channel, else None."""
    if image.mode.startswith("I"):
        return "integer"
    if image.mode.startswith("F"):
        return "float"
    return "integer" if _turned(image) else None


def deep_values(image: Image.Image, data: bytes) -> NDArray[Any] | None:
    """All that a picture's levels hold, [h, w] or [h, w, channels]; None where it has 8 bits a channel.

    Of colours of 16 bits Pillow keeps the upper byte. Read a second time with the bytes taken in the other order, it keeps
    the lower one.

    Args:
        image: opened, not loaded yet; it is loaded.
        data: the file's content.
    """
    values: NDArray[Any]
    if image.mode.startswith(("I", "F")):
        return _without_marked(np.asarray(image), _mark_of(image))
    turned = _turned(image)
    if not turned:
        return None
    upper = np.asarray(image).astype(np.uint16)
    with Image.open(io.BytesIO(data)) as other:
        other.tile = turned
        values = upper * 256 + np.asarray(other)
    return _without_marked(values, _mark_of(image))


def gaps_of(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which levels stand for no value: NaN and infinity, floats without measure, -9999 and the like far below all others."""
    floats = values.dtype.kind == "f"
    gaps: NDArray[np.bool_] = ~(np.abs(values) < _NO_DATA) if floats else values == _MARKED
    for mark in _MARKS if values.dtype.kind in "fi" else ():
        found = values == mark
        if found.any() and (rest := values[~(gaps | found)]).size and float(rest.min()) > mark / 10:
            gaps |= found
    return gaps


def spread(values: NDArray[Any]) -> tuple[float, float]:
    """The least and the greatest level but for stray pixels; transparency is not looked at. NaN where no pixel has a value."""
    flat = (values[..., :3] if values.ndim == 3 else values).reshape(-1)
    flat = flat[~gaps_of(flat)]
    if not len(flat):
        return math.nan, math.nan
    channels = 1 if values.ndim == 2 else 3
    aside = channels * (1 + len(flat) // channels // _STRAY)
    if len(flat) <= 2 * aside:
        return float(flat.min()), float(flat.max())
    ends = np.partition(flat, (aside, len(flat) - 1 - aside))
    return float(ends[aside]), float(ends[-1 - aside])


def to_eight_bits(values: NDArray[Any], ranges: Ranges = NO_RANGES) -> NDArray[np.uint8]:
    """Levels as uint8: by the range of their kind; without one, as this picture alone suggests.

    What has no value becomes 0.

    Without a range floats in 0..1 and integers up to 65,535 are scaled, and other values are cut at 0 and 255.
    """
    kind = "float" if values.dtype.kind == "f" else "integer"
    if kind in ranges:
        low, high = ranges[kind]
        levels = values.astype(np.float64)
        scaled = (np.where(np.abs(levels) < _NO_DATA, levels, low) - low) * (255.0 / (high - low))
    elif values.dtype.kind == "f":
        scaled = values * 255.0 if float(np.nan_to_num(values).max(initial=0)) <= 1.0 else values
    else:
        deep = values.dtype == np.uint16 or float(values.max(initial=0)) > 255
        scaled = values / 257.0 if deep else values
    return np.clip(np.rint(np.nan_to_num(scaled)), 0, 255).astype(np.uint8)


def levels_left(low: float, high: float, ends: tuple[float, float]) -> float:
    """How many of 256 levels a picture with this spread keeps."""
    if math.isnan(low):
        return 0.0
    inside = min(high, ends[1]) - max(low, ends[0])
    return max(0.0, inside) * 255 / (ends[1] - ends[0]) + 1


def range_fact(rows: Dataset | None) -> dict[str, Any]:
    """The fact `pixel_range` of training rows that the audit has seen; {} where all of them have 8 bits a channel."""
    if rows is None or KIND not in rows.column_names:
        return {}
    kinds = np.asarray(rows[KIND][:], dtype=object)
    low, high = (np.asarray(rows[name][:], dtype=np.float64) for name in (LOW, HIGH))
    found = {}
    for kind in ("integer", "float"):
        of_kind = (kinds == kind) & np.isfinite(low)
        if of_kind.any():
            found[kind] = list(_range_of(float(low[of_kind].min()), float(high[of_kind].max()), kind == "float"))
    return {FACT: found} if found else {}


def _range_of(low: float, high: float, floats: bool) -> tuple[float, float]:
    """The range that usual files of these values have, where the data fill half of it; else what the data fill.

    So whole 12 or 16 bits, and floats in 0..1, mean the same whichever pictures are in the training split.
    """
    for top in (1, *_NATURAL) if floats else _NATURAL:
        if low >= 0 and high <= top and (high - low >= top / 2 or high == low):
            return 0.0, float(top)
    return (low, high) if high > low else (low, low + 1)


def ranges_of(facts: Mapping[str, Any]) -> Ranges:
    """The ranges of a model, or of data, from its facts.

    Raises:
        UsageError: they are not two ascending numbers a kind.
    """
    found = facts.get(FACT)
    if found is None:
        return NO_RANGES
    try:
        ranges = {str(kind): (float(ends[0]), float(ends[1])) for kind, ends in found.items()}
        sound = all(math.isfinite(low) and math.isfinite(high) and low < high for low, high in ranges.values())
    except (AttributeError, TypeError, ValueError, IndexError, KeyError):
        sound = False
    if not sound:
        raise UsageError(f"its fact {FACT} is not two ascending numbers for a kind of values")
    return ranges


def in_words(ranges: Ranges) -> str:
    """Ranges for people and for the names of what is kept: `integers 0 to 4095`."""
    return ", ".join(f"{kind}s {low:.7g} to {high:.7g}" for kind, (low, high) in sorted(ranges.items()))


def _without_marked(values: NDArray[Any], mark: float | None) -> NDArray[Any]:
    """Levels in which those that the file itself calls no value are none; of colours, where all three are."""
    if mark is None:
        return values
    if values.dtype.kind == "f":
        return np.where(values == np.float32(mark), np.float32("nan"), values)
    marked = values == mark if values.ndim == 2 else (values[..., :3] == mark).all(axis=-1)
    if not marked.any():
        return values
    whole = values.astype(np.int64)
    (whole if values.ndim == 2 else whole[..., :3])[marked] = _MARKED
    return whole


def _mark_of(image: Image.Image) -> float | None:
    """The level that stands for no value, as a TIFF says it."""
    try:
        return float(str(getattr(image, "tag_v2", {}).get(_NO_DATA_TAG, "")).strip(" \0"))
    except (TypeError, ValueError):
        return None


def _turned(image: Image.Image) -> list[Any]:
    """The tiles of a colour image of 16 bits, with its bytes in the other order; [] for other images."""
    if image.mode not in ("RGB", "RGBA"):
        return []
    turned = []
    for tile in getattr(image, "tile", ()):
        whole = isinstance(tile.args, str)
        raw = tile.args if whole else (tile.args[0] if tile.args else "")
        if not isinstance(raw, str) or raw[:-4] not in _COLOURS or raw[-4:] not in _OTHER_ORDER:
            return []
        raw = raw[:-4] + _OTHER_ORDER[raw[-4:]]
        turned.append(tile._replace(args=raw if whole else (raw, *tile.args[1:])))
    return turned


_COLOURS = ("RGB", "RGBA", "RGBX", "R", "G", "B", "A")
_OTHER_ORDER = {";16B": ";16L", ";16L": ";16B", ";16N": ";16B" if np.little_endian else ";16L"}

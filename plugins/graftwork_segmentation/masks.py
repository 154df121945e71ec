"""The one place where a mask file becomes class indices. What is wrong with masks is said by `audit`.

A mask's numbers are data, not a picture: no colour conversion, scaling or EXIF orientation may touch them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graftwork.data.arrow import column_of, distinct_values
from graftwork.data.columns import add_column
from graftwork.errors import DataError
from graftwork.vision.decode import read_cell
from graftwork_segmentation.labelmap import SETTINGS, VOID, to_json
from graftwork_segmentation.lookup import Form, key_of_code, lookup
from graftwork_segmentation.maskfiles import Refused, decode_codes, runs_of

if TYPE_CHECKING:
    from datasets import Dataset

CLASS_PIXELS = "class_pixels"
"""A column that the audit adds: pixels of every class in each mask, so that no mask is decoded again for it."""


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
        codes = decode_codes(read_cell(cell), table.form).codes
    except Refused as refused:
        raise DataError(refused.reason, where=where) from None
    starts, lengths = runs_of(codes)
    values = codes.reshape(-1)[starts]
    indices, known = table(values)
    if strict and not known.all():
        stranger = key_of_code(int(values[~known][0]), table.by_colour)
        raise DataError(f"has the value {stranger}, which is not in the label map", where=where)
    mask = torch.from_numpy(np.repeat(indices, lengths).reshape(codes.shape))
    if not table.scale or shape is None or tuple(mask.shape) == tuple(shape):
        return mask
    return torch.nn.functional.interpolate(mask[None, None], tuple(shape), mode="nearest-exact")[0, 0]


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
        read = decode_codes(data, form)
    except Refused as refused:
        return MaskLook(refused.problem, refused.reason, content, opacity=refused.opacity)
    codes = read.codes
    starts, lengths = runs_of(codes)
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

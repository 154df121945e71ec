"""All objects of a split as flat arrays, and what is checked and repaired of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from graftwork.data.arrow import column_of
from graftwork_detection.findings import Notes

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

ROUNDING = 0.5
"""Pixels; so far a box may reach beyond its image without a word, since fractions and decimals are rounded."""

USUAL_LENGTH = 640
"""Pixels, the longer side that detectors usually see."""

NEAR_IOU = 0.9
"""Overlap over union; two boxes of a class that share more may be one object marked twice. In BCCD this names 7 pairs, a box
and its copy two pixels further, all wrong; real neighbours there share 0.6 at most."""

SIZE_DEVIATIONS = 6.0
SIZE_FACTOR = 4.0
"""Robust standard deviations of the logarithm of a class's box areas, and times the middle area: further away is told. In
BCCD this names 3 of 4,886 boxes, all of them of the wrong class by eye."""

_FEW = 20  # objects of a class, too few to know a usual size
_SAME = 2
"""Decimals of a pixel; boxes that agree so far are the same."""


@dataclass(frozen=True)
class Objects:
    """The objects of a split, row after row.

    Args:
        rows: int64 [objects], the row of each.
        boxes: float64 [objects, 4], x, y, width, height in pixels.
        classes: int64 [objects].
        crowd: bool [objects], not scored.
        count: rows of the split.
    """

    rows: NDArray[np.int64]
    boxes: NDArray[np.float64]
    classes: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    count: int

    def keep(self, kept: NDArray[Any]) -> Objects:
        """Those that a mask or indices in ascending order choose."""
        return replace(
            self, rows=self.rows[kept], boxes=self.boxes[kept], classes=self.classes[kept], crowd=self.crowd[kept]
        )

    def per_row(self) -> NDArray[np.int64]:
        """int64 [rows], how many objects each has."""
        return np.bincount(self.rows, minlength=self.count)


def unpack(rows: Dataset) -> Objects:
    """The column `objects` of some rows."""
    import pyarrow as pa
    from pyarrow import compute

    chunks = column_of(rows, "objects").chunks
    if not chunks:
        return Objects(np.empty(0, np.int64), np.empty((0, 4)), np.empty(0, np.int64), np.empty(0, np.bool_), 0)
    column = pa.concat_arrays(chunks)
    boxes, classes, crowd = (column.field(name) for name in ("bbox", "category", "crowd"))
    lengths = compute.list_value_length(boxes).to_numpy(zero_copy_only=False).astype(np.int64)
    values = boxes.flatten().flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    return Objects(
        np.repeat(np.arange(len(lengths)), lengths),
        values.reshape(-1, 4),
        classes.flatten().to_numpy(zero_copy_only=False).astype(np.int64),
        crowd.flatten().to_numpy(zero_copy_only=False).astype(np.bool_),
        len(lengths),
    )


def pack(objects: Objects) -> pa.Array:
    """The column `objects`."""
    import pyarrow as pa

    offsets = pa.array(np.concatenate([[0], np.cumsum(objects.per_row())]), type=pa.int32())
    corners = pa.array(np.arange(0, 4 * len(objects.rows) + 1, 4), type=pa.int32())
    boxes = pa.ListArray.from_arrays(corners, pa.array(objects.boxes.reshape(-1)))
    flat = {"bbox": boxes, "category": pa.array(objects.classes), "crowd": pa.array(objects.crowd)}
    return pa.StructArray.from_arrays(
        [pa.ListArray.from_arrays(offsets, values) for values in flat.values()], names=list(flat)
    )


def repair(objects: Objects, sizes: NDArray[np.int64], notes: Notes, told: Callable[[Objects, int], str]) -> Objects:
    """The objects that can be used, with boxes inside their images.

    Args:
        sizes: int64 [rows, 2], width and height in pixels of each upright image.
        told: what an object is called in messages.
    """
    found = objects

    def drop(code: str, wrong: NDArray[Any]) -> None:
        nonlocal found
        name(code, wrong)
        found = found.keep(~wrong) if wrong.any() else found

    def name(code: str, wrong: NDArray[Any]) -> None:
        for position in np.flatnonzero(wrong).tolist():
            notes.add(code, told(found, position))

    drop("non-finite-box", ~_every(np.isfinite(found.boxes)))
    inverted = _any(found.boxes[:, 2:] < 0)
    name("inverted-box", inverted)
    boxes = found.boxes.copy()
    boxes[:, :2] += np.minimum(boxes[:, 2:], 0)
    boxes[:, 2:] = np.abs(boxes[:, 2:])
    found = replace(found, boxes=boxes)
    drop("zero-area-box", _any(found.boxes[:, 2:] <= 0))
    clipped, beyond = _clip(found.boxes, sizes[found.rows])
    outside = _any(clipped[:, 2:] <= 0)
    name("box-partly-outside", (beyond > ROUNDING) & ~outside)
    whole = replace(found, boxes=clipped)
    drop("box-outside-image", outside)  # told with the box as it stood
    found = whole.keep(~outside)
    drop("duplicate-box", _repeats(np.column_stack([found.rows, found.classes, _rounded(found)])))
    name("box-with-two-classes", _repeats(np.column_stack([found.rows, _rounded(found)])))
    name("near-duplicate-box", _near_repeats(found))
    scale = np.minimum(1, USUAL_LENGTH / np.maximum(sizes.max(axis=1, initial=1), 1))[found.rows]
    name("tiny-box", (found.boxes[:, 2:].min(axis=1, initial=np.inf) * scale < 1) & ~found.crowd)
    return found


def _clip(boxes: NDArray[np.float64], sizes: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Boxes cut at their images, and by how many pixels each reached beyond."""
    first, last = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    beyond = np.maximum(-first, last - sizes).max(axis=1, initial=0)
    start, end = np.clip(first, 0, sizes), np.clip(last, 0, sizes)
    inside = _every((first >= 0) & (last <= sizes))
    cut = np.concatenate([start, end - start], axis=1)
    return np.where(inside[:, None], boxes, cut), beyond  # what is inside keeps its very bits


def _any(conditions: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(conditions.any(axis=1))


def _every(conditions: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(conditions.all(axis=1))


def _rounded(objects: Objects) -> NDArray[np.float64]:
    return np.round(objects.boxes, _SAME)


def _repeats(keys: NDArray[np.float64]) -> NDArray[np.bool_]:
    """bool [n], true for what came before; keys [n, columns]."""
    repeated = np.ones(len(keys), dtype=np.bool_)
    if len(keys):
        repeated[np.unique(keys, axis=0, return_index=True)[1]] = False
    return repeated & (len(keys) > 0)


def _near_repeats(objects: Objects) -> NDArray[np.bool_]:
    """bool [objects], true for one that overlaps an earlier one of its row and class by more than NEAR_IOU."""
    order = np.lexsort([objects.classes, objects.rows])
    rows, classes, boxes = objects.rows[order], objects.classes[order], objects.boxes[order]
    crowd = objects.crowd[order]
    near = np.zeros(len(order), dtype=np.bool_)
    first = np.arange(len(order))
    step = 1
    while len(first):  # every object with the one 1, 2, 3 … places on, as long as row and class are the same
        first = first[first + step < len(order)]
        first = first[(rows[first] == rows[first + step]) & (classes[first] == classes[first + step])]
        pair = first[~crowd[first] & ~crowd[first + step]]
        near[order[pair + step]] |= _iou(boxes[pair], boxes[pair + step]) > NEAR_IOU
        step += 1
    return near


def _iou(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Overlap over union of boxes [n, 4], pair by pair."""
    start = np.maximum(first[:, :2], second[:, :2])
    end = np.minimum(first[:, :2] + first[:, 2:], second[:, :2] + second[:, 2:])
    both = np.clip(end - start, 0, None).prod(axis=1)
    union: NDArray[np.float64] = first[:, 2:].prod(axis=1) + second[:, 2:].prod(axis=1) - both
    share: NDArray[np.float64] = both / np.maximum(union, 1e-9)
    return share


def odd_sizes(boxes: NDArray[np.float64], classes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool [objects], true where the area is far from the usual one of the class, however the others vary.

    The distance is taken in median absolute deviations of the logarithm (Hampel 1974), which outliers do not move.
    """
    odd = np.zeros(len(boxes), dtype=np.bool_)
    areas = np.log(np.maximum(boxes[:, 2:].prod(axis=1), 1e-9))
    for label in np.unique(classes):
        mine = np.flatnonzero(classes == label)
        if len(mine) >= _FEW:
            away = np.abs(areas[mine] - np.median(areas[mine]))
            spread = 1.4826 * float(np.median(away))
            odd[mine] = away > max(SIZE_DEVIATIONS * spread, np.log(SIZE_FACTOR))
    return odd


def look_like_corners(objects: Objects, sizes: NDArray[np.int64]) -> bool:
    """Whether third and fourth numbers are rather the lower right corner: as widths a third of the boxes leave their
    images, and as corners none is wrong."""
    finite = _every(np.isfinite(objects.boxes))
    boxes, limits = objects.boxes[finite], sizes[objects.rows[finite]]
    if len(boxes) < 5:
        return False
    first, second = boxes[:, :2], boxes[:, 2:]
    leaving = (first + second > limits + 1).any(axis=1).mean()
    corners = ((second > first) & (second <= limits + 1)).all(axis=1).mean()
    return bool(leaving >= 1 / 3 and corners == 1)


def turn(box: NDArray[np.float64], how: Image.Transpose, width: int, height: int) -> NDArray[np.float64]:
    """Boxes float64 [n, 4] of an image that is turned on its side.

    Args:
        how: what is done to the image.
        width, height: pixels, of the image before that.
    """
    x, y, w, h = box.T
    right, below = height - y - h, width - x - w
    places = {
        Image.Transpose.TRANSPOSE: (y, x),
        Image.Transpose.ROTATE_270: (right, x),
        Image.Transpose.ROTATE_90: (y, below),
        Image.Transpose.TRANSVERSE: (right, below),
    }
    left, top = places[how]
    return np.stack([left, top, h, w], axis=1)

"""Boxes that were written in another unit than their form has: shares for pixels, pixels for shares, corners for sizes."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from graftwork.data.columns import add_column
from graftwork.interfaces import Tables
from graftwork_detection.boxes import pack, unpack
from graftwork_detection.sizes import upright_size

_FEW = 5  # boxes, too few to tell how their numbers are meant
_SLACK = 0.01
"""Of a picture's side; so far a box may reach beyond it by rounding."""

Meaning = Literal["boxes-not-in-shares", "boxes-look-like-corners", "boxes-look-like-top-left"]

Unit = Literal["usual", "pixels", "shares", "percent", "permille"]
"""What the numbers of a box are; `usual` is shares in YOLO, and pixels else."""

_WHOLE: dict[str, float] = {"shares": 1.0, "percent": 100.0, "permille": 1000.0}
"""What a picture's side is in a unit that tells of shares of it."""

_CALLED = {
    "": "x and y of the centre, width, height",
    "corners": "two corners, x1, y1, x2, y2",
    "top-left": "x and y of the top left corner, width, height",
}
_MOSTLY = 0.95
_MANY = 10  # boxes, fewer may lie in one corner of their pictures by chance
_OPTION = "--set task_options."


def sides_in(unit: Unit, width: int, height: int) -> tuple[float, float]:
    """What a number of YOLO's has to be multiplied with, along x and along y, to be pixels."""
    if unit == "pixels":
        return 1.0, 1.0
    whole = _WHOLE.get(unit, 1.0)
    return width / whole, height / whole


def in_pixels(tables: Tables, unit: Unit) -> Tables:
    """The tables with boxes in pixels, which were read as if they were in pixels.

    A picture's own size counts, whatever is declared; only of one that was annotated before EXIF turned it, that one does.
    """
    whole = _WHOLE.get(unit)
    if whole is None:
        return tables
    splits = {}
    for split, rows in tables.splits.items():
        objects = unpack(rows)
        declared = zip(rows["width"][:], rows["height"][:], strict=True)
        sizes = [_size(cell, said) for cell, said in zip(rows["image"][:], declared, strict=True)]
        sides = np.array(sizes, np.float64).reshape(-1, 2)
        scaled = replace(objects, boxes=objects.boxes * np.tile(sides / whole, 2)[objects.rows])
        rows = add_column(rows, "objects", pack(scaled))
        for place, name in enumerate(("width", "height")):
            rows = add_column(rows, name, [size[place] for size in sizes])
        splits[split] = rows
    return replace(tables, splits=splits)


def _size(cell: Mapping[str, Any], declared: tuple[int, int]) -> tuple[int, int]:
    content = cell.get("bytes")
    found = upright_size(io.BytesIO(content) if content is not None else Path(str(cell.get("path"))))
    return declared if declared == found[::-1] else found


@dataclass
class Numbers:
    """The numbers of YOLO boxes as they stand, each with its picture's width and height in pixels."""

    values: list[tuple[float, ...]] = field(default_factory=list)
    sides: list[tuple[int, int]] = field(default_factory=list)

    def add(self, box: tuple[float, ...], width: int, height: int) -> None:
        self.values.append(box)
        self.sides.append((width, height))

    def extend(self, other: Numbers) -> None:
        self.values += other.values
        self.sides += other.sides

    def doubt(self, meant: str = "xywh", unit: Unit = "usual") -> tuple[Meaning, str] | None:
        """What speaks against centre, width and height in shares of the picture's sides; None where nothing does.

        `meant` and `unit` are what the user says of the numbers, where it is not that; what is said is not doubted.

        Another unit, where half of the boxes have a number far above 1. Corners, or the top left corner with width and height,
        where as centres a third of the boxes leave their pictures and as those none does.
        """
        boxes, sides = np.array(self.values, np.float64).reshape(-1, 4), np.array(self.sides).reshape(-1, 2)
        finite = np.isfinite(boxes).all(axis=1)
        boxes, sides = boxes[finite], sides[finite]
        above = (boxes > 1.5).any(axis=1)
        if unit == "usual" and len(boxes) and above.mean() >= 0.5:
            told = f"{int(above.sum()):,} of {len(boxes):,} boxes have numbers above 1, {_likely(boxes, sides, meant)}"
            return "boxes-not-in-shares", told
        limits = sides.astype(np.float64) if unit == "pixels" else np.full(sides.shape, _WHOLE.get(unit, 1.0))
        if meant != "xywh" or len(boxes) < _FEW or not _leave(boxes, limits).mean() >= 1 / 3:
            return None
        if _fit_as_corners(boxes, limits).all():
            both = _fit_from_top_left(boxes, limits).all()
            also = "; they may also be the top left corner, width and height: boxes=top-left" if both else ""
            return "boxes-look-like-corners", f"{len(boxes):,} boxes{also}"
        if _fit_from_top_left(boxes, limits).all():
            return "boxes-look-like-top-left", f"{len(boxes):,} boxes"
        return None


def doubt_pixels(
    boxes: NDArray[np.float64], sizes: NDArray[np.int64]
) -> tuple[Literal["boxes-in-shares", "boxes-in-one-corner"], str] | None:
    """What speaks against boxes in pixels, and more of it; None where nothing does.

    Args:
        boxes: float64 [boxes, 4], x, y, width, height.
        sizes: int64 [boxes, 2], width and height in pixels of each box's picture.
    """
    finite = np.isfinite(boxes).all(axis=1)
    boxes, sizes = boxes[finite], sizes[finite]
    if not len(boxes):
        return None
    if in_first_pixel(boxes, sizes).all():
        first, second = boxes[:, :2], boxes[:, 2:]
        leaving = (first + second > 1 + _SLACK).any(axis=1).mean() >= 1 / 3
        corners = leaving and bool((second > first).all())
        return "boxes-in-shares", f"; as two corners, so with {_OPTION}boxes=corners as well" if corners else ""
    ends = (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
    for unit in ("percent", "permille"):
        whole = _WHOLE[unit]
        in_corner = (boxes >= -1).all() and (ends <= 1.01 * whole).all() and (sizes.min(axis=1) > 2 * whole).all()
        if (
            in_corner and len(boxes) >= _MANY and (ends > 0.8 * whole).all()
        ):  # else they are in one corner of that unit too
            told = f": none reaches beyond {whole:g}; if they are {unit}, {_OPTION}box_unit={unit} reads them so"
            return "boxes-in-one-corner", told
    return None


def in_first_pixel(boxes: NDArray[np.float64], sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool [boxes], whether all numbers of a box lie within 0 to 1, though its picture is larger."""
    return np.asarray((np.abs(boxes - 0.5) <= 0.5 + _SLACK).all(axis=1) & (sizes.min(axis=1) > 8))


def _likely(boxes: NDArray[np.float64], sides: NDArray[np.int64], meant: str) -> str:
    """What numbers above 1 are, by what fits the pictures, and the options that read them so."""
    known = (sides > 0).all(axis=1)
    boxes, sides = boxes[known], sides[known]
    if not len(boxes):
        return "so they are no shares of the picture's sides"
    small = [unit for unit in ("percent", "permille") if boxes.max() <= _WHOLE[unit] and sides.min() > 2 * _WHOLE[unit]]
    tries = {unit: np.full(sides.shape, _WHOLE[unit]) for unit in small}
    tries |= {"pixels": sides.astype(np.float64), "permille": np.full(sides.shape, _WHOLE["permille"])}
    for unit, limits in tries.items():
        for way, fits in _WAYS.items():
            if meant in ("xywh", way) and fits(boxes, limits).mean() >= _MOSTLY:
                option = f" {_OPTION}boxes={way}" if way and meant == "xywh" else ""
                return f"and fit their pictures as {unit} ({_CALLED[way]}): {_OPTION}box_unit={unit}{option}"
    fitting = ((boxes >= -1) & (boxes <= np.tile(sides, 2) + 1)).all(axis=1).mean()
    return "as pixels have them" if fitting >= 0.9 else "so they are no shares of the picture's sides"


def _leave(boxes: NDArray[np.float64], limits: NDArray[np.float64]) -> NDArray[np.bool_]:
    """bool [boxes], whether a centre with width and height reaches beyond 0 or the limits."""
    slack = _SLACK * limits
    half = boxes[:, 2:] / 2
    outside = (boxes[:, :2] - half < -slack) | (boxes[:, :2] + half > limits + slack)
    return np.asarray(outside.any(axis=1))


def _fit_as_corners(boxes: NDArray[np.float64], limits: NDArray[np.float64]) -> NDArray[np.bool_]:
    first, second = boxes[:, :2], boxes[:, 2:]
    fit = (first >= 0) & (second > first) & (second <= limits * (1 + _SLACK))
    return np.asarray(fit.all(axis=1))


def _fit_from_top_left(boxes: NDArray[np.float64], limits: NDArray[np.float64]) -> NDArray[np.bool_]:
    fit = (boxes[:, :2] >= 0) & (boxes[:, 2:] > 0) & (boxes[:, :2] + boxes[:, 2:] <= limits * (1 + _SLACK))
    return np.asarray(fit.all(axis=1))


_WAYS: dict[str, Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.bool_]]] = {
    "": lambda boxes, limits: ~_leave(boxes, limits),
    "corners": _fit_as_corners,
    "top-left": _fit_from_top_left,
}

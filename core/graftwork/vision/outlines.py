"""Outlines as COCO and labelme write them: polygons and run lengths, as pixels and as boxes. No file is read here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FARTHEST = 1e5
"""Pixels; a corner farther out is no corner of an object in a picture."""


def polygons_of(outline: Any) -> list[list[float]] | None:
    """The polygons of an outline, each as x, y, x, y and so on, pixels.

    Args:
        outline: a list of polygons, or one polygon; corners flat (`[x, y, x, y]`) or in pairs (`[[x, y], [x, y]]`). Polygons
            of fewer than three corners enclose nothing and are left aside.

    Returns:
        None where it is no such list, or none of its polygons encloses anything.
    """
    if not isinstance(outline, Sequence) or isinstance(outline, str | bytes) or not len(outline):
        return None
    if _is_point(outline[0]) or not isinstance(outline[0], Sequence):
        outline = [outline]
    polygons = []
    for part in outline:
        corners = _corners(part)
        if corners is None:
            return None
        if len(corners) >= 6:
            polygons.append(corners)
    return polygons or None


def draw_outline(outline: Any, height: int, width: int) -> NDArray[np.bool_] | None:
    """The pixels inside an outline, as COCO's own tools draw it.

    Args:
        outline: polygons as for `polygons_of`, or run lengths: {"size": [height, width], "counts": text or list}.
        height, width: of the picture, pixels.

    Returns:
        bool [height, width]; None where the outline is neither, is damaged, or is of a picture of another size.
    """
    if isinstance(outline, Mapping):
        return _draw_runs(outline, height, width)
    polygons = polygons_of(outline)
    if polygons is None or height < 1 or width < 1:
        return None
    from faster_coco_eval.core import mask as coco

    drawn: NDArray[np.bool_] = coco.decode(coco.merge(coco.frPyObjects(polygons, height, width))).astype(bool)
    return drawn


def box_of_outline(outline: Any) -> tuple[float, float, float, float] | None:
    """Left, top, right and bottom of what an outline encloses, pixels; None as for `draw_outline`."""
    if isinstance(outline, Mapping):
        size = _size(outline)
        drawn = _draw_runs(outline, *size) if size else None
        if drawn is None or not drawn.any():
            return None
        rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
        return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
    polygons = polygons_of(outline)
    if polygons is None:
        return None
    across = [value for polygon in polygons for value in polygon[::2]]
    down = [value for polygon in polygons for value in polygon[1::2]]
    return min(across), min(down), max(across), max(down)


def outline_of_shape(kind: str, points: Any) -> list[list[float]] | None:
    """The outline of a labelme shape, for `draw_outline`.

    Args:
        kind: `polygon`, `rectangle` (two corners, or four), `circle` (its middle and a point on it) or `rotation`.
        points: [[x, y], …], pixels.

    Returns:
        None for shapes without an inside (points and lines), and for damaged ones.
    """
    if not isinstance(points, Sequence) or not all(_is_point(point) for point in points):
        return None
    flat = _corners([value for point in points for value in point[:2]])
    if flat is None:
        return None
    if kind == "rectangle" and len(flat) == 4:
        left, top, right, bottom = flat
        return [[left, top, right, top, right, bottom, left, bottom]]
    if kind == "circle" and len(flat) == 4:
        x, y, radius = flat[0], flat[1], math.dist(flat[:2], flat[2:])
        turns = [2 * math.pi * step / 64 for step in range(64)]
        return [[value for turn in turns for value in (x + radius * math.cos(turn), y + radius * math.sin(turn))]]
    return [flat] if kind in ("polygon", "rectangle", "rotation", "") and len(flat) >= 6 else None


def _draw_runs(outline: Mapping[str, Any], height: int, width: int) -> NDArray[np.bool_] | None:
    """Run lengths go down the columns and begin with what is outside. Read here: a library trusts their sum."""
    counts = outline.get("counts")
    if isinstance(counts, str | bytes):
        counts = _unpacked(counts.encode() if isinstance(counts, str) else counts)
    if _size(outline) != (height, width) or not isinstance(counts, Sequence) or not all(map(_is_count, counts)):
        return None
    lengths = np.array(counts, dtype=np.int64)
    if int(lengths.sum()) != height * width:
        return None
    inside = np.arange(len(lengths)) % 2 == 1
    return np.repeat(inside, lengths).reshape(width, height).T


def _unpacked(text: bytes) -> list[int] | None:
    """COCO's packed run lengths: five bits a character, the low ones first; from the third on as differences."""
    counts: list[int] = []
    value = shift = 0
    for byte in text:
        part = byte - 48
        if not 0 <= part < 64 or shift > 60:
            return None
        value |= (part & 31) << shift
        shift += 5
        if not part & 32:
            if part & 16:
                value -= 1 << shift
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            value = shift = 0
    return counts if not shift else None


def _size(outline: Mapping[str, Any]) -> tuple[int, int] | None:
    size = outline.get("size")
    if (
        not isinstance(size, Sequence)
        or len(size) != 2
        or not all(_is_count(side) and 0 < side < FARTHEST for side in size)
    ):
        return None
    return int(size[0]), int(size[1])


def _corners(part: Any) -> list[float] | None:
    if not isinstance(part, Sequence) or isinstance(part, str | bytes):
        return None
    if part and all(_is_point(point) for point in part):
        part = [value for point in part for value in point[:2]]
    if len(part) % 2 or not all(_is_number(value) and abs(value) < FARTHEST for value in part):
        return None
    return [float(value) for value in part]


def _is_point(value: Any) -> bool:
    return isinstance(value, Sequence) and len(value) in (2, 3) and all(_is_number(part) for part in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return _is_number(value) and 0 <= value < 1e12 and value == int(value)

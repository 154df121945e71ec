"""The box around an outline: polygons and run lengths as COCO writes them. Outlines themselves are not kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graftwork_detection.rows import Box, number

_MOST_RUNS = 10_000_000


def box_of_outline(outline: Any) -> Box | None:
    """x, y, width and height in pixels of the box around polygons or a run-length mask; None where it is neither.

    Args:
        outline: polygons, each a list of x, y, x, y … or of [x, y] pairs, or one such polygon; or {counts, size: [height,
            width]} with counts as numbers or as COCO's compressed text.
    """
    if isinstance(outline, Mapping):
        return _box_of_runs(outline)
    points = [number(value) for value in _flat(outline, 3)]
    if len(points) < 4 or len(points) % 2 or None in points:
        return None
    xs, ys = points[0::2], points[1::2]
    left, top = min(xs), min(ys)  # type: ignore[type-var]
    return left, top, max(xs) - left, max(ys) - top  # type: ignore[type-var,operator,return-value]


def _flat(values: Any, depth: int) -> list[Any]:
    if not isinstance(values, Sequence) or isinstance(values, str):
        return [values]
    return [part for value in values for part in (_flat(value, depth - 1) if depth else [None])]


def _box_of_runs(mask: Mapping[str, Any]) -> Box | None:
    size, counts = mask.get("size"), mask.get("counts")
    if not isinstance(size, Sequence) or len(size) != 2 or not all(isinstance(side, int) for side in size):
        return None
    height, width = size
    if isinstance(counts, str):
        counts = _runs_of_text(counts)
    if not isinstance(counts, list) or len(counts) > _MOST_RUNS or not all(isinstance(run, int) for run in counts):
        return None
    ends = np.cumsum(np.array(counts, dtype=np.float64))
    if height <= 0 or width <= 0 or not len(ends) or min(counts) < 0 or ends[-1] != height * width:
        return None
    starts, ends = ends[0::2][: len(ends) // 2], ends[1::2]  # of what is set; pixels run down the columns
    drawn = ends > starts
    starts, ends = starts[drawn], ends[drawn] - 1
    if not len(starts):
        return None
    left, right = float(starts.min() // height), float(ends.max() // height)
    turns = (starts // height != ends // height).any()  # a run over the edge of a column holds bottom and top
    top = 0.0 if turns else float((starts % height).min())
    bottom = float(height - 1) if turns else float((ends % height).max())
    return left, top, right - left + 1, bottom - top + 1


def _runs_of_text(text: str) -> list[int] | None:
    """COCO's compressed counts: five bits a character, the sixth says whether more follow; from the third run on each
    is told as the difference from the one before the last."""
    runs: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value, shift = 0, 0
    return None if shift else runs

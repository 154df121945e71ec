"""Boxes that were written in another unit than their form has: shares for pixels, pixels for shares, corners for sizes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

_FEW = 5  # boxes, too few to tell how their numbers are meant
_SLACK = 0.01
"""Of a picture's side; so far a box may reach beyond it by rounding."""

Meaning = Literal["boxes-not-in-shares", "boxes-look-like-corners", "boxes-look-like-top-left"]


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

    def doubt(self, meant: str = "xywh") -> tuple[Meaning, str] | None:
        """What speaks against centre, width and height in shares of the picture's sides; None where nothing does.

        `meant` is what the user says of the numbers, where it is not that; only their unit is doubted then.

        Pixels, where half of the boxes have a number far above 1. Corners, or the top left corner with width and height,
        where as centres a third of the boxes leave their pictures and as those none does.
        """
        boxes, sides = np.array(self.values, np.float64).reshape(-1, 4), np.array(self.sides).reshape(-1, 2)
        finite = np.isfinite(boxes).all(axis=1)
        boxes, sides = boxes[finite], sides[finite]
        above = (boxes > 1.5).any(axis=1)
        if len(boxes) and above.mean() >= 0.5:
            told = f"{int(above.sum()):,} of {len(boxes):,} boxes have numbers above 1, {_likely(boxes, sides)}"
            return "boxes-not-in-shares", told
        if meant != "xywh" or len(boxes) < _FEW or not _leave(boxes, np.ones(2)).mean() >= 1 / 3:
            return None
        if _fit_as_corners(boxes, np.ones(2)).all():
            both = _fit_from_top_left(boxes, np.ones(2)).all()
            also = "; they may also be the top left corner, width and height: boxes=top-left" if both else ""
            return "boxes-look-like-corners", f"{len(boxes):,} boxes{also}"
        if _fit_from_top_left(boxes, np.ones(2)).all():
            return "boxes-look-like-top-left", f"{len(boxes):,} boxes"
        return None


def all_in_shares(boxes: NDArray[np.float64], sizes: NDArray[np.int64]) -> bool:
    """Whether boxes, said to be in pixels, all lie within 0 to 1, though their pictures are larger.

    Args:
        boxes: float64 [boxes, 4], x, y, width, height.
        sizes: int64 [boxes, 2], width and height in pixels of each box's picture.
    """
    finite = np.isfinite(boxes).all(axis=1)
    boxes, sizes = boxes[finite], sizes[finite]
    if not len(boxes):
        return False
    inside = (boxes >= -_SLACK).all() and (boxes[:, :2] + boxes[:, 2:] <= 1 + _SLACK).all()
    return bool(inside and (sizes.min(axis=1) > 8).all())


def _likely(boxes: NDArray[np.float64], sides: NDArray[np.int64]) -> str:
    """What numbers above 1 are, by what fits the pictures."""
    known = (sides > 0).all(axis=1)
    boxes, limits = boxes[known], sides[known].astype(np.float64)
    if len(boxes):
        if boxes.max() <= 100 and limits.min() > 200:
            return "and none above 100, so perhaps they are percent"
        if not _leave(boxes, limits).any():
            return "and fit their pictures as pixels (x and y of the centre, width, height)"
        if _fit_as_corners(boxes, limits).all():
            return "and fit their pictures as pixels of two corners (x1, y1, x2, y2)"
        if _fit_from_top_left(boxes, limits).all():
            return "and fit their pictures as pixels (x and y of the top left corner, width, height)"
        fitting = ((boxes >= -1) & (boxes <= np.tile(limits, 2) + 1)).all(axis=1).mean()
        if fitting >= 0.9:
            return "as pixels have them"
    return "so they are no shares of the picture's sides"


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

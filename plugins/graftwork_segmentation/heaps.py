"""Whether the values in masks stand in heaps around some few: masks that were saved with loss, or resized with blur, once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

THIN = 3.0
"""Pixels; the mean stretch along rows or columns of pixels below which a value is at edges alone. Real classes stand in longer
ones: the poles of CamVid's streets, 3 pixels wide, are the only such class of 11."""

_SHARE = 0.4  # of all pixels; where thin values have more, the annotations themselves are thin
_FEW, _NEAR = 8, 8  # so few thin values are a heap only this near to others
_SPAN = 32  # values; nearer ones are numbers of classes
_REACH = {False: 48.0, True: 80.0}  # by whether they are colours: what lies within it belongs to one heap
_LEAST = 0.0005  # of all pixels: the share of a heap
_CONTINUOUS = 32  # values in stretches as short: a heat map


def are_heaps(
    values: NDArray[np.int64], pixels: NDArray[np.int64], runs: NDArray[np.int64], by_colour: bool = False
) -> bool:
    """Whether most of the values are at the edges of a few others alone.

    Args:
        values: all values, or colours, of the masks, int64 [values], ascending.
        pixels, runs: how many pixels each has, and in how many stretches.
    """
    if len(values) < 3:
        return False
    thin = pixels / runs < THIN
    if len(values) >= _CONTINUOUS and pixels.sum() / runs.sum() < THIN:
        return True
    if thin.all() or thin.sum() * 2 < len(values) or pixels[thin].sum() > _SHARE * pixels.sum():
        return False
    thick = values[~thin]
    if by_colour:
        return bool(thin.sum() >= 4)
    if thick.max() - thick.min() < _SPAN:
        return False
    if thin.sum() < 2:
        return False
    near = np.abs(values[thin][:, None] - thick).min(axis=1)
    return bool(thin.sum() >= _FEW or (near <= _NEAR).all())


def are_edges(values: NDArray[np.int64], pixels: NDArray[np.int64]) -> bool:
    """Whether values between 0 and 255 are the edges of one object in white, however long these are: of rectangles that were
    resized with blur all pixels of a side have one value. Class numbers are not so high where most is void."""
    between = values[1:-1]
    if len(between) < 3 or values[0] != 0 or values[-1] != 255 or between[-1] < 128:
        return False
    return bool(pixels[1:-1].sum() < pixels[-1])


def middles_of_heaps(
    values: NDArray[np.int64], pixels: NDArray[np.int64], runs: NDArray[np.int64], by_colour: bool = False
) -> list[int]:
    """The values around which the others stand, ascending: the most frequent first, each with what lies near it.

    Grey that is all but black or white is taken for that.
    """
    points = np.stack([values >> 16, values >> 8 & 255, values & 255], axis=1) if by_colour else values[:, None]
    left = np.ones(len(values), dtype=bool)
    thick = pixels / runs >= THIN
    total = pixels.sum()
    middles = []
    for place in np.argsort(-pixels, kind="stable"):
        if not left[place]:
            continue
        near = left & (np.linalg.norm((points - points[place]).astype(np.float64), axis=1) <= _REACH[by_colour])
        left &= ~near
        if thick[place] and pixels[near].sum() >= _LEAST * total:
            middles.append(int(values[place]))
    if by_colour:
        return sorted(middles)
    return sorted(0 if middle <= _NEAR else 255 if 255 - _NEAR <= middle < 255 else middle for middle in middles)

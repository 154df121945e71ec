"""Annotated sizes of pictures that are not those of the files: what the boxes are pixels of, and boxes that fit the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Transpose

from graftwork_detection.boxes import Objects, turn
from graftwork_detection.findings import Notes

_SLOPPY = 0.05
"""Of pictures; so many may have a box beyond the size that boxes are meant for, as annotators draw over the edge."""

_UNLIKELY = 0.05

Size = tuple[int, int]


def upright_size(file: Path | BinaryIO) -> tuple[int, int]:
    """Width and height in pixels as people see the image, from its header; zeros where it has none that can be read.

    A PNG's orientation counts where it stands before the pixels, as is usual; the audit compares with the decoded size.
    """
    from PIL import Image

    try:
        with Image.open(file) as image:
            late = image.format == "PNG" and "exif" not in image.info  # Pillow would decode it all to look for more
            turned = not late and image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            return (image.height, image.width) if turned else image.size
    except Exception:  # a library boundary: damaged files raise many kinds; the audit names them
        return 0, 0


def fit_to_files(
    objects: Objects,
    declared: Sequence[Size],
    found: Sequence[Size],
    turned: Callable[[int], Transpose | None],
    tell: tuple[Notes, str, Sequence[str]],
) -> Objects:
    """The objects with boxes in pixels of the files.

    Of a picture that was annotated before EXIF turned it, boxes are turned. Of those that were made larger or smaller, they are
    scaled, unless they fit the files as they stand and not the annotated sizes, which are wrong then.

    Args:
        declared, found: width and height in pixels of each row as annotated (0 where nothing is), and of the upright file.
        turned: how the picture of a row is laid on its side by its EXIF orientation; None where it is not.
        tell: where to, the split, and what each row is called.
    """
    notes, split, origins = tell
    boxes = objects.boxes
    other: list[int] = []
    for row, (said, real) in enumerate(zip(declared, found, strict=True)):
        if not all(said) or said == real:
            continue
        how = turned(row) if said == real[::-1] else None
        if how is None:
            other.append(row)
            continue
        if _leaves(objects, row, said):
            reason = "; turned by EXIF, but the boxes fit the upright image only"
            notes.add("size-disagrees", _told(origins[row], said, real) + reason)
            continue
        notes.add("boxes-turned", _told(origins[row], said, real))
        here = _of(objects, row)
        boxes = boxes.copy() if boxes is objects.boxes else boxes
        boxes[here] = turn(objects.boxes[here], how, *said)
    alike = [row for row in other if _same_shape(declared[row], found[row])]
    for rows in (alike, [row for row in other if not _same_shape(declared[row], found[row])]):
        doubts = _SLOPPY * len(rows)
        beyond_said = sum(_fits_only(objects, row, found[row], declared[row]) for row in rows)
        beyond_file = sum(_fits_only(objects, row, declared[row], found[row]) for row in rows)
        if (
            rows is alike
            and beyond_said <= max(beyond_file, doubts)
            and (beyond_file > doubts or _may_be_chance(objects, rows, declared, found))
        ):
            boxes = boxes.copy() if rows and boxes is objects.boxes else boxes
            for row in rows:
                notes.add("boxes-scaled", _told(origins[row], declared[row], found[row]))
                boxes[_of(objects, row)] *= np.tile(np.divide(found[row], declared[row]), 2)
            continue
        for row in rows:
            notes.add("size-disagrees", _told(origins[row], declared[row], found[row]))
        if beyond_file > max(beyond_said, doubts):
            notes.add("boxes-of-other-size", f"{split}: {_told(origins[rows[0]], declared[rows[0]], found[rows[0]])}")
    return replace(objects, boxes=boxes)


def _told(origin: str, said: Size, real: Size) -> str:
    return f"{origin} (annotated {said[0]}×{said[1]}, file {real[0]}×{real[1]})"


def _of(objects: Objects, row: int) -> slice:
    return slice(*np.searchsorted(objects.rows, [row, row + 1]).tolist())


def _leaves(objects: Objects, row: int, size: Size) -> bool:
    """Whether a box of a row reaches beyond a size."""
    boxes: NDArray[np.float64] = objects.boxes[_of(objects, row)]
    return bool((boxes[:, :2] + boxes[:, 2:] > np.array(size) + 1).any())


def _same_shape(said: Size, real: Size) -> bool:
    """Whether one size is the other made larger or smaller, but for the rounding of sides."""
    scale = real[0] / said[0]
    return abs(said[1] * scale - real[1]) <= max(1.0, scale)


def _fits_only(objects: Objects, row: int, size: Size, other: Size) -> bool:
    """Whether the boxes of a row fit one size, and not the other."""
    return _leaves(objects, row, other) and not _leaves(objects, row, size)


def _may_be_chance(objects: Objects, rows: Sequence[int], declared: Sequence[Size], found: Sequence[Size]) -> bool:
    """Whether boxes that fit both sizes may be of the annotated one all the same.

    Where that is the larger one, each box would lie within the smaller file by chance, about as likely as its share of the area.
    """
    counts = np.bincount(objects.rows, minlength=objects.count)
    shares = [min(1.0, np.prod(found[row]) / np.prod(declared[row])) for row in rows]
    return bool(counts[list(rows)] @ np.log(shares) > np.log(_UNLIKELY)) if rows else True

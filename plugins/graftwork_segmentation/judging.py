"""One row of the audit: a picture and its mask together, under the label map."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graftwork.data.columns import add_column
from graftwork.interfaces import Finding
from graftwork.vision.audit import Seen
from graftwork.vision.look import Looks
from graftwork_segmentation.checks import check_palettes, masks_by_alpha, same_shape
from graftwork_segmentation.labelmap import ALPHA, PALETTE, VOID, to_json
from graftwork_segmentation.lookup import lookup
from graftwork_segmentation.masks import MaskLook
from graftwork_segmentation.smoothed import is_smoothed
from graftwork_segmentation.values import class_pixels, look_at_masks

if TYPE_CHECKING:
    from datasets import Dataset


LISTED = 256
"""Values outside the label map that are added to it one by one; where there are more, one entry stands for them all."""

SAME_SHAPE = ", the same shape"


@dataclass(frozen=True)
class Judged:
    """One row: picture and mask together.

    Args:
        origin: what the row is called.
        rotated: whether EXIF turns the picture.
        mask: what looking at it showed.
        pixels: of every class in the mask, int64 [classes].
        void: values that the label map does not score, with their pixels.
        unscored, moved: pixels that are not scored, for whatever reason; and those that were taken for the nearest value.
        unknown: values outside the label map with their pixels, the most frequent LISTED; none where smoothed.
        unlisted: number and pixels of all others.
        smoothed: whether these come from smoothing colours.
        problem: what is wrong, one of `audit`'s codes; None where the row can be used.
        reason: in words.
    """

    origin: str
    rotated: bool
    mask: MaskLook
    pixels: NDArray[np.int64]
    void: Mapping[int, int]
    unscored: int
    moved: int
    unknown: Mapping[int, int]
    unlisted: tuple[int, int]
    smoothed: bool
    problem: str | None
    reason: str


def judge_all(seen: Seen, classes: int) -> tuple[Seen, dict[str, list[Judged]], list[Finding]]:
    """Every row. They are judged again where palettes differ and are grey, so that the levels count, and where the masks of
    one colour show something by their alpha channel."""
    judged = {split: _judge(rows, seen.looks[split], classes) for split, rows in seen.tables.splits.items()}
    every = [judge for rows in judged.values() for judge in rows]
    found, grey = check_palettes([judge.mask.palette for judge in every])
    if grey:
        return (*_judge_with(seen, PALETTE, classes), found)
    if _classes_shown(every) < 2 and any(judge.mask.opacity > 1 for judge in every):
        others, again = _judge_with(seen, ALPHA, classes)
        if _classes_shown([judge for rows in again.values() for judge in rows]) > 1:
            return others, again, [*found, masks_by_alpha(len(every))]
    return seen, judged, found


def _judge_with(seen: Seen, setting: str, classes: int) -> tuple[Seen, dict[str, list[Judged]]]:
    """Every row, with a setting in its label map."""
    splits = {}
    for split, rows in seen.tables.splits.items():
        maps = [to_json({**json.loads(text), setting: 1}) for text in rows["mask_map"][:]]
        splits[split] = add_column(rows, "mask_map", maps) if len(rows) else rows
    seen = replace(seen, tables=replace(seen.tables, splits=splits))
    return seen, {split: _judge(rows, seen.looks[split], classes) for split, rows in splits.items()}


def _classes_shown(every: Sequence[Judged]) -> int:
    return int(np.any([judge.pixels > 0 for judge in every], axis=0).sum()) if every else 0


def _judge(rows: Dataset, looks: Looks, classes: int) -> list[Judged]:
    origins, maps = list(rows["origin"][:]), list(rows["mask_map"][:])
    sizes, rotated = looks.sizes.tolist(), looks.has("rotated").tolist()
    judged: dict[int, Judged] = {}
    for form in {lookup(text).form for text in set(maps)}:
        chosen = [row for row, text in enumerate(maps) if lookup(text).form == form]
        part = rows if len(chosen) == len(rows) else rows.select(chosen)
        for row, mask in zip(chosen, look_at_masks(part, form), strict=True):
            judged[row] = _fit(origins[row], maps[row], sizes[row], rotated[row], mask, classes)
    return [judged[row] for row in range(len(rows))]


def _fit(origin: str, mask_map: str, size: list[int], rotated: bool, mask: MaskLook, classes: int) -> Judged:
    table = lookup(mask_map)
    pixels = class_pixels(mask, mask_map, classes)
    indices, known = table(mask.values)
    listed = table.lists(mask.values)
    void = listed & (indices == VOID)
    values, counts = mask.values[~known], mask.counts[~known]
    smoothed = table.by_colour and is_smoothed(values, counts, table.codes)
    first = np.argsort(-counts, kind="stable")[: 0 if smoothed else LISTED]
    unlisted = len(values) - len(first), int(counts.sum() - counts[first].sum())
    problem, reason = mask.problem, mask.reason
    unscored = int(mask.counts.sum() - pixels.sum())
    if problem is None and [mask.width, mask.height] != size:
        if not same_shape(size, (mask.width, mask.height)):
            problem, reason = "mask-size-differs", _size_reason(size, rotated, mask)
        elif not table.scale:
            problem, reason = "mask-size-differs", f"{_size_reason(size, rotated, mask)}{SAME_SHAPE}"
        else:
            pixels = np.rint(pixels * (size[0] * size[1] / (mask.width * mask.height))).astype(np.int64)
    if problem is None and not pixels.sum():
        problem, reason = "all-void-mask", ""
    nothing = np.empty(0, np.int64)
    return Judged(
        origin,
        rotated,
        replace(mask, values=nothing, counts=nothing, runs=nothing),
        pixels,
        dict(zip(mask.values[void].tolist(), mask.counts[void].tolist(), strict=True)),
        unscored,
        int(mask.counts[known & ~listed].sum()) if table.nearest else 0,
        dict(zip(values[first].tolist(), counts[first].tolist(), strict=True)),
        unlisted,
        smoothed,
        problem,
        reason,
    )


def _size_reason(size: list[int], rotated: bool, mask: MaskLook) -> str:
    width, height = size
    told = f"picture {width}×{height}, mask {mask.width}×{mask.height}"
    if (mask.width, mask.height) != (height, width):
        return told
    if rotated:
        way = "exiftool -Orientation= -overwrite_original FOLDER leaves pictures as stored"
        return f"{told}: the mask lies as the picture is stored, and EXIF turns the picture; {way}"
    return f"{told}: the sides are swapped"

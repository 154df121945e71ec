"""Looking at all masks of a table: in threads, once each; and a label map where the data brings none."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graftwork.errors import DataError
from graftwork.interfaces import Finding
from graftwork_segmentation.labelmap import MOST_CLASSES, VOID, LabelMap, build_map
from graftwork_segmentation.masks import MaskLook, key_of_code, look_at_mask, lookup

if TYPE_CHECKING:
    from datasets import Dataset

_BATCH = 256
_ENOUGH = 5_000  # values; no label map has as many


def look_at_masks(rows: Dataset, by_colour: bool | None) -> Iterator[MaskLook]:
    """`look_at_mask` every row, in threads: Pillow and numpy work outside the interpreter's lock.

    One batch at a time: a mask that was a JPEG once has ten thousands of values.
    """
    masks = rows.select_columns("mask")
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for batch in masks.iter(batch_size=_BATCH):
            yield from pool.map(functools.partial(look_at_mask, by_colour=by_colour), batch["mask"])


def class_pixels(look: MaskLook, mask_map: str, classes: int) -> NDArray[np.int64]:
    """Pixels of every class in a mask, int64 [classes]; what is not scored is not counted."""
    indices, _ = lookup(mask_map)(look.values)
    scored = indices != VOID
    return np.bincount(indices[scored], look.counts[scored], classes).astype(np.int64)[:classes]


def map_from_masks(splits: Mapping[str, Dataset], where: str) -> tuple[LabelMap, list[Finding]]:
    """Every value in the masks as a class of that name, 255 as void; colours as classes named `#804080`.

    Masks with the values 0 and 255 alone have two classes: that is how many tools write what is there and what is not.

    Raises:
        DataError: no mask can be read, or they have too many values for these to be classes.
    """
    values, by_colour = _values_of(splits, None, where)
    if by_colour:  # once more: a mask of black and white alone looks like values
        values, _ = _values_of(splits, True, where)
    binary = values == [0, VOID]
    keys = [key_of_code(value, by_colour) for value in values]
    classes = [key for key in keys if key != str(VOID) or binary]
    what = "colours" if by_colour else "values"
    if len(classes) > MOST_CLASSES:
        raise _too_many(f"{len(values):,}", what, where)
    labels = build_map(((key, key if key in classes else None) for key in keys), where)
    void = ", 255 is not scored" if len(classes) < len(keys) else ""
    message = (
        f"no label map: the {len(classes)} {what} in the masks are the classes{void}; write a labels.yaml to name them"
    )
    if binary:
        message = (
            "no label map: the masks' values 0 and 255 are taken for two classes; write a labels.yaml to name them"
        )
    return labels, [Finding("no-label-map", "warning", message, tuple(classes[:5]), len(classes))]


def _values_of(splits: Mapping[str, Dataset], by_colour: bool | None, where: str) -> tuple[list[int], bool]:
    """All values in the masks, ascending, and whether any are colours."""
    values: set[int] = set()
    colours = False
    masks = 0
    reason = ""
    for rows in splits.values():
        for look in look_at_masks(rows, by_colour):
            masks += 1
            reason = reason or look.reason
            colours = colours or look.by_colour
            values.update(look.values.tolist())
            if len(values) > _ENOUGH:
                raise _too_many(f"more than {_ENOUGH:,}", "colours" if colours else "values", where)
    if not values:
        raise DataError(f"none of the {masks:,} masks can be read (the first {reason})", where=where)
    return sorted(values), colours


def _too_many(count: str, what: str, where: str) -> DataError:
    kind = "Smoothed or JPEG masks have such; else write" if what == "colours" else "Write"
    hint = f"{kind} a labels.yaml beside the data that says which {what} are classes"
    return DataError(f"its masks have {count} different {what}, and no label map", where=where, hint=hint)

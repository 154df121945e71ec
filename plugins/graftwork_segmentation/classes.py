"""What the rows of a table say about classes: pixels of each, and the stratum of a row."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graftwork.data.arrow import column_of, distinct_values
from graftwork.interfaces import Facts, Tables
from graftwork_segmentation.labelmap import SETTINGS, VOID
from graftwork_segmentation.lookup import lookup
from graftwork_segmentation.masks import CLASS_PIXELS
from graftwork_segmentation.values import class_pixels, look_at_masks

if TYPE_CHECKING:
    from datasets import Dataset


def facts_of(tables: Tables) -> Facts:
    """`classes`: names by index; `train_counts`: pixels of each class in train, void left aside."""
    train = tables.splits.get("train")
    counts = np.zeros(len(tables.names), dtype=np.int64)
    if train is not None and len(train):
        counts += pixel_table(train, len(tables.names)).sum(axis=0)
    return {"classes": list(tables.names), "train_counts": counts.tolist()}


def strata(rows: Dataset) -> list[int]:
    """For every row the rarest class in its mask, rarest by the number of rows that show it, then by pixels.

    Rows whose masks cannot be read, or show no class, have a stratum of their own, one past the last class.
    """
    if not len(rows):
        return []
    pixels = pixel_table(rows)
    classes = pixels.shape[1]
    shown = pixels > 0
    order = np.lexsort((pixels.sum(axis=0), shown.sum(axis=0)))
    ranked = shown[:, order]
    rarest = np.where(ranked.any(axis=1), np.append(order, classes)[ranked.argmax(axis=1)], classes)
    return [int(label) for label in rarest]


def pixel_table(rows: Dataset, classes: int | None = None) -> NDArray[np.int64]:
    """Pixels of every class in every mask, int64 [rows, classes]; from the audit's column, else from the masks.

    Args:
        rows: with `mask` and `mask_map`.
        classes: how many there are; as many as the masks' maps name when None.
    """
    texts, places = distinct_values(column_of(rows, "mask_map"))
    count = classes if classes is not None else max(map(classes_in, texts), default=0)
    if CLASS_PIXELS in rows.column_names:
        flat = column_of(rows, CLASS_PIXELS).combine_chunks().flatten().to_numpy()
        table: NDArray[np.int64] = flat.reshape(len(rows), -1)
        return table
    table = np.zeros((len(rows), count), dtype=np.int64)
    for number, text in enumerate(texts):
        chosen = np.flatnonzero(places == number)
        for row, look in zip(chosen, look_at_masks(rows.select(chosen), lookup(text).form), strict=True):
            table[row] = class_pixels(look, text, count)
    return table


def classes_in(mask_map: str) -> int:
    """One more than the largest class index of a mask map."""
    return max(
        (index + 1 for key, index in json.loads(mask_map).items() if key not in SETTINGS and index != VOID), default=0
    )

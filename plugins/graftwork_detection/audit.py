"""A look at every image and box before a step is spent: what cannot be used is taken out or put right, and named.

Images are looked at in `graftwork.vision.audit`; boxes are repaired in `boxes`; what only reading sees is told there.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from graftwork.data.audit import IMBALANCE, similar_names
from graftwork.data.columns import add_column
from graftwork.errors import DataError
from graftwork.interfaces import Facts, Finding, Tables
from graftwork.vision.audit import Seen, check_alike, check_shapes, see_pictures
from graftwork.vision.decode import read_cell, turn_upright
from graftwork.vision.look import SIDEWAYS
from graftwork_detection.boxes import Objects, look_like_corners, odd_sizes, pack, repair, unpack
from graftwork_detection.findings import Notes
from graftwork_detection.sizes import fit_to_files
from graftwork_detection.units import doubt_pixels, in_first_pixel

if TYPE_CHECKING:
    from datasets import Dataset

FEW_OBJECTS = 5
"""Training objects; a class with fewer is reported."""


def audit_detection(tables: Tables) -> tuple[Tables, list[Finding]]:
    """Decode every image once, check and repair every box, check classes, duplicates and leakage.

    Removed are boxes that are not finite, have no area or lie wholly outside; clipped are those that lie partly outside;
    swapped corners are put right; equal boxes of one class are taken once. Images that lose all objects stay.

    Args:
        tables: canonical columns, all splits already made.

    Returns:
        The tables without images that cannot be decoded; `width` and `height` are now the upright image's own, and
        `content` is a hash of each file. And what was found; a split without a usable image or object is an error.
    """
    seen = see_pictures(tables)
    notes = Notes()
    objects = {split: _audit_split(split, seen, notes) for split in seen.tables.splits}
    _check_box_sizes(objects, seen, notes)
    made = {split: _written(rows, seen, split, objects[split]) for split, rows in seen.tables.splits.items()}
    counts = {split: count_objects(found, len(tables.names)) for split, found in objects.items()}
    _check_classes(counts, tables.names, notes)
    labels, called = _same_annotations(objects)
    findings = [
        *seen.findings,
        *notes.findings(),
        *similar_names(tables.names),
        *_imbalance(counts.get("train"), tables.names),
        *check_alike(seen, labels, called),
        *check_shapes(seen),
    ]
    return replace(tables, splits=made), findings


def strata(rows: Dataset) -> list[int]:
    """A number for every row: the class among its objects that has the fewest objects in all rows.

    Rows without objects have a number of their own, one above the last class.
    """
    objects = unpack(rows)
    counts = np.bincount(objects.classes)
    order = np.argsort(counts, kind="stable")  # rarest first; of equally rare ones the first class
    rank = np.empty(len(counts), np.int64)
    rank[order] = np.arange(len(counts))
    rarest = np.full(objects.count, len(counts))
    np.minimum.at(rarest, objects.rows, rank[objects.classes])
    found: list[int] = np.append(order, len(counts))[rarest].tolist()
    return found


def facts_of(tables: Tables) -> Facts:
    """`classes`: names by index; `train_counts`: training objects of each, those that are not scored left aside;
    `category_ids`: what the data numbers the classes, where that is not their index."""
    counts = count_objects(unpack(tables.splits["train"]), len(tables.names))
    ids = list(tables.class_ids)
    numbered = {} if ids in ([], list(range(len(ids)))) else {"category_ids": ids}
    return {"classes": list(tables.names), "train_counts": counts.tolist(), **numbered}


def count_objects(objects: Objects, classes: int) -> NDArray[np.int64]:
    """int64 [classes], objects that are scored."""
    return np.bincount(objects.classes[~objects.crowd], minlength=classes)


def _audit_split(split: str, seen: Seen, notes: Notes) -> Objects:
    rows, looks = seen.tables.splits[split], seen.looks[split]
    origins, names = list(rows["origin"][:]), seen.tables.names
    sizes = looks.sizes.astype(np.int64)
    declared = list(zip(rows["width"][:], rows["height"][:], strict=True))
    upright = [(int(width), int(height)) for width, height in sizes]
    told = (notes, split, origins)
    objects = fit_to_files(unpack(rows), declared, upright, lambda row: _turned(rows[row]["image"]), told)
    with np.errstate(over="ignore"):  # corners of absurd boxes
        unlikely = doubt_pixels(objects.boxes, sizes[objects.rows])
        if unlikely is not None:
            notes.add(unlikely[0], f"{split}{unlikely[1]}")
        if unlikely is None:
            for place in np.flatnonzero(in_first_pixel(objects.boxes, sizes[objects.rows])).tolist():
                notes.add("boxes-like-shares", _told(objects, place, origins, names))
        if (unlikely is None or unlikely[0] != "boxes-in-shares") and look_like_corners(objects, sizes):
            notes.add("boxes-look-like-corners", split)
        repaired = repair(objects, sizes, notes, lambda found, place: _told(found, place, origins, names))
    before, after = objects.per_row(), repaired.per_row()
    for row in np.flatnonzero(before == 0).tolist():
        notes.add("empty-image", origins[row])
    for row in np.flatnonzero((before > 0) & (after == 0)).tolist():
        notes.add("lost-all-objects", origins[row])
    if len(looks) and not (~repaired.crowd).any():
        notes.add("no-objects", split)
    return repaired


def _told(objects: Objects, place: int, origins: Sequence[str], names: Sequence[str]) -> str:
    """What an object is called: its image, class and box."""
    box = ", ".join(f"{value:g}" for value in np.round(objects.boxes[place], 2))
    return f"{origins[objects.rows[place]]}: {names[objects.classes[place]]} ({box})"


def _check_box_sizes(objects: Mapping[str, Objects], seen: Seen, notes: Notes) -> None:
    """Boxes that are far larger or smaller than others of their class, over all splits."""
    scored = {split: found.keep(~found.crowd) for split, found in objects.items()}
    boxes = np.concatenate([found.boxes for found in scored.values()])
    odd = odd_sizes(boxes, np.concatenate([found.classes for found in scored.values()]))
    for split, found in scored.items():
        here, odd = odd[: len(found.rows)], odd[len(found.rows) :]
        origins = seen.tables.splits[split]["origin"]
        for place in np.flatnonzero(here).tolist():
            notes.add("box-size-outlier", _told(found, place, origins, seen.tables.names))


def _turned(cell: Mapping[str, object]) -> Image.Transpose | None:
    """How an image is laid on its side by its EXIF orientation; None where it is not."""
    try:
        with Image.open(io.BytesIO(read_cell(cell))) as image:
            image.load()
            how = turn_upright(image)
    except (DataError, OSError):  # it changed since it was looked at
        return None
    return how if how in SIDEWAYS else None


def _written(rows: Dataset, seen: Seen, split: str, objects: Objects) -> Dataset:
    looks = seen.looks[split]
    if not len(looks):
        return rows
    rows = add_column(rows, "objects", pack(objects))
    for number, side in enumerate(("width", "height")):
        rows = add_column(rows, side, pa.array(looks.sizes[:, number], pa.int64()))
    return rows


def _same_annotations(objects: Mapping[str, Objects]) -> tuple[dict[str, list[int]], list[str]]:
    """For every row a number that is equal where objects are equal, and what each number is called."""
    numbers: dict[bytes, int] = {}
    called: list[str] = []
    labels = {}
    for split, found in objects.items():
        ends = np.cumsum(found.per_row())
        # Of equal objects in another order: sorted by class and place.
        keys = np.column_stack([found.rows, found.classes, np.round(found.boxes)])
        keys = keys[np.lexsort(keys.T[::-1])][:, 1:]
        column = []
        for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True) if len(ends) else ():
            key = keys[start:end].tobytes()
            if key not in numbers:
                numbers[key] = len(called)
                called.append(f"{end - start} objects" if end - start != 1 else "1 object")
            column.append(numbers[key])
        labels[split] = column
    return labels, called


def _check_classes(counts: Mapping[str, NDArray[np.int64]], names: Sequence[str], notes: Notes) -> None:
    """Classes without objects at all or in a split, and with few in training."""
    total = np.sum(list(counts.values()), axis=0)
    for index, name in enumerate(names):
        homes = [split for split, count in counts.items() if count[index]]
        if not total[index]:
            notes.add("empty-class", name)
            continue
        if len(homes) == 1 and len(counts) > 1:
            notes.add("label-in-one-split-only", f"{name} (only {homes[0]}: {total[index]})")
        else:
            for split in counts:
                if split not in homes:
                    notes.add("class-missing-in-split", f"{name} (none in {split})")
        if "train" in homes and counts["train"][index] < FEW_OBJECTS:
            notes.add("few-objects", f"{name} ({counts['train'][index]})")


def _imbalance(train: NDArray[np.int64] | None, names: Sequence[str]) -> list[Finding]:
    present = [] if train is None else sorted((int(n), name) for n, name in zip(train, names, strict=True) if n)
    if len(present) < 2 or present[-1][0] < IMBALANCE * present[0][0]:
        return []
    (small, rarest), (large, commonest) = present[0], present[-1]
    message = (
        f"the largest class, {commonest!r} ({large:,} training objects), has {large / small:.1f} times the objects of the "
        f"smallest, {rarest!r} ({small:,}); look at the average precision of each class"
    )
    return [
        Finding(
            "class-imbalance", "warning" if large >= 10 * small else "note", message, (rarest, commonest), len(present)
        )
    ]

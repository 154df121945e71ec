"""A label map where the data brings none: which of the values in the masks are classes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from graftwork.errors import DataError
from graftwork.interfaces import Finding
from graftwork_segmentation.checks import masks_by_alpha
from graftwork_segmentation.heaps import are_edges, are_heaps, middles_of_heaps
from graftwork_segmentation.labelmap import ALPHA, MOST_CLASSES, PALETTE, VOID, LabelMap, build_map
from graftwork_segmentation.lookup import Form, key_of_code
from graftwork_segmentation.naming import NEAREST_OPTION, OBJECT_OPTION
from graftwork_segmentation.objects import as_one_object, number_objects
from graftwork_segmentation.values import Census, count_masks

if TYPE_CHECKING:
    from datasets import Dataset

_ENOUGH = {False: 5_000, True: 500_000}  # values, by whether lossy masks are read; no label map has as many
_APART = 32  # values; class numbers are nearer to each other, grey levels are not
_SHOWN = 8


def map_from_masks(
    splits: Mapping[str, Dataset], where: str, nearest: bool = False, one_object: bool = False
) -> tuple[LabelMap, tuple[str, ...], list[Finding]]:
    """Every value in the masks as a class of that name, 255 as void; colours as classes named `#804080`.

    255 is a class where the values are grey levels rather than numbers of classes: 0 and 255 alone, levels that are evenly
    spread (0, 128, 255), or far apart. Values in heaps are no classes (`heaps`). Where palettes give an index several
    colours, these are the classes.

    Args:
        nearest: whether what lies in a heap belongs to the value in its middle, and lossy formats are read.
        one_object: whether everything but the background is one class.

    Returns:
        The map, settings that belong into it (keys of `labelmap.SETTINGS`), and findings.

    Raises:
        DataError: no mask can be read, or nothing tells which values are classes.
    """
    census, settings, found = _census(splits, where, nearest, sys.maxsize if one_object else _ENOUGH[nearest])
    if one_object:
        labels, note = as_one_object(census)
        return labels, settings, [*found, note]
    by_colour = census.by_colour
    what = "colours" if by_colour else "values"
    values = census.values.tolist()
    edges = not by_colour and are_edges(census.values, census.pixels)
    if edges or are_heaps(census.values, census.pixels, census.runs, by_colour):
        middles = [0, VOID] if edges else middles_of_heaps(census.values, census.pixels, census.runs, by_colour)
        told = ", ".join(key_of_code(value, by_colour) for value in middles[:_SHOWN])
        if len(middles) < 2:
            raise _too_many(f"{len(values):,}", what, where)
        if not nearest:
            raise _in_heaps(f"{len(values):,} different {what}", told, where)
        values = middles
    elif objects := number_objects(census):
        raise _objects(objects, where)
    if len(values) > MOST_CLASSES + 1:
        raise _too_many(f"{len(values):,}", what, where)
    if not by_colour and values == [0, 1, VOID]:
        _check_one_object(census, where)
    void = not by_colour and VOID in values and not are_levels(values)
    keys = [key_of_code(value, by_colour) for value in values]
    classes = [key for key in keys if not void or key != str(VOID)]
    if len(classes) > MOST_CLASSES:
        raise _too_many(f"{len(classes):,}", what, where)
    labels = build_map(((key, key if key in classes else None) for key in keys), where)
    return labels, settings, [*found, _no_map(classes, what, void)]


def are_levels(values: Sequence[int]) -> bool:
    """Whether values with 255 among them are grey levels, 255 one of them, and not numbers of classes with a void value.

    Example:
        >>> are_levels([0, 128, 255]), are_levels([0, 15, 255])
        (True, False)
    """
    if len(values) < 2 or values[-1] != VOID:
        return False
    even = np.linspace(values[0], VOID, len(values))
    if values[0] in (0, 1) and even[1] - even[0] > 4 and np.abs(np.array(values) - even).max() <= 1:
        return True
    return int(np.diff(values).min()) >= _APART


def _census(
    splits: Mapping[str, Dataset], where: str, nearest: bool, most: int
) -> tuple[Census, tuple[str, ...], list[Finding]]:
    """All values in the masks, as colours where any mask has colours or palettes differ."""
    census = count_masks(splits, Form(None, nearest), most)
    settings: tuple[str, ...] = ()
    found = []
    if len(census.counts) == 1 and census.opacity > 1:
        census = count_masks(splits, Form(False, nearest, alpha=True), most)
        settings = (ALPHA,)
        found.append(masks_by_alpha(census.masks))
    if census.by_colour:  # once more: a mask of black and white alone looks like values
        census = count_masks(splits, Form(True, nearest), most)
    elif census.palettes_differ:
        several = [
            f"index {index}: {_colours(seen)}" for index, seen in sorted(census.palettes.items()) if len(seen) > 1
        ]
        message = "palettes differ from mask to mask, so that an index means nothing; their colours count instead"
        found.append(Finding("palettes-differ", "warning", message, tuple(several[:5]), len(several)))
        grey = all(colour >> 8 == colour & 0xFFFF for seen in census.palettes.values() for colour in seen)
        settings = (PALETTE,) if grey else ()
        census = count_masks(splits, Form(None if grey else True, nearest, grey), most)
    if len(census.counts) > most:
        raise _too_many(f"more than {most:,}", "colours" if census.by_colour else "values", where)
    if not census.counts:
        hint = None
        if census.refused:
            hint = (
                f"{NEAREST_OPTION} takes for every pixel the nearest of the values that labels.yaml names; without "
                "labels.yaml, of those around which all others stand (0 and 255: cut at the middle)"
            )
        what = f"none of the {census.masks:,} masks can be read (the first {census.reason})"
        raise DataError(what, where=where, hint=hint)
    return census, settings, found


def _colours(codes: set[int]) -> str:
    told = [key_of_code(code, True) for code in sorted(codes)]
    return ", ".join(told[:3]) + (", …" if len(told) > 3 else "")


def _no_map(classes: Sequence[str], what: str, void: bool) -> Finding:
    if what == "values" and classes == ["0", str(VOID)]:
        told = "the masks' values 0 and 255 are taken for two classes"
    else:
        listed = f" ({', '.join(classes)})" if len(classes) <= _SHOWN else ""
        told = f"the {len(classes)} {what} in the masks{listed} are the classes{', 255 is not scored' if void else ''}"
    message = f"no label map: {told}; write a labels.yaml to name them"
    return Finding("no-label-map", "warning", message, tuple(classes[:5]), len(classes))


def _check_one_object(census: Census, where: str) -> None:
    """0 and 1 in some masks, 0 and 255 in others, and never both: the same two classes, saved in two ways.

    Raises:
        DataError: it is so, or looks so.
    """
    ones, whites = census.pairs[(0, 1)], census.pairs[(0, VOID)]
    if ones and whites and census.largest == 2 and not census.pairs[(1, VOID)]:
        what = f"{ones:,} of its masks have the values 0 and 1, {whites:,} have 0 and 255, none has both"
        hint = "Write a labels.yaml: 0: background, 1: object, 255: object; or, where 255 is void, ignore: [255]"
        raise DataError(what, where=where, hint=hint)


def _in_heaps(count: str, middles: str, where: str) -> DataError:
    what = (
        f"its masks have {count} in heaps around {middles}, as after saving with loss or resizing; these are no classes"
    )
    hint = (
        f"{NEAREST_OPTION} takes for every pixel the nearest of {middles}; with a labels.yaml, of those that it names"
    )
    return DataError(what, where=where, hint=hint)


def _objects(what: str, where: str) -> DataError:
    hint = (
        f"{OBJECT_OPTION} takes everything but the background for one class; or write a labels.yaml beside the data, where "
        "these are classes (VALUE: name, a line each)"
    )
    return DataError(f"{what}: these number objects, and are no classes", where=where, hint=hint)


def _too_many(count: str, what: str, where: str) -> DataError:
    hint = (
        f"Write a labels.yaml beside the data that says which {what} are classes; where all but the background is one "
        f"class, {OBJECT_OPTION}; where masks were smoothed or saved with "
        f"loss, {NEAREST_OPTION} takes the nearest of these"
    )
    return DataError(f"its masks have {count} different {what}, and no label map", where=where, hint=hint)

"""labelme's folders of one picture each (`labelme_export_json`): `label.png`, whose values `label_names.txt` beside it names.

Values are counted picture by picture there, so that a value means something else in every folder.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from graftwork.errors import DataError
from graftwork.files.text import read_text, save_as_utf8
from graftwork_segmentation.joined import Mask, png
from graftwork_segmentation.labelmap import LARGEST_VALUE, VOID, LabelMap
from graftwork_segmentation.lookup import Form
from graftwork_segmentation.maskfiles import mask_values
from graftwork_segmentation.tags import is_background, join_tags

FILE = "label_names.txt"


def with_one_numbering(
    rows: Mapping[str, Sequence[tuple[Path, Mask]]],
) -> tuple[dict[str, list[tuple[Path, Mask]]], LabelMap] | None:
    """The rows with masks whose values mean the same in all of them, and what they mean; None where no names lie beside masks."""
    masks = {mask.files[0][0] for pairs in rows.values() for _, mask in pairs}
    names = {mask: found for mask in masks if (found := _names_in(mask.parent)) is not None}
    if not names:
        return None
    labels = join_tags(sorted({name for found in names.values() for name in found}))
    value = {name: number for number, name in enumerate(labels.names)}
    numbers = {mask: [0 if is_background(name) else value[name] for name in found] for mask, found in names.items()}
    renumbered = {
        split: [
            (image, _renumbered(mask, numbers[mask.files[0][0]])) for image, mask in pairs if mask.files[0][0] in names
        ]
        for split, pairs in rows.items()
    }
    return {split: pairs for split, pairs in renumbered.items() if pairs}, labels


@functools.lru_cache(maxsize=4096)
def _names_in(folder: Path) -> tuple[str, ...] | None:
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        return tuple(line.strip() for line in read_text(file).splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read ({error})", where=str(file), hint=save_as_utf8(file)) from None


def _renumbered(mask: Mask, numbers: Sequence[int]) -> Mask:
    """The mask with the numbers that its names have; values without a name are not scored."""
    file = mask.files[0][0]
    try:
        values = mask_values(file.read_bytes(), Form(False))
    except (OSError, DataError):
        return mask  # the audit says what is wrong with it
    known = np.full(LARGEST_VALUE + 1, VOID, dtype=np.uint16)
    known[: len(numbers)] = numbers
    return Mask(mask.files, png(known[values]))

"""Pictures to find objects on: files, folders, and COCO files, whose image ids go along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.data.columns import add_column
from graftwork.errors import DataError
from graftwork.interfaces import Facts, Inputs
from graftwork.vision.inputs import picture_rows, read_inputs
from graftwork_detection.coco import find_coco, image_ids
from graftwork_detection.findings import Notes

if TYPE_CHECKING:
    from datasets import Dataset


def read_pictures(inputs: Sequence[str], facts: Facts) -> Dataset:
    """Rows with `image` and `origin`, and with `image_id` where a COCO file among the inputs, or in a folder of them, has ids.

    A COCO file stands for the pictures that it lists, in its order.

    Raises:
        DataError: as `graftwork.vision.inputs.read_inputs`, and for a picture of a COCO file that is not there.
    """
    given = Inputs.of(inputs)
    words: list[str] = []
    contents: set[int] = set()
    ids: dict[Path, int | str] = {}
    for number, word in enumerate(given.words):
        path = Path(word)
        if number in given.contents:
            contents.add(len(words))
        elif path.suffix.lower() == ".json" and path.is_file():
            words += _listed(path, given, ids)
            continue
        elif path.is_dir():
            ids |= _ids_in(path)
        words.append(word)
    if not words and given.words:  # all that COCO files list was refused
        return picture_rows([], [])
    return _numbered(read_inputs(replace(given, words=tuple(words), contents=frozenset(contents)), facts), ids)


def _listed(file: Path, given: Inputs, ids: dict[Path, int | str]) -> list[str]:
    """The pictures of a COCO file; their ids are noted."""
    found: list[str] = []
    try:
        images = image_ids(file, {"test": file})
    except DataError as error:
        given.refuse(error)
        return []
    if not images:
        given.refuse(DataError("lists no image", where=str(file)))
    for name, path, key in images:
        if path is None:
            given.refuse(DataError(f"its image {name} is not there", where=str(file), hint="Put it beside the file"))
        else:
            found.append(str(path))
            ids[path.resolve()] = key
    return found


def _ids_in(folder: Path) -> Mapping[Path, int | str]:
    try:
        images = image_ids(folder, find_coco(folder, Notes()))
    except DataError:  # of a folder its pictures are wanted, whatever else is wrong in it
        return {}
    return {path.resolve(): key for _, path, key in images if path is not None}


def _numbered(rows: Dataset, ids: Mapping[Path, Any]) -> Dataset:
    import pyarrow as pa

    found = [ids.get(Path(cell["path"]).resolve()) if ids else None for cell in rows["image"][:]]
    if all(key is None for key in found):
        return rows
    texts = any(isinstance(key, str) for key in found)
    column = [None if key is None else str(key) for key in found] if texts else found
    return add_column(rows, "image_id", pa.array(column, pa.string() if texts else pa.int64()))

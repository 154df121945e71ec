"""Tables with a row a box: those of Roboflow, TensorFlow and OpenImages, and others with a picture, a class and corners."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.data.folders import is_junk
from graftwork.data.names import class_name
from graftwork.data.paths import Files, Found
from graftwork.errors import DataError
from graftwork.files.text import decode_text
from graftwork.interfaces import DataRequest
from graftwork.vision.decode import SUFFIXES
from graftwork_detection.findings import Notes
from graftwork_detection.rows import (
    Annotated,
    Box,
    Read,
    find_picture,
    image_folders,
    number,
    pictures_in,
    relative,
    settle,
    split_folders,
    split_in_name,
    spoken,
    subfolder,
    why_not,
)
from graftwork_detection.sizes import upright_size

if TYPE_CHECKING:
    from datasets import Dataset

_SPELLINGS: dict[str, tuple[str, ...]] = {
    "image": (
        *("filename", "imagefilename", "imageid", "image", "imagename", "imagepath", "imagefile", "filepath", "file"),
        *("path", "imgpath", "imgname", "img", "frame", "picture"),
    ),
    "label": (
        *(
            "class",
            "label",
            "classname",
            "labelname",
            "category",
            "categoryname",
            "objectclass",
            "classid",
            "categoryid",
        ),
        *("labels", "target", "species", "name"),
    ),
    "xmin": ("xmin", "x1", "left", "xtl", "bboxxmin", "boxxmin", "bboxx1", "minx", "xmn"),
    "ymin": ("ymin", "y1", "top", "ytl", "bboxymin", "boxymin", "bboxy1", "miny", "ymn"),
    "xmax": ("xmax", "x2", "right", "xbr", "bboxxmax", "boxxmax", "bboxx2", "maxx", "xmx"),
    "ymax": ("ymax", "y2", "bottom", "ybr", "bboxymax", "boxymax", "bboxy2", "maxy", "ymx"),
    "x": ("x", "bboxx", "boxx", "bboxleft", "boxleft", "bboxxmin", "left", "xmin", "x1"),
    "y": ("y", "bboxy", "boxy", "bboxtop", "boxtop", "bboxymin", "top", "ymin", "y1"),
    "w": ("w", "bboxwidth", "boxwidth", "bboxw", "width"),
    "h": ("h", "bboxheight", "boxheight", "bboxh", "height"),
    "bbox": ("bbox", "boundingbox", "box", "bboxes"),
    "width": ("width", "imagewidth", "imgwidth", "w"),
    "height": ("height", "imageheight", "imgheight", "h"),
    "group": ("isgroupof", "iscrowd", "crowd", "difficult"),
}
"""Usual names of each column, most likely first, without blanks, underscores and capitals."""

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_SIZES = ("x", "y", "w", "h")
_NUMBER = re.compile(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?")
_FOLDERS = ("data", "annotations", "labels", "csv")


def box_columns(names: Sequence[str], given: Mapping[str, str]) -> dict[str, str] | None:
    """The columns of picture and box among some names, and that of the class where there is one; None for other tables.

    Args:
        given: what `--column` says, by our name.
    """
    plain = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(names)}
    found = {
        key: given.get(key) or next((plain[name] for name in usual if name in plain), "")
        for key, usual in _SPELLINGS.items()
    }
    for wanted in (_CORNERS, _SIZES, ("bbox",)):
        if all(found[key] for key in wanted) and len({found[key] for key in wanted}) == len(wanted):
            size = ("width", "height") if wanted != _SIZES else ()
            chosen = {key: found[key] for key in ("image", *wanted, "label", *size, "group") if found[key]}
            return chosen if found["image"] and set(chosen.values()) <= set(names) else None
    return None


def find_box_tables(root: Path) -> dict[str, Path]:
    """CSV files with a row a box, by split; empty where there is none.

    Raises:
        DataError: two mean one split, or none of several says which it is.
    """
    inner = [(folder, None) for name in _FOLDERS if (folder := subfolder(root, name))]
    places = [(root, None), *inner, *((folder, split) for split, folder in split_folders(root).items())]
    named: dict[str, list[Path]] = defaultdict(list)
    for folder, split in places:
        for file in sorted(folder.iterdir()):
            if file.suffix.lower() in (".csv", ".tsv") and not is_junk(file.name) and box_columns(header(file), {}):
                named[split or split_in_name(file.stem) or ""].append(file)
    unnamed = named.pop("", [])
    if not named and len(unnamed) == 1:
        return {"train": unnamed[0]}
    if not named and unnamed:
        listed = ", ".join(file.name for file in unnamed[:5])
        hint = "Name them train.csv, val.csv, test.csv, or give one file"
        raise DataError(f"has several tables of boxes ({listed}), none named after a split", where=str(root), hint=hint)
    for split, files in named.items():
        if len(files) > 1:
            raise DataError(
                f"{' and '.join(relative(file, root) for file in files)} both mean {split}", where=str(root)
            )
    return {split: files[0] for split, files in named.items()}


def header(file: Path) -> list[str]:
    """The cells of a CSV file's first line; empty where it has none that can be read."""
    try:
        with file.open("rb") as stream:
            first = decode_text(stream.read(1 << 16), "replace").partition("\n")[0].rstrip("\r")
    except OSError:
        return []
    delimiter = max(",;\t|", key=first.count)
    return [cell.strip() for cell in next(csv.reader([first], delimiter=delimiter), [])]


def read_boxes(
    home: Path, splits: Mapping[str, Dataset], files: Mapping[str, Path], request: DataRequest, notes: Notes
) -> Read:
    """Images and objects of tables with a row a box; classes in the order of their names, or of their numbers.

    Corners are taken as they stand: x = xmin, width = xmax - xmin. A row without box and class is a picture without objects.

    Args:
        home: the data's folder.
        splits: the tables' rows.
        files: the table of each split; names of pictures start from its folder.

    Raises:
        DataError: there is no column for the class.
    """
    rows: list[tuple[str, str, dict[str, Any], str]] = []
    for split, table in splits.items():
        columns = box_columns(table.column_names, request.columns)
        if columns is None or "label" not in columns:
            there = ", ".join(name for name in table.column_names if name != "origin")
            hint = "Say which with --column label=NAME; where all boxes are of one class, add a column that names it"
            raise DataError(f"has no column for the class; its columns: {there}", where=str(files[split]), hint=hint)
        for row in table:
            cells = {key: row[name] for key, name in columns.items()}
            called = str(cells["image"] or "").strip()
            if called:
                rows.append((split, called, cells, row["origin"]))
            else:
                notes.add("annotation-without-image", f"{row['origin']} (names no picture)")
    pictures = settle(_find_all(home, files, rows), home, notes)
    index, names = _classes(cells["label"] for _, _, cells, _ in rows)
    images: dict[str, dict[Path, Annotated]] = {split: {} for split in splits}
    for split, name, cells, origin in rows:
        found = pictures[split, name]
        if found.path is None:
            notes.add("annotation-without-image", f"{origin}: {why_not(found, home)}")
            continue
        image = images[split].get(found.path)
        if image is None:
            image = images[split][found.path] = _image(found.path, home, cells)
        _object(image, cells, index, origin, notes, request.options)
    _name_others(home, images, notes)
    return Read({split: list(found.values()) for split, found in images.items()}, names)


def _find_all(
    home: Path, files: Mapping[str, Path], rows: Sequence[tuple[str, str, dict[str, Any], str]]
) -> dict[tuple[str, str], Found]:
    below = Files(home, SUFFIXES)
    places = {split: image_folders(home, split, file) for split, file in files.items()}
    names = dict.fromkeys((split, name) for split, name, _, _ in rows)
    return {(split, name): find_picture(below, name, *places[split]) for split, name in names}


def _name_others(home: Path, images: Mapping[str, Mapping[Path, Annotated]], notes: Notes) -> None:
    seen = {path for found in images.values() for path in found}
    for folder in sorted({path.parent for path in seen}):
        for picture in pictures_in(folder):
            if picture not in seen:
                notes.add("image-without-annotation", relative(picture, home))


def _image(path: Path, home: Path, cells: Mapping[str, Any]) -> Annotated:
    width, height = (_number(cells.get(side)) or 0 for side in ("width", "height"))
    declared = (int(width), int(height)) if 0 < width < 1e9 and 0 < height < 1e9 else (0, 0)
    # OpenImages, known by this column, has shares: pixels need the size.
    return Annotated(path, relative(path, home), *(upright_size(path) if "group" in cells else declared))


def _object(
    image: Annotated,
    cells: Mapping[str, Any],
    index: Mapping[str, int],
    origin: str,
    notes: Notes,
    options: Mapping[str, Any],
) -> None:
    label = _label(cells["label"])
    values = _values(cells)
    if all(value in (None, "") for value in values):
        if label is not None:
            notes.add("malformed-box", f"{origin} ({label}, no box)")
        return
    if label is None:
        notes.add("object-without-class", origin)
        return
    numbers = [_number(value) for value in values]
    if len(numbers) != 4 or None in numbers:
        notes.add("malformed-box", f"{origin} ({', '.join(map(str, values))[:60]})")
        return
    x, y, third, fourth = (value for value in numbers if value is not None)
    box: Box = (
        (x, y, third - x, fourth - y) if options.get("boxes") == "corners" or "xmax" in cells else (x, y, third, fourth)
    )
    crowd = str(cells.get("group") or "0").strip().lower() not in ("0", "false", "-1")
    usual = options.get("box_unit", "usual") == "usual"
    if usual and "group" in cells and "xmax" in cells and max(x, y, third, fourth) <= 1:
        box = (box[0] * image.width, box[1] * image.height, box[2] * image.width, box[3] * image.height)
    if crowd:
        notes.add("crowd-objects", origin)
    image.add(box, index[label], crowd)


def _values(cells: Mapping[str, Any]) -> list[Any]:
    if "bbox" in cells:
        value = cells["bbox"]
        return _NUMBER.findall(value) if isinstance(value, str) else list(value or ())
    return [cells[key] for key in (_CORNERS if "xmax" in cells else _SIZES)]


def _number(value: Any) -> float | None:
    if not isinstance(value, str):
        return number(value)
    text = value.strip()
    return spoken(text.replace(",", ".") if text.count(",") == 1 and "." not in text else text)


def _label(value: Any) -> str | None:
    return class_name("" if value is None else str(value)) or None


def _classes(labels: Iterable[Any]) -> tuple[dict[str, int], tuple[str, ...]]:
    found = {label for label in map(_label, labels) if label is not None}
    numbered = all(re.fullmatch(r"\d{1,9}", label) for label in found)
    names = tuple(sorted(found, key=lambda label: (int(label), label) if numbered else (0, label)))
    return {name: place for place, name in enumerate(names)}, names

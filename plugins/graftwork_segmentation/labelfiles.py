"""Label maps as other tools leave them beside masks: classes.txt, label_colors.txt, labelmap.txt, class_dict.csv."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from graftwork.errors import UsageError
from graftwork.files.text import text_of
from graftwork_segmentation.labelmap import LabelMap, build_map, key_of, read_label_map

FILES = (
    "labels.yaml",
    "labels.yml",
    "label_colors.txt",
    "labelmap.txt",
    "class_dict.csv",
    "class_dict_seg.csv",
    "_classes.csv",
    "classes.txt",
    "class_names.txt",
)
"""Label files that are looked for beside the data; the first that is there counts."""

VOC_NAMES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""The 21 classes of Pascal VOC (Everingham et al. 2010) by mask value; 255 is void."""

_COLOUR_FIRST = re.compile(r"(\d{1,3}[\s,]+\d{1,3}[\s,]+\d{1,3})\s+(\S.*)")
_COLOUR_AFTER = re.compile(r"([^:]+):\s*(\d{1,3}\s*,\s*\d{1,3}\s*,\s*\d{1,3})\s*(?::.*)?")
_CSV_FORMS = (("name", "r", "g", "b"), ("class", "pixel value"))
_VOID_NAMES = frozenset({"void", "ignore", "__ignore__"})


def find_label_file(folder: Path) -> Path | None:
    """The label file that lies in the folder, if any."""
    return next((folder / name for name in FILES if (folder / name).is_file()), None)


def read_label_file(path: Path) -> LabelMap:
    """A label map from YAML or one of the plain forms, told apart by suffix and first line.

    `NAME` a line (values from 0; labelme's `__ignore__` in the first line counts as no value); `R G B NAME` (CamVid);
    `NAME:R,G,B:parts:actions` (CVAT); CSV with name, r, g and b, or with Pixel Value and Class.
    In these, a class called void or ignore is not scored.

    Raises:
        UsageError: not in one of these forms; with file and line.
        DataError: the file cannot be read.
    """
    if path.suffix.lower() in (".yaml", ".yml"):
        return read_label_map(path)
    lines = [(number, line.strip()) for number, line in enumerate(text_of(path).splitlines(), start=1)]
    if path.suffix.lower() == ".csv":
        pairs = list(_from_csv(lines, path))
    else:
        lines = [(number, line) for number, line in lines if line and not line.startswith("# ")]
        pairs = list(_from_lines(lines, path))
    return build_map(((key, None if name.lower() in _VOID_NAMES else name) for key, name in pairs), str(path))


def voc_map(by_colour: bool = False) -> LabelMap:
    """The label map of Pascal VOC, by value, or by the colours of its palette, as copies without a palette have them."""
    keys = [voc_colour(value) if by_colour else str(value) for value in (*range(len(VOC_NAMES)), 255)]
    return build_map(zip(keys, (*VOC_NAMES, None), strict=True), "Pascal VOC's 21 names")


def voc_colour(value: int) -> str:
    """The colour of a value in Pascal VOC's palette, whose bits are dealt out to red, green and blue.

    Example:
        >>> voc_colour(1), voc_colour(15), voc_colour(255)
        ('#800000', '#c08080', '#e0e0c0')
    """
    levels = [sum((value >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(8)) for channel in range(3)]
    return "#{:02x}{:02x}{:02x}".format(*levels)


def _from_lines(lines: Sequence[tuple[int, str]], path: Path) -> Iterator[tuple[str, str]]:
    first = lines[0][1] if lines else ""
    if _COLOUR_FIRST.fullmatch(first) or _COLOUR_AFTER.fullmatch(first):
        for number, line in lines:
            if match := _COLOUR_FIRST.fullmatch(line):
                yield _colour(match[1], path, number), match[2].strip()
            elif match := _COLOUR_AFTER.fullmatch(line):
                yield _colour(match[2], path, number), match[1].strip()
            else:
                raise UsageError(f"{line!r} is not a colour with a name", where=f"{path}:{number}", hint="R G B NAME")
        return
    skipped = 1 if first.lower() == "__ignore__" else 0
    seen: dict[str, int] = {}
    for value, (number, name) in enumerate(lines[skipped:]):
        if name in seen:
            what = f"has the name {name!r} twice (line {seen[name]})"
            raise UsageError(what, where=f"{path}:{number}", hint="For several values of one class use labels.yaml")
        seen[name] = number
        yield str(value), name


def _from_csv(lines: Sequence[tuple[int, str]], path: Path) -> Iterator[tuple[str, str]]:
    table = csv.reader([line for _, line in lines])
    header = [name.strip().lower() for name in next(table, [])]
    wanted = next((form for form in _CSV_FORMS if set(form) <= set(header)), None)
    if wanted is None:
        what = f"has the columns {', '.join(header) or 'none'}"
        raise UsageError(what, where=str(path), hint="Wanted name, r, g, b; or write a labels.yaml")
    places = [header.index(name) for name in wanted]
    for cells in table:
        if not any(cells):
            continue
        if len(cells) <= max(places):
            raise UsageError("has too few columns", where=f"{path}:{table.line_num}")
        name, *numbers = (cells[place].strip() for place in places)
        key = key_of(" ".join(numbers))
        if key is None:
            hint = "Wanted a mask value, or three numbers 0..255"
            raise UsageError(
                f"{' '.join(numbers)!r} is no value or colour", where=f"{path}:{table.line_num}", hint=hint
            )
        yield key, name


def _colour(text: str, path: Path, line: int) -> str:
    key = key_of(text)
    if key is None or not key.startswith("#"):
        raise UsageError(f"{text!r} is no colour", where=f"{path}:{line}", hint="Wanted three numbers 0..255")
    return key

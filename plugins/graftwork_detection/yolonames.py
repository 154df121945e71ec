"""The classes of a YOLO data set: where their names are written, and which number means which."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graftwork.data.folders import is_junk
from graftwork.data.names import class_name
from graftwork.data.paths import Files
from graftwork.errors import DataError
from graftwork.files.text import decode_text, text_of
from graftwork_detection.findings import Notes
from graftwork_detection.rows import split_folders, spoken, subfolder
from graftwork_detection.yololines import CLASS_FILES, split_line


def class_files(root: Path) -> list[Path]:
    """Lists of class names beside files of labels."""
    places = [root, *(folder for name in ("labels", "data") if (folder := subfolder(root, name)))]
    places += [
        inner for folder in split_folders(root).values() for inner in (folder, subfolder(folder, "labels")) if inner
    ]
    files = [place / name for place in places for name in CLASS_FILES if (place / name).is_file()]
    files = files or [file for place in places for file in sorted(place.glob("*.names")) if not is_junk(file.name)]
    return files if files and _has_labels(root) else []


def _has_labels(root: Path) -> bool:
    skipped = {"train.txt", "val.txt", "valid.txt", "test.txt", *CLASS_FILES}
    for file in root.rglob("*.txt"):
        if file.name.lower() not in skipped and not is_junk(file.name):
            with file.open("rb") as stream:
                words, _ = split_line(decode_text(stream.read(4096), "replace").lstrip().partition("\n")[0])
            if len(words) >= 5 and all(spoken(word) is not None for word in words[-4:]):
                return True
    return False


def merged(classes: Mapping[int, str], notes: Notes) -> tuple[tuple[str, ...], dict[int, int]]:
    """Class names by index, and the index of each class number; numbers of one name are one class."""
    numbers: dict[str, list[int]] = {}
    for number, name in sorted(classes.items()):
        numbers.setdefault(name, []).append(number)
    for name, of in numbers.items():
        if len(of) > 1:
            notes.add("class-with-several-ids", f"{name} ({', '.join(map(str, of))})")
    names = tuple(numbers)
    return names, {number: place for place, name in enumerate(names) for number in numbers[name]}


def check_first_class(seen: Sequence[Counter[int]], classes: Mapping[int, str], notes: Notes) -> None:
    """Numbers 1 to N of N names, which are 0 to N - 1: every object would have its neighbour's name."""
    numbers = {number for one in seen for number in one}
    if numbers and min(numbers) == 1 + min(classes) and max(numbers) == 1 + max(classes):
        last = max(numbers)
        told = f"class {last} occurs, of {len(classes)} names that are numbered {min(classes)} to {max(classes)}"
        notes.add("classes-from-one", told, sum(one.total() for one in seen))


def classes_of(content: Mapping[str, Any], file: Path, notes: Notes) -> dict[int, str]:
    """Class names by number, of whatever `names` holds: a list, a mapping either way round, text, or a file of names."""
    value = content.get("names")
    if value is None and (beside := next(iter(class_files(file.parent)), None)):
        value = [line for line in lines_of(beside) if line.strip()]
    if value is None and isinstance(content.get("nc"), int) and 0 < content["nc"] <= 100_000:
        notes.add("unnamed-classes", f"0 to {content['nc'] - 1}", content["nc"])
        value = list(map(str, range(content["nc"])))
    if isinstance(value, str) and value.strip():
        listed = Files(file.parent).tail(value)
        is_file = listed is not None and listed.is_file()
        value = [line for line in lines_of(listed) if line.strip()] if is_file and listed else value.split(",")
    if isinstance(value, Mapping):
        if value and not any(_whole(key) is not None for key in value):  # {cat: 0, dog: 1}
            value = {number: name for name, number in value.items()}
        numbers = [_whole(key) for key in value]
        if None in numbers or len(set(numbers)) < len(numbers):
            hint = "Write them as a list (names: [cat, dog]) or by number (0: cat)"
            raise DataError("its names have no numbers of their own", where=str(file), hint=hint)
        value = dict(zip(numbers, value.values(), strict=True))
    elif isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or not value:
        raise DataError("has no names of classes", where=str(file), hint="Add names: [cat, dog]")
    named = {number: class_name("" if name is None else str(name)) for number, name in value.items()}
    for number in (number for number, name in named.items() if not name):
        notes.add("unnamed-classes", str(number))
    return {number: name or str(number) for number, name in named.items()}


def _whole(key: Any) -> int | None:
    return int(key) if re.fullmatch(r"\d{1,9}", str(key)) else None


def lines_of(file: Path) -> list[str]:
    return text_of(file, "as a list of classes").splitlines()

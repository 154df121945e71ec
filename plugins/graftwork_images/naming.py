"""Tables that lie beside pictures: which of them name pictures, in which column, and what of them may be the label.

A folder can be read in two ways then, and a wrong guess would train on the wrong classes: the user is asked.
"""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.data.columns import LABEL_NAMES, guess_columns
from graftwork.data.folders import is_junk
from graftwork.data.paths import Files
from graftwork.data.splits import canonical_split
from graftwork.data.tables import SUFFIXES as TABLE_SUFFIXES
from graftwork.data.tables import read_tables
from graftwork.errors import DataError
from graftwork.vision.decode import SUFFIXES

if TYPE_CHECKING:
    from datasets import Dataset

_TABLES = 20
"""Tables that are looked into."""

_ROWS = 2000
"""Rows of a table whose labels are looked at; of _NAMES of them it is seen whether they name pictures."""

_CLASS_WORDS = frozenset(
    {*LABEL_NAMES, "classes", "categories", "species", "breed", "diagnosis", "genus", "finding", "grade"}
)

_NAMES = 40
_SHARE = 0.8


@dataclass(frozen=True)
class Naming:
    """A table that names pictures.

    Args:
        file: the table.
        image: its column of names.
        labels: columns that may be the label, most likely first.
        flags: columns of 0 and 1, where they are more than one.
        exclusive: each row has a 1 in one of these.
        folders: of the pictures, relative to the root, most frequent first.
        agrees: a column says of the pictures what their folders are called.
    """

    file: Path
    image: str
    labels: tuple[str, ...]
    flags: tuple[str, ...]
    exclusive: bool
    folders: tuple[str, ...]
    agrees: bool


def ask_about_tables(root: Path) -> None:
    """Stop where a table beside folders names the pictures in them, and says something else of them than the folders do.

    Raises:
        DataError: names the table, and the command that reads it.
    """
    tables = list(_tables_below(root))
    if not tables:
        return
    files = Files(root, SUFFIXES, outside=False)
    found = [naming for file in tables if (naming := look_into(file, root, files)) is not None]
    asked = [naming for naming in found if naming.labels or naming.flags]
    if not asked or any(naming.agrees for naming in found):
        return
    best = max(asked, key=lambda naming: "train" in naming.file.relative_to(root).as_posix().lower())
    best = replace(best, exclusive=all(naming.exclusive for naming in asked))
    name = best.file.relative_to(root).as_posix()
    others = [naming.file.relative_to(root).as_posix() for naming in asked if naming.file != best.file]
    places = ", ".join(f"{folder}/" for folder in best.folders[:3]) or "this folder"
    beside = f" (so {'does' if len(others) == 1 else 'do'} {', '.join(others[:4])})" if others else ""
    raise DataError(
        f"{name} names the pictures of {places} in its column {best.image!r}{beside}, so that folders are perhaps no classes",
        where=str(root),
        hint=f"Give the table: {_command(best, root)}. Where the folders are the classes, move it elsewhere",
    )


def _command(naming: Naming, root: Path) -> str:
    if not naming.labels and naming.file.parent != root and canonical_split(naming.file.parent.name):
        words = ["--data", str(root)]  # a table a split, as Roboflow writes them
    else:
        words = ["--data", str(naming.file)]
    words += ["--column", f"image={naming.image}"]
    if naming.labels:
        words += ["--column", f"label={naming.labels[0]}"]
    elif not naming.exclusive:
        words += ["--set", "task_options.labels=multi"]
    command = shlex.join(words)
    more = ", ".join(naming.labels[1:4])
    return f"{command} (or another column: {more})" if more else command


def look_into(file: Path, root: Path, files: Files) -> Naming | None:
    """What a table says of the pictures below a root; None where it names none of them, or cannot be read."""
    try:
        rows = next(iter(read_tables(file, {"train": [file]})[0].values()))
    except (DataError, StopIteration):
        return None
    step = max(1, len(rows) // _ROWS)
    sample = rows.select(range(0, len(rows), step))
    columns = {name: _texts(sample, name) for name in rows.column_names if name != "origin"}
    named = {name: _pictures_named(values, file, root, files) for name, values in columns.items()}
    best = max(named, key=lambda name: len(named[name]), default=None)
    if best is None or not named[best]:
        return None
    labels, flags = _labels_and_flags({name: values for name, values in columns.items() if name != best})
    parents = Counter(path.parent.relative_to(root).as_posix() for path in named[best].values())
    bare = not any(Path(value).suffix.lower() in SUFFIXES for value in columns[best])
    if bare and 2 * len(rows) < sum(_pictures_in(root / folder) for folder in parents):
        return None  # the days of a month are called like some pictures
    folders = tuple(folder for folder, _ in parents.most_common() if folder != ".")
    exclusive = all(
        sum(cell.startswith("1") for cell in row) == 1 for row in zip(*(columns[name] for name in flags), strict=True)
    )
    return Naming(file, best, tuple(labels), flags, exclusive, folders, _agrees(named[best], columns, labels))


def _labels_and_flags(columns: Mapping[str, Sequence[str]]) -> tuple[list[str], tuple[str, ...]]:
    """The columns that may be the label, most likely first, and those of 0 and 1 that may be a class each."""
    flags = [name for name, values in columns.items() if set(values) <= {"0", "1", "0.0", "1.0"}]
    flags = [name for name in flags if not set(columns[name]) <= {"1", "1.0"}]  # what is always so tells nothing apart
    called = [name for name in columns if _is_called_a_class(name)]
    if len(set(flags) & set(called)) > 1:  # class_cat, class_dog
        called = [name for name in called if name not in flags]
    labels = [
        name
        for name, values in columns.items()
        if (name in called and len(set(values)) > 1)
        or (name not in flags and 2 <= len(set(values)) <= max(2, len(values) // 2))
    ]
    flags = [name for name in flags if name not in labels]
    if len(flags) == 1:
        labels, flags = [*labels, *flags], []
    usual = guess_columns(labels, {"label": LABEL_NAMES}).get("label")
    number = {name: all(_is_number(value) for value in columns[name]) for name in labels}
    labels.sort(key=lambda name: (name != usual, name not in called, number[name]))
    return labels, tuple(flags)


def _is_called_a_class(name: str) -> bool:
    """Whether a word of a column's name says that it is the class: `ClassId`, `label_name`, `dog breed`."""
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    return any(word in _CLASS_WORDS or word.removesuffix("id").removesuffix("name") in _CLASS_WORDS for word in words)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def unused_folders(home: Path, used: Sequence[str]) -> list[str]:
    """Folders beside a table that hold pictures of which none was used."""
    taken = {Path(path).relative_to(home).parts[0] for path in used if Path(path).is_relative_to(home)}
    return [
        folder.name + "/"
        for folder in sorted(home.iterdir())
        if folder.is_dir() and not is_junk(folder.name) and folder.name not in taken and _holds_pictures(folder)
    ]


def home_of(names: Sequence[str], folder: Path) -> Path:
    """The folder that a table's names start from: its own, or the one around that where only there are such pictures."""
    around = folder.absolute().parent
    step = max(1, len(names) // _NAMES)
    sample = [name for name in names[::step] if name][:_NAMES]
    if around in (Path.home(), Path(around.anchor)) or _found_below(folder, sample):
        return folder
    return around if _found_below(around, sample) >= _SHARE * len(sample) > 0 else folder


def _found_below(folder: Path, names: Sequence[str]) -> int:
    files = Files(folder, SUFFIXES)
    return sum(files.find(name) is not None for name in names)


def places_of(file: Path, root: Path) -> list[Path]:
    """Folders in which the pictures of a table most likely lie: its own, and those that are called like its split.

    `train.csv` has `train_images/`, and `train/_classes.csv` what lies beside it.
    """
    split = next((found for part in _words(file.stem) if (found := canonical_split(part))), None)
    alike = [
        folder
        for folder in sorted(root.iterdir())
        if split and folder.is_dir() and any(canonical_split(part) == split for part in _words(folder.name))
    ]
    return [file.parent, *alike] if file.parent != root else [*alike, root]


def _words(name: str) -> list[str]:
    return [part for part in name.replace("-", "_").replace(".", "_").replace(" ", "_").split("_") if part]


def _texts(rows: Dataset, name: str) -> list[str]:
    return ["" if value is None else str(value).strip() for value in rows[name][:]]


def _pictures_named(values: Sequence[str], file: Path, root: Path, files: Files) -> dict[int, Path]:
    """The pictures that cells mean, by row; {} where too few mean one, or many mean the same."""
    step = max(1, len(values) // _NAMES)
    rows = range(0, len(values), step)
    if not values or len({values[row] for row in rows}) < _SHARE * len(rows):
        return {}
    places = places_of(file, root)
    found: dict[int, Path] = {}
    for row in rows:
        path = files.find(values[row], places)
        if path is not None:
            found[row] = path
    return found if len(set(found.values())) >= _SHARE * len(rows) else {}


def _agrees(named: Mapping[int, Path], columns: Mapping[str, Sequence[Any]], labels: Sequence[str]) -> bool:
    return any(
        sum(columns[name][row] in path.parts for row, path in named.items()) >= 0.9 * len(named) for name in labels
    )


def _tables_below(root: Path) -> Iterator[Path]:
    """Tables in a folder and two levels below it; of JSON only lines, for a file a picture is an annotation."""
    count = 0
    for here, folders, names in os.walk(root):
        depth = len(Path(here).relative_to(root).parts)
        folders[:] = sorted(name for name in folders if not is_junk(name)) if depth < 2 else []
        for name in sorted(names):
            suffix = Path(name).suffix.lower()
            if suffix in TABLE_SUFFIXES and suffix != ".json" and not is_junk(name):
                yield Path(here, name)
                count += 1
                if count == _TABLES:
                    return


def _pictures_in(folder: Path) -> int:
    return sum(entry.suffix.lower() in SUFFIXES and not is_junk(entry.name) for entry in folder.iterdir())


def _holds_pictures(folder: Path) -> bool:
    for _, _, names in os.walk(folder):
        if any(Path(name).suffix.lower() in SUFFIXES and not is_junk(name) for name in names):
            return True
    return False

"""Annotated images as every reader hands them over, and as rows under canonical columns."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from graftwork.data.paths import Files, Found, part_clashes, shown
from graftwork.data.splits import SPLITS, canonical_split
from graftwork.errors import DataError
from graftwork.interfaces import Tables
from graftwork.vision.decode import SUFFIXES
from graftwork.vision.inputs import is_picture_name, why_no_picture
from graftwork_detection.findings import Notes

if TYPE_CHECKING:
    from datasets import Dataset, Features

Key = TypeVar("Key", bound=Hashable)

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels from the top left corner of the image, as in COCO."""


@dataclass
class Annotated:
    """An image with its objects, as its annotation says.

    Args:
        file: the image.
        origin: the same, relative to the data's folder.
        width, height: pixels as declared; 0 where nothing is.
        boxes, classes, crowd: of each object: box, class index, and whether it is left out of scoring.
    """

    file: Path
    origin: str
    width: int = 0
    height: int = 0
    boxes: list[Box] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    crowd: list[bool] = field(default_factory=list)

    def add(self, box: Box, index: int, crowd: bool = False) -> None:
        self.boxes.append(box)
        self.classes.append(index)
        self.crowd.append(crowd)


@dataclass(frozen=True)
class Read:
    """What a reader found: images by split, class names by index, and what the data numbers these classes, where it does."""

    splits: Mapping[str, Sequence[Annotated]]
    names: tuple[str, ...]
    ids: tuple[int | str, ...] = ()


def features() -> Features:
    """The canonical columns without `group`."""
    from datasets import Features, Image, List, Value

    objects = {"bbox": List(List(Value("float64"))), "category": List(Value("int64")), "crowd": List(Value("bool"))}
    return Features(
        {
            "image": Image(decode=False),
            "objects": objects,
            "origin": Value("string"),
            "width": Value("int64"),
            "height": Value("int64"),
        }
    )


def to_rows(images: Sequence[Annotated]) -> Dataset:
    """Rows under the canonical columns; images are paths, not read."""
    from datasets import Dataset

    return Dataset.from_dict(
        {
            "image": [{"bytes": None, "path": shown(image.file)} for image in images],
            "objects": [
                {"bbox": [list(box) for box in image.boxes], "category": image.classes, "crowd": image.crowd}
                for image in images
            ],
            "origin": [image.origin for image in images],
            "width": [image.width for image in images],
            "height": [image.height for image in images],
        },
        features=features(),
    )


def to_tables(read: Read, notes: Notes, where: str) -> Tables:
    """Tables from what a reader found; splits without a row are left out and named.

    Raises:
        DataError: no split has a row, or there is no class.
    """
    for split, images in read.splits.items():
        if not images:
            notes.add("unlabelled-split", split)
    splits = {split: to_rows(read.splits[split]) for split in SPLITS if read.splits.get(split)}
    if not splits:
        codes = ("unreadable-annotation", "annotation-without-image", "image-without-annotation", "unlabelled-split")
        told = next((f"{code} {notes.first(code)}" for code in codes if code in notes), "no image")
        hint = why_no_picture(Path(where)) or (
            "Put the images below the data's folder, in the folders that their names have"
            if codes[1] in notes
            else None
        )
        raise DataError(f"no annotated image can be used (first: {told})", where=where, hint=hint)
    if not read.names:
        raise DataError("its annotations name no class", where=where)
    return Tables(splits, tuple(notes.findings()), read.names, class_ids=read.ids)


def split_in_name(name: str) -> str | None:
    """The split that a name speaks of (`instances_train2017` is train), or None where it names none or several.

    `trainval` is train: where it stands beside `train`, the caller passes it over.
    """
    words = [re.sub(r"\d+$", "", word) for word in re.split(r"[-_. ]+", name.lower())]
    found = {canonical_split("train" if word == "trainval" else word) for word in words} - {None}
    return found.pop() if len(found) == 1 else None


def split_folders(root: Path) -> dict[str, Path]:
    """Folders named after splits (`train`, `val2017`), by split.

    Raises:
        DataError: two mean the same split.
    """
    found: dict[str, Path] = {}
    for folder in sorted(root.iterdir()):
        split = canonical_split(re.sub(r"\d+$", "", folder.name)) if folder.is_dir() else None
        if split is None:
            continue
        if split in found:
            raise DataError(f"{found[split].name}/ and {folder.name}/ both mean {split}", where=str(root))
        found[split] = folder
    return found


def subfolder(root: Path, *names: str) -> Path | None:
    """The folder in `root` with one of these names, in any letter case; the first name that there is."""
    there = {entry.name.lower(): entry for entry in sorted(root.iterdir(), reverse=True) if entry.is_dir()}
    return next((there[name] for name in names if name in there), None)


def image_folders(home: Path, split: str, file: Path) -> tuple[list[Path], list[Path]]:
    """Where a split's images may lie, most likely first; and the folders of other splits, where it has one of its own."""
    near = file.parent
    roots = dict.fromkeys([near, near.parent if near != home else home, home])
    folders: list[Path] = []
    others: list[Path] = []
    for root in roots:
        images = subfolder(root, "images", "jpegimages", "imgs")
        named = []
        for place in (root, images):
            of_splits = split_folders(place) if place else {}
            named += [folder for key, folder in of_splits.items() if key == split]
            others += [folder for key, folder in of_splits.items() if key != split]
        folders += [root, *named, *([images] if images else [])]
    # A split's own folder comes before folders that all splits share: 000001.jpg may be in each.
    own = [folder for folder in folders if folder == near or split_in_name(folder.name) == split]
    has_own = any(split_in_name(folder.name) == split for folder in own)
    return list(dict.fromkeys([*own, *folders])), list(dict.fromkeys(others)) if has_own else []


def find_picture(files: Files, name: str, places: Sequence[Path], without: Sequence[Path] = ()) -> Found:
    """What a name leads to, or else the one picture that is called so but for its suffix: sets are converted, names stay."""
    found = files.look(name, places, without)
    suffix = PurePosixPath(name.strip()).suffix
    if found.path is not None or found.several or suffix.lower() not in SUFFIXES:
        return found
    other = files.look(name.strip().removesuffix(suffix), places, without)
    return replace(other, name=name, exact=False, whole=False)


def settle(found: Mapping[Key, Found], home: Path, notes: Notes) -> dict[Key, Found]:
    """The same, but different names never lead to one picture; names under another suffix or folder are told."""
    parted = part_clashes(found)
    for one in {one.name: one for one in parted.values() if one.path}.values():
        said = PurePosixPath(one.name.strip()).suffix.lower()
        if one.path and said in SUFFIXES and said != one.path.suffix.lower():
            notes.add("other-suffix", f"{shown(one.name)} ({relative(one.path, home)})")
        if one.path and one.elsewhere:
            notes.add("file-in-other-folder", f"{shown(one.name)} ({relative(one.path, home)})")
    return parted


def why_not(picture: Found, home: Path) -> str:
    name = shown(picture.name)
    if picture.shared:
        return f"{name} (other names lead to {relative(picture.shared, home)} as well)"
    if picture.several:
        return f"{name} (fits {', '.join(relative(path, home) for path in picture.several[:3])})"
    if picture.lacking:
        return f"{name} (not in that folder; {relative(picture.lacking, home)} is another picture)"
    return f"{name} (looked for in {shown(home)} and below)"


def pictures_in(folder: Path, deep: bool = False) -> list[Path]:
    """Picture files of a folder, sorted; of everything below it when `deep`."""
    entries: Iterable[Path] = folder.rglob("*") if deep else folder.iterdir()
    return sorted(file for file in entries if is_picture_name(file.relative_to(folder)) and file.is_file())


def relative(path: Path, root: Path) -> str:
    """The path as it is called in messages: from the data's folder where it lies in it."""
    return shown(path.relative_to(root).as_posix() if path.is_relative_to(root) else path)


def number(value: Any) -> float | None:
    """A number as float, NaN and infinities among them; None for anything else, booleans and text included."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # JSON integers have no limit
        return float("inf")


def side(value: Any) -> int:
    """Pixels of a declared width or height; 0 where nothing sensible is declared."""
    found = spoken(value.strip()) if isinstance(value, str) else number(value)
    return int(found) if found is not None and 0 < found < 1e9 else 0


def spoken(text: str) -> float | None:
    """A number written as text; None where it is none. Python's `1_000` is none."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None

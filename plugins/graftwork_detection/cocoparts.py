"""The parts of a COCO file: its categories, and its objects, which go to their images. Files are found and opened in `coco`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graftwork.data.names import class_name
from graftwork.data.paths import shown
from graftwork.data.splits import SPLITS
from graftwork.errors import DataError
from graftwork.vision.outlines import box_of_outline
from graftwork_detection.findings import Notes
from graftwork_detection.rows import Annotated, Box, number, spoken

_KEYS = (("x", "y", "width", "height"), ("left", "top", "width", "height"), ("xmin", "ymin", "xmax", "ymax"))
"""Of boxes that are no lists."""


@dataclass
class Categories:
    """Categories of all files: which id means which name, in each."""

    names: dict[str, dict[int | str, str]] = field(default_factory=dict)
    heads: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)

    def take(self, split: str, content: Mapping[str, Any], where: str, notes: Notes) -> None:
        """The categories of a split's file; where there are none, each id that its objects have is a class of that name."""
        names = self.names[split] = {}
        ids = [id_of(row.get("category_id")) for row in content["annotations"] if isinstance(row, Mapping)]
        used = {key for key in ids if key is not None}
        for category in content["categories"]:
            key = id_of(category.get("id")) if isinstance(category, Mapping) else None
            if key is None:
                hint = "Give each category an id (a number) and a name"
                raise DataError(f"has a category without an id: {str(category)[:80]}", where=where, hint=hint)
            names[key] = shown(class_name(str(category.get("name") or ""))) or self._numbered(key, notes)
            self.heads.add(class_name(str(category.get("supercategory") or "")))
        if not names:
            names.update({key: self._numbered(key, notes) for key in used})
        self.used |= {names[key] for key in used if key in names}
        self.used |= {
            class_name(str(key)) for key in used if key not in names
        }  # an object may be given its class by name

    @staticmethod
    def _numbered(key: int | str, notes: Notes) -> str:
        notes.add("unnamed-classes", str(key))
        return str(key)

    def index(self, notes: Notes) -> tuple[dict[str, dict[int | str, int]], tuple[str, ...]]:
        """Id to class index of each split, in the order of ids (they have gaps in COCO), and the names.

        Where an id means one class in one file and another in the next, names are what classes are told apart by.
        """
        meanings: dict[int | str, dict[str, None]] = defaultdict(dict)
        for names in self.names.values():
            for key, name in names.items():
                meanings[key][name] = None
        ids: dict[str, list[int | str]] = defaultdict(list)
        for key in sorted(meanings, key=lambda key: (isinstance(key, str), key)):
            for name in meanings[key]:
                ids[name].append(key)
            if len(meanings[key]) > 1:
                notes.add("ids-of-several-classes", f"{key} ({', '.join(meanings[key])})")
        for name in list(ids):
            # Roboflow writes a head category, by the project's name, that no object has.
            if name in self.heads and self.used and name not in self.used:
                notes.add("unused-category", name)
                del ids[name]
            elif any(sum(each == name for each in names.values()) > 1 for names in self.names.values()):
                notes.add("class-with-several-ids", f"{name} ({', '.join(map(str, ids[name]))})")
        order = {name: place for place, name in enumerate(ids)}
        index = {
            split: {key: order[name] for key, name in names.items() if name in order}
            for split, names in self.names.items()
        }
        for found in index.values():  # an object's class may also be given by its name
            found.update({name: place for name, place in order.items() if name not in found})
        return index, tuple(ids)

    def ids(self, names: Sequence[str]) -> tuple[int | str, ...]:
        """The id of each class: of several, the first in the first file that has one."""
        found: dict[str, int | str] = {}
        for split in sorted(self.names, key=SPLITS.index):
            for key, name in sorted(self.names[split].items(), key=lambda item: (isinstance(item[0], str), item[0])):
                found.setdefault(name, key)
        return tuple(found[name] for name in names)


@dataclass(frozen=True)
class Objects:
    """Puts the objects of a file to their images.

    Args:
        images: by id; None where its file is not there.
        index: class index by category id, or by name.
        where: the file, for messages.
        corners: whether boxes are x1, y1, x2, y2.
    """

    images: Mapping[int | str, Annotated | None]
    index: Mapping[int | str, int]
    where: str
    corners: bool
    notes: Notes

    def add(self, position: int, entry: Any) -> None:
        if not isinstance(entry, Mapping):
            self.notes.add("malformed-box", f"{self.where}: annotation {position}")
            return
        told = f"{self.where}: annotation {entry.get('id', position)}"
        image_id = id_of(entry.get("image_id"))
        if image_id is None or image_id not in self.images:
            self.notes.add("unknown-image-id", f"{told} (image {entry.get('image_id')})")
            return
        image = self.images[image_id]
        if image is None:
            return  # counted with its image
        told = f"{image.origin}: annotation {entry.get('id', position)}"
        key = id_of(entry.get("category_id"))
        place = None if key is None else self.index.get(class_name(key) if isinstance(key, str) else key)
        if place is None:
            self.notes.add("unknown-class", f"{told} (category {entry.get('category_id')})")
            return
        outline = entry.get("segmentation")
        box, around = self._box(entry.get("bbox"), outline)
        if box is None:
            self.notes.add("malformed-box", f"{told} ({str(entry.get('bbox'))[:60]})")
            return
        crowd = _is_crowd(entry.get("iscrowd"))
        if crowd:
            self.notes.add("crowd-objects", told)
        elif around:
            self.notes.add("polygon-as-box", told)
        elif outline:
            self.notes.add("segmentation-not-used", told)
        image.add(box, place, crowd)

    def _box(self, values: Any, outline: Any) -> tuple[Box | None, bool]:
        """An object's box, and whether it is the one around its outline, since it has none of its own."""
        named = next((keys for keys in _KEYS if isinstance(values, Mapping) and set(keys) <= set(values)), None)
        corners = self.corners if named is None else named == _KEYS[-1]
        values = values if named is None else [values[key] for key in named]
        numbers = [_number(value) for value in values] if isinstance(values, list | tuple) else []
        is_box = len(numbers) == 4 and None not in numbers
        if outline and (not is_box or not any(numbers[2:])) and (around := box_of_outline(outline)):
            return (around[0], around[1], around[2] - around[0], around[3] - around[1]), True
        if not is_box:
            return None, False
        x, y, third, fourth = (value for value in numbers if value is not None)
        return ((x, y, third - x, fourth - y) if corners else (x, y, third, fourth)), False


def name_of(entry: Any) -> str | None:
    """What an image's entry says its file is called: its name, or else its path, or the address that it came from."""
    names = (entry.get(key) for key in ("file_name", "path", "coco_url")) if isinstance(entry, Mapping) else ()
    return next((name for name in names if isinstance(name, str) and name.strip()), None)


def _number(value: Any) -> float | None:
    return spoken(value.strip()) if isinstance(value, str) else number(value)


def _is_crowd(value: Any) -> bool:
    return value.strip().lower() not in ("", "0", "0.0", "false", "no") if isinstance(value, str) else bool(value)


def id_of(value: Any) -> int | str | None:
    """An id as number where it is one (some tools write text), else as text; None where it is none."""
    if isinstance(value, str):
        text = value.strip()
        return int(text) if re.fullmatch(r"\d{1,18}", text) else text or None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if value == value and abs(value) < 1e18 and value == int(value) else None

"""Every finding about boxes and their files: code, level, sentence. What is found is collected here and named once."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Literal

from graftwork.interfaces import Finding

Level = Literal["error", "warning", "note"]

CODES: dict[str, tuple[Level, str]] = {
    # Files
    "image-without-annotation": ("warning", "images without an annotation, left out (an empty annotation would do)"),
    "annotation-without-image": ("warning", "annotations whose image is not there, left out"),
    "unreadable-annotation": ("warning", "annotation files that cannot be read, their images left out"),
    "image-listed-twice": ("warning", "images that are listed more than once in a split, taken once"),
    "several-pictures": (
        "warning",
        "pictures that differ from an annotated one only in suffix or letter case, not used",
    ),
    "unlabelled-split": ("warning", "splits without any annotation, not used"),
    "not-in-any-split": ("note", "annotated images that no split lists, not used"),
    "other-files": ("note", "files of a like form, not used"),
    "size-disagrees": ("warning", "annotated sizes that are not the file's; boxes are taken as pixels of the file"),
    "boxes-of-other-size": (
        "error",
        "splits whose boxes fit the annotated sizes, and not the files, which have other proportions (give the pictures as they "
        "were annotated, or boxes of these files)",
    ),
    "boxes-scaled": ("warning", "images that are larger or smaller than annotated; boxes scaled with them"),
    "other-suffix": ("warning", "images that are there under another suffix than annotated, taken"),
    "file-in-other-folder": (
        "warning",
        "images whose annotated folder is not there; the only one so called lies in another folder, and is taken",
    ),
    "boxes-turned": (
        "warning",
        "images whose annotated size is that of the file before its EXIF orientation is applied; boxes turned with the image",
    ),
    # Objects as they are written
    "unknown-class": ("warning", "objects of a class that is not declared, removed"),
    "object-without-class": ("warning", "objects without a class, removed"),
    "unknown-image-id": ("warning", "objects of an image that is not listed, removed"),
    "malformed-box": ("warning", "objects whose box is not four numbers, removed"),
    "commas-in-lines": ("note", "lines with commas between or in numbers; read"),
    "names-in-lines": ("note", "lines with a class's name in place of its number; read"),
    "keypoints-not-used": ("note", "data sets with key points, of which only the boxes are used"),
    "classes-from-one": (
        "error",
        "objects whose class numbers begin at 1, though YOLO counts from 0: all would have their neighbours' names (subtract 1 "
        "in the label files, or number the names from 1, in data.yaml `names: {1: cat, 2: dog}`, in classes.txt by a first line "
        "`unused`)",
    ),
    "malformed-line": ("warning", "lines that are not a class and four numbers or a polygon, left out"),
    "ids-of-several-classes": (
        "warning",
        "category ids that mean another class in another split; classes are told apart by their names",
    ),
    "class-with-several-ids": ("warning", "class names that stand under several ids, taken as one class"),
    "class-count-disagrees": ("warning", "declared numbers of classes that are not the number of names"),
    "unnamed-classes": ("note", "class numbers without a name, named by their number"),
    "unused-category": ("note", "categories that only head others and have no object, left out"),
    "crowd-objects": ("note", "objects marked as crowds, not scored"),
    "difficult-objects": ("note", "objects marked as difficult, not scored"),
    "segmentation-not-used": ("note", "objects with an outline, of which only the box is used"),
    "polygon-as-box": ("note", "outlines, of which the surrounding box is used"),
    "zero-coordinate": ("note", "boxes that begin at 0, though Pascal VOC counts from 1; taken as 1"),
    # Boxes
    "boxes-in-shares": (
        "error",
        "splits whose boxes all lie within 0 to 1, so they are shares of the picture's sides where pixels are wanted (--set "
        "task_options.box_unit=shares reads them so)",
    ),
    "boxes-not-in-shares": (
        "error",
        "splits whose boxes are no shares of the picture's sides, as YOLO wants them (--set task_options.box_unit=pixels reads "
        "them as pixels)",
    ),
    "boxes-like-shares": (
        "warning",
        "boxes within the first pixel of their pictures, as shares of a picture's sides would be among boxes in pixels",
    ),
    "boxes-in-one-corner": (
        "warning",
        "splits whose boxes all lie in the first pixels of far larger pictures, so they may be in another unit than pixels",
    ),
    "boxes-look-like-top-left": (
        "error",
        "splits whose boxes fit their images only when x and y are the top left corner, where YOLO has the centre (--set "
        "task_options.boxes=top-left reads them so)",
    ),
    "non-finite-box": ("warning", "boxes with a number that is not finite, removed"),
    "inverted-box": ("warning", "boxes whose corners are swapped, put right"),
    "zero-area-box": ("warning", "boxes without width or height, removed"),
    "box-outside-image": ("warning", "boxes wholly outside their image, removed"),
    "box-partly-outside": ("warning", "boxes that reach beyond their image, clipped"),
    "duplicate-box": ("warning", "boxes that occur twice with the same class, taken once"),
    "box-with-two-classes": ("warning", "boxes that occur with more than one class, kept"),
    "near-duplicate-box": (
        "warning",
        "boxes that all but cover another of the same class, kept; perhaps one object that was marked twice",
    ),
    "box-size-outlier": ("warning", "boxes far from the usual size of their class; perhaps of another class"),
    "boxes-look-like-corners": (
        "error",
        "splits whose boxes fit their images only when taken as two corners, x1, y1, x2, y2 (--set task_options.boxes=corners "
        "reads them so)",
    ),
    "tiny-box": ("note", "boxes with a side under one pixel once the image is 640 pixels long"),
    "lost-all-objects": ("warning", "images none of whose objects could be used, kept as images without objects"),
    "empty-image": ("note", "images without objects, kept"),
    # Classes
    "no-objects": ("error", "splits without a single object that could be used"),
    "empty-class": ("warning", "classes without any object"),
    "few-objects": ("warning", "classes with fewer than 5 training objects"),
    "label-in-one-split-only": ("warning", "classes whose objects are in one split only"),
    "class-missing-in-split": ("warning", "classes without objects in a split"),
}
"""Code to level and sentence, in the order in which they are told."""

_SHOWN = 5


class Notes:
    """Things found, by code: how many, and the first few by name."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._names: dict[str, list[str]] = defaultdict(list)

    def add(self, code: str, thing: str, count: int = 1) -> None:
        """One more thing; `count` where it stands for several."""
        assert code in CODES, code
        self._counts[code] += count
        if len(self._names[code]) < _SHOWN:
            self._names[code].append(thing)

    def __contains__(self, code: str) -> bool:
        return bool(self._counts[code])

    def first(self, code: str) -> str | None:
        """The first thing of that code."""
        return next(iter(self._names.get(code, ())), None)

    def findings(self) -> list[Finding]:
        """In the order of CODES."""
        return [
            Finding(code, level, f"{message}: {self._counts[code]:,}", tuple(self._names[code]), self._counts[code])
            for code, (level, message) in CODES.items()
            if self._counts[code]
        ]

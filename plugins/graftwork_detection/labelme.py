"""labelme: a JSON file a picture, with shapes; beside the pictures, in a folder of their own, or in a folder a split."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from graftwork.data.folders import is_junk
from graftwork.data.names import class_name
from graftwork.data.paths import Files
from graftwork.data.splits import canonical_split
from graftwork.errors import DataError
from graftwork.files.text import read_text
from graftwork.vision.decode import SUFFIXES
from graftwork.vision.outlines import box_of_outline, outline_of_shape
from graftwork_detection.findings import Notes
from graftwork_detection.rows import Annotated, Box, Read, relative, side, subfolder
from graftwork_detection.vocpairs import Pairs

_TRIED = 5  # JSON files that are opened to see whether they are labelme's


def find_labelme(root: Path) -> Path | None:
    """The first of labelme's files below a folder; None where there is none."""
    for tried, file in enumerate(_json_below(root)):
        if tried >= _TRIED:
            break
        if _is_labelme(_content(file)):
            return file
    return None


def read_labelme(root: Path, notes: Notes) -> Read:
    """Images and objects of labelme's files; classes in the order of their names.

    Rectangles, polygons and circles become the box around them; points and lines enclose nothing and are named.

    Raises:
        DataError: never for a single file, which is named and left out.
    """
    by_home: dict[Path, dict[str, Path]] = defaultdict(dict)
    for file in _json_below(root):
        by_home[file.parent][file.stem] = file
    files = Files(root, SUFFIXES, outside=False)
    found: list[tuple[str | None, Path, Annotated]] = []
    names: dict[str, int] = {}
    taken: set[Path] = set()
    for home, of_home in by_home.items():
        images = [folder for place in (home, home.parent, root) if (folder := subfolder(place, "images", "imgs"))]
        apart = [other for other in by_home if other not in (home, root) and not home.is_relative_to(other)]
        pairs = Pairs(of_home, [home, *images], files, apart, lambda file: _said(_content(file)))
        for picture in pairs.shut:
            notes.add("several-pictures", relative(picture, root))
        for key, file in of_home.items():
            content, called = _content(file), relative(file, root)
            if not _is_labelme(content):
                notes.add(
                    "unreadable-annotation", f"{called}: {content if isinstance(content, str) else 'not labelme'}"
                )
                continue
            path = pairs.pictures.get(key)
            if path is None or path in taken:
                why = "its picture is another annotation's" if path else pairs.why_not(key)
                notes.add("annotation-without-image", f"{called} ({why})")
                continue
            taken.add(path)
            found.append((_split_of(file, root), file, _image(path, root, content, called, names, notes)))
        for picture in pairs.lonely.values():
            notes.add("image-without-annotation", relative(picture, root))
    return _by_split(found, names, root, notes)


def _by_split(
    found: list[tuple[str | None, Path, Annotated]], names: Mapping[str, int], root: Path, notes: Notes
) -> Read:
    in_splits = any(split for split, _, _ in found)
    splits: dict[str, list[Annotated]] = defaultdict(list)
    ordered = tuple(sorted(names))
    index = [ordered.index(name) for name in names]
    for split, file, image in found:
        image.classes = [index[place] for place in image.classes]
        if split or not in_splits:
            splits[split or "train"].append(image)
        else:
            notes.add("not-in-any-split", relative(file, root))
    return Read(splits, ordered)


def _image(
    path: Path, root: Path, content: Mapping[str, Any], called: str, names: dict[str, int], notes: Notes
) -> Annotated:
    width, height = side(content.get("imageWidth")), side(content.get("imageHeight"))
    image = Annotated(path, relative(path, root), width, height)
    for position, shape in enumerate(content["shapes"], start=1):
        told = f"{called}: shape {position}"
        label = shape.get("label") if isinstance(shape, Mapping) else None
        name = class_name("" if label is None else str(label))
        if not name:
            notes.add("object-without-class", told)
            continue
        kind = shape.get("shape_type") or "polygon"
        box = _box(kind, shape.get("points"))
        if box is None:
            notes.add("malformed-box", f"{told} ({name}, {kind})")
            continue
        if kind != "rectangle":
            notes.add("polygon-as-box", told)
        image.add(box, names.setdefault(name, len(names)))
    return image


def _box(kind: Any, points: Any) -> Box | None:
    outline = outline_of_shape("rectangle" if kind == "mask" else str(kind), points)  # a mask's points are its corners
    corners = None if outline is None else box_of_outline(outline)
    if corners is None:
        return None
    left, top, right, bottom = corners
    return left, top, right - left, bottom - top


def _json_below(root: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not is_junk(name))
        yield from (Path(here, name) for name in sorted(files) if name.lower().endswith(".json") and not is_junk(name))


def _content(file: Path) -> Any:
    """What a JSON file holds; text that says what is wrong with it where it cannot be read."""
    try:
        return json.loads(read_text(file))
    except (OSError, ValueError, RecursionError) as error:
        return f"cannot be read ({str(error)[:80] or type(error).__name__})"


def _is_labelme(content: Any) -> bool:
    return isinstance(content, Mapping) and isinstance(content.get("shapes"), list) and "imagePath" in content


def _said(content: Any) -> str:
    return str(content.get("imagePath") or "").strip() if isinstance(content, Mapping) else ""


def _split_of(file: Path, root: Path) -> str | None:
    return next(filter(None, map(canonical_split, file.relative_to(root).parts[:-1])), None)


def check_file(file: Path) -> None:
    """Refuse one of labelme's files given by itself.

    Raises:
        DataError: it is one; its folder is what is wanted.
    """
    if _is_labelme(_content(file)):
        raise DataError("is labelme's file of one picture", where=str(file), hint=f"Give its folder: {file.parent}")

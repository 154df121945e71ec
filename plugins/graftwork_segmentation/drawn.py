"""Masks drawn from outlines: COCO JSON (polygons and run lengths) and labelme's.

How an outline becomes pixels is told in `vision.outlines`.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from graftwork.data.folders import is_junk
from graftwork.data.paths import Files, part_clashes, shown
from graftwork.data.splits import SPLITS, canonical_split
from graftwork.errors import DataError
from graftwork.interfaces import Finding
from graftwork.vision.audit import named
from graftwork.vision.decode import SUFFIXES
from graftwork.vision.frames import picture_shape
from graftwork.vision.outlines import draw_outline, outline_of_shape
from graftwork_segmentation.joined import Mask, png
from graftwork_segmentation.labelmap import VOID, LabelMap, build_map
from graftwork_segmentation.naming import split_within

BACKGROUND = "background"

_SIBLINGS = ("captions", "person_keypoints", "stuff", "panoptic", "image_info")  # of COCO's instances_*.json
_COCO = re.compile(rb'"(images|annotations)"\s*:\s*\[')
_LABELME = re.compile(rb'"shapes"\s*:\s*\[')
_PEEK = 1 << 20
_DEEPEST = 3


@dataclass(frozen=True)
class Object:
    """One outlined object: its mask value, its outline (for `draw_outline`), and what it is called in findings."""

    value: int
    outline: Any
    name: str


@dataclass
class Drawn:
    """Pictures with outlines, by split, and what was left out; names are relative to the source."""

    home: Path
    rows: dict[str, dict[Path, list[Object]]] = field(default_factory=lambda: defaultdict(dict))
    sizes: dict[Path, tuple[int, int]] = field(default_factory=dict)
    labels: LabelMap | None = None
    without_image: list[str] = field(default_factory=list)
    without_outline: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def name(self, path: Path) -> str:
        return shown(path.relative_to(self.home).as_posix() if path.is_relative_to(self.home) else path)

    def findings(self) -> list[Finding]:
        outline = "objects without an outline that can be drawn (boxes, points, lines), which count as background"
        return [
            *named(
                "mask-without-image", "warning", "annotated images that are not there, left out", self.without_image
            ),
            *named("image-without-mask", "warning", "images that no annotation names, left out", self.unlisted),
            *named("object-without-outline", "warning", outline, sorted(self.without_outline)),
            *named("unlabelled-split", "warning", "splits without objects, not used", self.unlabelled),
            *named("other-files", "note", "files that are not used", self.others),
        ]

    def masks(self) -> dict[str, list[tuple[Path, Mask]]]:
        """Every picture with its mask, by split.

        Raises:
            DataError: no object has an outline.
        """
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            drawn = {
                split: list(zip(rows, pool.map(self._draw, rows.items()), strict=True)) for split, rows in self._full()
            }
        objects = sum(len(found) for _, rows in self._full() for found in rows.values())
        if objects and len(self.without_outline) >= objects:
            what = f"has {objects:,} objects, and none with an outline (the first: {min(self.without_outline)})"
            hint = "Export polygons or masks, or use --task detection for boxes"
            raise DataError(what, where=str(self.home), hint=hint)
        return {split: drawn[split] for split in SPLITS if split in drawn}

    def _full(self) -> Iterator[tuple[str, dict[Path, list[Object]]]]:
        yield from ((split, rows) for split, rows in self.rows.items() if rows)

    def _draw(self, row: tuple[Path, list[Object]]) -> Mask:
        """Larger objects lie under smaller ones."""
        image, objects = row
        try:
            height, width = self.sizes.get(image) or picture_shape({"path": str(image)})
        except (OSError, DataError, Image.DecompressionBombError, SyntaxError, ValueError):
            return Mask(((image, None),), b"")  # the picture itself cannot be read, as the audit says
        values = np.zeros((height, width), dtype=np.uint16)
        inside: list[tuple[int, NDArray[np.bool_]]] = []
        for found in objects:
            drawn = (
                found.outline if isinstance(found.outline, np.ndarray) else draw_outline(found.outline, height, width)
            )
            if drawn is None or drawn.shape != values.shape:
                self.without_outline.append(f"{self.name(image)}: {found.name}")
            else:
                inside.append((found.value, drawn))
        for value, drawn in sorted(inside, key=lambda one: -int(one[1].sum())):
            values[drawn] = value
        return Mask(((image, None),), png(values))


def find_drawn(path: Path) -> Drawn | None:
    """Pictures with outlines in COCO's or labelme's JSON, a file or anywhere in a folder; None where there are none.

    Raises:
        DataError: a file is damaged, or several mean the same split.
    """
    home = path if path.is_dir() else path.parent
    home = home.parent if path.is_file() and home.name.lower() == "annotations" else home
    files = [path] if path.is_file() else list(_json_files(path, _DEEPEST))
    starts = {file: _start(file) for file in files if file.suffix.lower() == ".json"}
    coco = [file for file, start in starts.items() if _looks_like_coco(start)]
    if coco:
        return _read_coco(home, coco)
    labelme = [file for file, start in starts.items() if _LABELME.search(start)]
    return _read_labelme(home, labelme) if labelme else None


def _looks_like_coco(start: bytes) -> bool:
    if not start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") or b'"shapes"' in start:
        return False
    return _COCO.search(start) is not None and (b'"images"' in start or len(start) == _PEEK)


def _json_files(folder: Path, deepest: int) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if is_junk(entry.name):
            continue
        if entry.is_dir() and deepest:
            yield from _json_files(entry, deepest - 1)
        elif entry.suffix.lower() == ".json":
            yield entry


def _start(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(_PEEK)
    except OSError:
        return b""


def _read_coco(home: Path, found: Sequence[Path]) -> Drawn:
    drawn = Drawn(home)
    files = _coco_splits(home, found)
    drawn.others += [drawn.name(file) for file in found if file not in files.values()]
    contents = {}
    for split, file in files.items():
        content = _load(file)
        if any(not isinstance(content.get(key, []), list) for key in ("images", "annotations", "categories")):
            raise DataError("is no COCO file: images, annotations and categories are wanted as lists", where=str(file))
        if content.get("annotations"):
            contents[split] = content
        else:
            drawn.unlabelled.append(f"{split} ({drawn.name(file)})")
    values, drawn.labels = _coco_classes(contents, files)
    index = Files(home, SUFFIXES)
    for split, content in contents.items():
        _take_coco(drawn, split, files[split], content, values, index)
    listed = {image for rows in drawn.rows.values() for image in rows}
    for folder in sorted({image.parent for image in listed}):
        beside = (
            file for file in sorted(folder.iterdir()) if file.suffix.lower() in SUFFIXES and not is_junk(file.name)
        )
        drawn.unlisted += [drawn.name(file) for file in beside if file not in listed]
    return drawn


def _coco_splits(home: Path, found: Sequence[Path]) -> dict[str, Path]:
    """The annotation file of each split."""
    instances = [file for file in found if file.name.startswith("instances")]
    chosen = instances or [file for file in found if not file.name.startswith(_SIBLINGS)] or list(found)
    if len(chosen) == 1:
        only = chosen[0]
        return {split_within(only.stem) or canonical_split(only.parent.name) or "train": only}
    named: dict[str, list[Path]] = defaultdict(list)
    for file in chosen:
        split = split_within(file.stem) or canonical_split(file.parent.name)
        if split:
            named[split].append(file)
    for split, group in named.items():
        if len(group) > 1:
            told = " and ".join(shown(file.relative_to(home)) for file in group[:2])
            raise DataError(f"{told} both mean {split}", where=str(home), hint="Give one of them, or leave one a split")
    if not named:
        listed = ", ".join(file.name for file in chosen[:5])
        what = f"has several COCO files ({listed}), none named after a split"
        raise DataError(what, where=str(home), hint="Name them train.json, val.json, test.json, or give one file")
    return {split: group[0] for split, group in named.items()}


def _coco_classes(
    contents: Mapping[str, Mapping[str, Any]], files: Mapping[str, Path]
) -> tuple[dict[Any, int], LabelMap]:
    """The mask value of every category: its id, or its place where ids are no numbers from 1 on; 0 is background."""
    names: dict[Any, str] = {}
    heads: set[str] = set()
    used: set[Any] = set()
    for split, content in contents.items():
        for category in content.get("categories", []):
            key, name = (
                (category.get("id"), str(category.get("name") or "").strip())
                if isinstance(category, dict)
                else (None, "")
            )
            if key is None or not name:
                raise DataError(f"has a category without id or name: {str(category)[:80]}", where=str(files[split]))
            if names.setdefault(_id(key), name) != name:
                told = f"category id {key} is {names[_id(key)]!r} and {name!r}"
                raise DataError(told, where=str(files[split]), hint="Number the classes of all splits alike")
            heads.add(str(category.get("supercategory") or "").strip())
        used |= {_id(entry.get("category_id")) for entry in content["annotations"] if isinstance(entry, dict)}
    # Roboflow writes a head category, by the project's name, that no object has.
    kept = {key: name for key, name in names.items() if not (name in heads and key not in used)}
    numbers = all(key.isdecimal() and 0 < int(key) < VOID for key in kept)
    order = sorted(kept, key=lambda key: (not key.isdecimal(), int(key) if key.isdecimal() else 0, key))
    values = {key: int(key) if numbers else place for place, key in enumerate(order, start=1)}
    pairs = [("0", BACKGROUND), *((str(values[key]), _class_name(kept[key])) for key in order)]
    return values, build_map(pairs, "the COCO file's categories")


def _take_coco(
    drawn: Drawn, split: str, file: Path, content: Mapping[str, Any], values: Mapping[Any, int], index: Files
) -> None:
    """One file's pictures with their objects."""
    entries = [
        entry for entry in content["images"] if isinstance(entry, dict) and isinstance(entry.get("file_name"), str)
    ]
    places = _places(drawn.home, split, file)
    looked = part_clashes({_id(entry.get("id")): index.look(entry["file_name"], places) for entry in entries})
    images: dict[Any, Path] = {}
    for entry in entries:
        key = _id(entry.get("id"))
        path = looked[key].path
        if path is None:
            drawn.without_image.append(index.looked_for(entry["file_name"], places))
            continue
        images[key] = path
        drawn.rows[split].setdefault(path, [])
        sides = entry.get("height"), entry.get("width")
        if all(isinstance(side, int) and not isinstance(side, bool) and 0 < side < 1 << 16 for side in sides):
            drawn.sizes[path] = int(entry["height"]), int(entry["width"])
    for place, entry in enumerate(content["annotations"]):
        path = images.get(_id(entry.get("image_id"))) if isinstance(entry, dict) else None
        if path is None:
            continue  # counted with its image
        name = f"annotation {entry.get('id', place)}"
        value = values.get(_id(entry.get("category_id")))
        if value is None:
            drawn.without_outline.append(f"{drawn.name(path)}: {name} (category {entry.get('category_id')})")
        else:
            drawn.rows[split][path].append(Object(value, entry.get("segmentation"), name))


def _places(home: Path, split: str, file: Path) -> list[Path]:
    """Where a split's pictures may lie, most likely first."""
    roots = list(dict.fromkeys([file.parent, home]))
    images = [root / "images" for root in roots]
    below = [entry for root in (*roots, *images) if root.is_dir() for entry in sorted(root.iterdir()) if entry.is_dir()]
    own = [folder for folder in below if split_within(folder.name) == split]
    return [file.parent, *own, *(folder for folder in images if folder.is_dir()), home]


def _read_labelme(home: Path, found: Sequence[Path]) -> Drawn:
    drawn = Drawn(home)
    index = Files(home, SUFFIXES)
    contents = {file: content for file in found if "shapes" in (content := _load(file))}
    names = sorted({name for content in contents.values() for name in _labels_of(content)})
    values = {name: place for place, name in enumerate((n for n in names if not _is_special(n)), start=1)}
    values |= {name: VOID if "ignore" in name else 0 for name in names if _is_special(name)}
    if len(values) >= VOID:
        raise DataError(f"has {len(values):,} different labels; at most 253 can be told apart", where=str(home))
    pairs: list[tuple[str, str | None]] = [("0", BACKGROUND)]
    pairs += [(str(value), name) for name, value in values.items() if 0 < value < VOID]
    drawn.labels = build_map([*pairs, ("255", None)], "labelme's labels")
    for file, content in contents.items():
        split = next(filter(None, map(split_within, reversed(file.relative_to(home).parts[:-1]))), "train")
        image = index.find(file.stem, [file.parent]) or index.find(str(content.get("imagePath") or ""), [file.parent])
        if image is None or image in drawn.rows[split]:
            drawn.without_image.append(drawn.name(file))
            continue
        objects = [shape for shape in content["shapes"] if isinstance(shape, dict)]
        sides = content.get("imageHeight"), content.get("imageWidth")
        if all(isinstance(side, int) and 0 < side < 1 << 16 for side in sides):
            drawn.sizes[image] = sides[0], sides[1]
        size = drawn.sizes.get(image)
        drawn.rows[split][image] = [
            Object(
                values[str(shape.get("label")).strip()],
                _shape(shape, size),
                f"{shape.get('shape_type') or 'shape'} {place}",
            )
            for place, shape in enumerate(objects)
        ]
    return drawn


def _labels_of(content: Mapping[str, Any]) -> set[str]:
    return {str(shape.get("label")).strip() for shape in content["shapes"] if isinstance(shape, dict)}


def _is_special(name: str) -> bool:
    return name.lower() in ("_background_", "__ignore__", BACKGROUND)


def _class_name(name: str) -> str:
    return BACKGROUND if name.lower() in (BACKGROUND, "_background_") else name


def _shape(shape: Mapping[str, Any], size: tuple[int, int] | None) -> Any:
    """An outline for `draw_outline`, or what labelme's shape `mask` shows, bool [height, width]."""
    kind, points = str(shape.get("shape_type") or "polygon"), shape.get("points")
    if kind != "mask":
        return outline_of_shape(kind, points)
    try:
        with Image.open(io.BytesIO(base64.b64decode(str(shape["mask"])))) as image:
            part = np.asarray(image.convert("L")) > 0
        left, top = (round(value) for value in shape["points"][0])
        assert size is not None
        whole = np.zeros(size, dtype=bool)
        whole[top : top + part.shape[0], left : left + part.shape[1]] = part
    except Exception:  # a library boundary, and foreign JSON: it is told as an object without an outline
        return None
    return whole


def _load(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise DataError("is not UTF-8 text", where=str(file), hint="Save it as UTF-8") from None
    except json.JSONDecodeError as error:
        where = f"{file}:{error.lineno}:{error.colno}"
        raise DataError(f"is damaged JSON ({error.msg})", where=where, hint="Export it again") from None
    except (RecursionError, ValueError, OSError) as error:
        raise DataError(f"cannot be read ({str(error) or type(error).__name__})", where=str(file)) from None
    if not isinstance(content, dict):
        raise DataError("is JSON, but neither COCO's nor labelme's", where=str(file))
    return content


def _id(value: Any) -> str:
    """An id as text; some tools write numbers as such."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()

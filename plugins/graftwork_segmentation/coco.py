"""Outlines in COCO's JSON: polygons and run lengths."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graftwork.data.folders import is_junk
from graftwork.data.paths import Files, part_clashes, shown
from graftwork.data.splits import canonical_split
from graftwork.errors import DataError
from graftwork.vision.decode import SUFFIXES
from graftwork_segmentation.drawn import Drawn, Object, load_json
from graftwork_segmentation.labelmap import VOID, LabelMap, build_map
from graftwork_segmentation.naming import split_within
from graftwork_segmentation.tags import BACKGROUND

_SIBLINGS = ("captions", "person_keypoints", "stuff", "panoptic", "image_info")  # of COCO's instances_*.json


def read_coco(home: Path, found: Sequence[Path]) -> Drawn:
    """Pictures with their outlined objects, by the split that an annotation file is called after.

    Args:
        home: the source; names in findings start from it.
        found: annotation files.

    Raises:
        DataError: a file is damaged, or several mean the same split.
    """
    drawn = Drawn(home)
    files = _coco_splits(home, found)
    drawn.others += [drawn.name(file) for file in found if file not in files.values()]
    contents = {}
    for split, file in files.items():
        content = load_json(file)
        if any(not isinstance(content.get(key, []), list) for key in ("images", "annotations", "categories")):
            raise DataError("is no COCO file: images, annotations and categories are wanted as lists", where=str(file))
        if any(isinstance(entry, dict) and "segments_info" in entry for entry in content.get("annotations") or ()):
            told = "is COCO's panoptic form, whose masks are pictures of segment numbers"
            hint = "panopticapi makes masks of classes of it: converters/panoptic2semantic_segmentation.py; give these in masks/"
            raise DataError(told, where=str(file), hint=hint)
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
    named = [(entry, name) for entry in content["images"] if (name := _name_of(entry)) is not None]
    places = _places(drawn.home, split, file)
    called: dict[str, str] = {}
    for entry, name in named:
        first = called.setdefault(_id(entry.get("id")), name)
        if first != name:
            told = f"two images have the id {entry.get('id')}: {first} and {name}"
            hint = "Their objects cannot be told apart: number the images of each file anew when files are joined"
            raise DataError(told, where=str(file), hint=hint)
    looked = part_clashes({key: index.look(name, places) for key, name in called.items()})
    images: dict[Any, Path] = {}
    for entry, name in named:
        key = _id(entry.get("id"))
        path = looked[key].path
        if path is None:
            drawn.without_image.append(index.looked_for(name, places))
            continue
        images[key] = path
        if looked[key].elsewhere:
            drawn.elsewhere.append(f"{shown(entry['file_name'])}: {drawn.name(path)}")
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


def _name_of(entry: Any) -> str | None:
    """What an image's entry says its file is called: its name, or else its path, or the address that it came from."""
    names = (entry.get(key) for key in ("file_name", "path", "coco_url")) if isinstance(entry, dict) else ()
    return next((name for name in names if isinstance(name, str) and name.strip()), None)


def _places(home: Path, split: str, file: Path) -> list[Path]:
    """Where a split's pictures may lie, most likely first."""
    roots = list(dict.fromkeys([file.parent, home]))
    images = [root / "images" for root in roots]
    below = [entry for root in (*roots, *images) if root.is_dir() for entry in sorted(root.iterdir()) if entry.is_dir()]
    own = [folder for folder in below if split_within(folder.name) == split]
    return [file.parent, *own, *(folder for folder in images if folder.is_dir()), home]


def _class_name(name: str) -> str:
    return BACKGROUND if name.lower() in (BACKGROUND, "_background_") else name


def _id(value: Any) -> str:
    """An id as text; some tools write numbers as such."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()

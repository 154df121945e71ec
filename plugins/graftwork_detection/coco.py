"""COCO JSON: one file, `annotations/*.json` beside folders of images, or a file in each split's folder."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from graftwork.data.folders import is_junk
from graftwork.data.names import class_name
from graftwork.errors import DataError
from graftwork_detection.findings import Notes
from graftwork_detection.rows import (
    Annotated,
    Read,
    number,
    pictures_in,
    relative,
    split_folders,
    split_in_name,
    subfolder,
)

_KEYS = ("images", "annotations", "categories")
_MARK = re.compile(rb'"(images|annotations)"\s*:\s*\[')
_PEEK = 1 << 20
_SIBLINGS = ("captions", "person_keypoints", "stuff", "panoptic", "image_info")  # of COCO's instances_*.json


def find_coco(root: Path, notes: Notes) -> dict[str, Path]:
    """The annotation file of each split; empty where there is none.

    Raises:
        DataError: two files mean one split, or none of several says which split it is.
    """
    if root.is_file():
        return {split_in_name(root.stem) or split_in_name(root.parent.name) or "train": root}
    found = [*_in_folder(root), *(_in_folder(folder) if (folder := subfolder(root, "annotations")) else [])]
    if not found:
        folders = split_folders(root)
        return {split: file for split, folder in folders.items() if (file := _only_file(folder)) is not None}
    instances = [file for file in found if file.name.startswith("instances")]
    chosen = instances or [file for file in found if not file.name.startswith(_SIBLINGS)] or found
    if len(chosen) == 1 and split_in_name(chosen[0].stem) is None:
        named = {"train": chosen}
    else:
        named = defaultdict(list)
        for file in chosen:
            named[split_in_name(file.stem) or ""].append(file)
        chosen = [file for file in chosen if split_in_name(file.stem)]
        if len(named.get("train", ())) > 1:  # trainval is what train and val hold together
            named["train"] = [file for file in named["train"] if "trainval" not in file.name.lower()]
    taken = [file for split, files in named.items() if split for file in files]
    if not taken:
        listed = ", ".join(file.name for file in found[:5])
        hint = "Name them train.json, val.json, test.json, or give one file"
        raise DataError(f"has several COCO files ({listed}), none named after a split", where=str(root), hint=hint)
    for split, files in named.items():
        if split and len(files) > 1:
            raise DataError(f"{' and '.join(file.name for file in files)} both mean {split}", where=str(root))
    for file in found:
        if file not in taken:
            notes.add("other-files", relative(file, root))
    return {split: files[0] for split, files in named.items() if split}


def _in_folder(folder: Path) -> list[Path]:
    return [
        file
        for file in sorted(folder.iterdir())
        if file.suffix.lower() == ".json" and file.is_file() and not is_junk(file.name) and _looks_like_coco(file)
    ]


def _only_file(folder: Path) -> Path | None:
    inner = subfolder(folder, "annotations")
    found = [*_in_folder(folder), *(_in_folder(inner) if inner else [])]
    if len(found) > 1:
        listed = ", ".join(file.name for file in found[:5])
        raise DataError(f"has several COCO files ({listed})", where=str(folder), hint="Leave one a split")
    return found[0] if found else None


def _looks_like_coco(file: Path) -> bool:
    with file.open("rb") as stream:
        start = stream.read(_PEEK)
    # A damaged file by COCO's own name is COCO's all the same: it is to be named, not passed over.
    return _MARK.search(start) is not None or file.name.lower().startswith(("instances", "_annotations.coco"))


@dataclass
class _Classes:
    """Categories of all files: which id means which name."""

    names: dict[int | str, str] = field(default_factory=dict)
    heads: set[str] = field(default_factory=set)
    used: set[int | str | None] = field(default_factory=set)

    def take(self, categories: Sequence[Any], where: str) -> None:
        for category in categories:
            key = _id_of(category.get("id")) if isinstance(category, Mapping) else None
            if key is None or not str(category.get("name") or "").strip():
                raise DataError(f"has a category without id or name: {str(category)[:80]}", where=where)
            name = class_name(str(category["name"]))
            if self.names.setdefault(key, name) != name:
                told = f"category id {key} is {self.names[key]!r} and {name!r}"
                raise DataError(told, where=where, hint="Number the classes of all splits alike")
            self.heads.add(str(category.get("supercategory") or "").strip())

    def index(self, notes: Notes) -> tuple[dict[int | str, int], tuple[str, ...]]:
        """Id to class index, in the order of ids (they have gaps in COCO), and the names."""
        ids: dict[str, list[int | str]] = defaultdict(list)
        for key in sorted(self.names, key=lambda key: (isinstance(key, str), key)):
            ids[self.names[key]].append(key)
        for name in list(ids):
            # Roboflow writes a head category, by the project's name, that no object has.
            if name in self.heads and self.used and not self.used & set(ids[name]):
                notes.add("unused-category", name)
                del ids[name]
            elif len(ids[name]) > 1:
                notes.add("class-with-several-ids", f"{name} ({', '.join(map(str, ids[name]))})")
        names = tuple(ids)
        return {key: number for number, name in enumerate(names) for key in ids[name]}, names


def read_coco(root: Path, files: Mapping[str, Path], notes: Notes) -> Read:
    """Images and objects of COCO files.

    Class indices follow the order of category ids over all files. `iscrowd` becomes crowd; outlines are not used.

    Args:
        root: the data's folder, or the file itself.
        files: the annotation file of each split.

    Raises:
        DataError: a file is damaged or no COCO file, or an id means two things.
    """
    classes = _Classes()
    contents = {}
    home = root if root.is_dir() else root.parent
    if root.is_file() and home.name.lower() == "annotations":
        home = home.parent
    for split, file in files.items():
        name = relative(file, home)
        content = _load(file)
        if not content.get("annotations"):  # a test set whose objects are kept back
            notes.add("unlabelled-split", f"{split} ({name})")
            continue
        classes.take(content["categories"], str(file))
        classes.used |= {_id_of(row.get("category_id")) for row in content["annotations"] if isinstance(row, Mapping)}
        contents[split] = (file, content)
    index, names = classes.index(notes)
    splits: dict[str, list[Annotated]] = {}
    seen: set[Path] = set()
    for split, (file, content) in contents.items():
        by_id = _images(home, split, file, content["images"], notes)
        _objects(content["annotations"], by_id, index, relative(file, home), notes)
        images = list({id(image): image for image in by_id.values() if image is not None}.values())
        splits[split] = images
        seen |= {image.file for image in images}
    for folder in sorted({file.parent for file in seen}):
        for picture in pictures_in(folder):
            if picture not in seen:
                notes.add("image-without-annotation", relative(picture, home))
    return Read(splits, names)


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
    if not isinstance(content, dict) or "images" not in content:
        keys = ", ".join(map(str, list(content)[:6])) if isinstance(content, dict) else f"a {type(content).__name__}"
        raise DataError(f"is JSON, but no COCO file: wanted {', '.join(_KEYS)}; found {keys}", where=str(file))
    for key in _KEYS:
        if (key != "annotations" or key in content) and not isinstance(content.setdefault(key, []), list):
            raise DataError(f"is no COCO file: its {key!r} are no list", where=str(file))
    return content


def _images(
    home: Path, split: str, file: Path, entries: Sequence[Any], notes: Notes
) -> dict[int | str, Annotated | None]:
    """Image id to image; None where its file is not there."""
    folders = _image_folders(home, split, file)
    by_id: dict[int | str, Annotated | None] = {}
    by_file: dict[Path, Annotated] = {}
    called: dict[int | str, str] = {}
    for entry in entries:
        key = _id_of(entry.get("id")) if isinstance(entry, Mapping) else None
        name = entry.get("file_name") if isinstance(entry, Mapping) else None
        if key is None or not isinstance(name, str) or not name:
            raise DataError(f"has an image without id or file_name: {str(entry)[:80]}", where=str(file))
        if called.setdefault(key, name) != name:
            raise DataError(f"two images have the id {key}: {called[key]} and {name}", where=str(file))
        found = _find(name, folders)
        if found is None:
            notes.add("annotation-without-image", f"{relative(file, home)}: {name}")
            by_id[key] = None
            continue
        if found in by_file:
            notes.add("image-listed-twice", f"{split}: {relative(found, home)}")
            by_id[key] = by_file[found]  # its objects may be spread over both entries
            continue
        width, height = _side(entry.get("width")), _side(entry.get("height"))
        by_id[key] = by_file[found] = Annotated(found, relative(found, home), width, height)
    return by_id


def _side(value: Any) -> int:
    """Pixels; 0 where nothing sensible is declared."""
    side = number(value)
    return int(side) if side is not None and 0 < side < 1e9 else 0


def _image_folders(home: Path, split: str, file: Path) -> list[Path]:
    """Where a split's images may lie, most likely first."""
    near = file.parent
    roots = dict.fromkeys([near, near.parent if near != home else home, home])
    folders: list[Path] = []
    for root in roots:
        named = [folder for key, folder in split_folders(root).items() if key == split]
        images = subfolder(root, "images", "jpegimages", "imgs")
        if images:
            named += [folder for key, folder in split_folders(images).items() if key == split]
            named.append(images)
        folders += [root, *named]
    # A split's own folder comes before folders that all splits share: 000001.jpg may be in each.
    own = [folder for folder in folders if folder == near or split_in_name(folder.name) == split]
    return list(dict.fromkeys([*own, *folders]))


def _find(name: str, folders: list[Path]) -> Path | None:
    """The file in the first folder that has it; that folder is then looked into first.

    Paths of another machine, and those that climb out of the data's folder, are taken by their last part.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    apart = path.is_absolute() or ".." in path.parts or ":" in path.parts[0]
    for candidate in dict.fromkeys([path.name if apart else str(path), path.name]):
        for place, folder in enumerate(folders):
            try:
                found = (folder / candidate).is_file()
            except (OSError, ValueError):  # too long a name, or a NUL in it
                return None
            if found:
                folders.insert(0, folders.pop(place))
                return folder / candidate
    return None


def _objects(
    entries: Sequence[Any],
    images: Mapping[int | str, Annotated | None],
    index: Mapping[int | str, int],
    where: str,
    notes: Notes,
) -> None:
    for position, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            notes.add("malformed-box", f"{where}: annotation {position}")
            continue
        told = f"{where}: annotation {entry.get('id', position)}"
        image_id = _id_of(entry.get("image_id"))
        if image_id is None or image_id not in images:
            notes.add("unknown-image-id", f"{told} (image {entry.get('image_id')})")
            continue
        image = images[image_id]
        if image is None:
            continue  # counted with its image
        told = f"{image.origin}: annotation {entry.get('id', position)}"
        key = _id_of(entry.get("category_id"))
        if key is None or key not in index:
            notes.add("unknown-class", f"{told} (category {entry.get('category_id')})")
            continue
        values = entry.get("bbox")
        numbers = [number(value) for value in values] if isinstance(values, list) else []
        if len(numbers) != 4 or None in numbers:
            notes.add("malformed-box", f"{told} ({str(values)[:60]})")
            continue
        crowd = bool(entry.get("iscrowd"))
        if crowd:
            notes.add("crowd-objects", told)
        elif entry.get("segmentation"):
            notes.add("segmentation-not-used", told)
        image.add((numbers[0], numbers[1], numbers[2], numbers[3]), index[key], crowd)  # type: ignore[arg-type]


def _id_of(value: Any) -> int | str | None:
    """An id as number where it is one (some tools write text), else as text; None where it is none."""
    if isinstance(value, str):
        text = value.strip()
        return int(text) if re.fullmatch(r"\d{1,18}", text) else text or None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if value == value and abs(value) < 1e18 and value == int(value) else None

"""COCO JSON: one file, `annotations/*.json` beside folders of images, or a file in each split's folder."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graftwork.data.folders import is_junk
from graftwork.data.paths import Files, Found
from graftwork.errors import DataError
from graftwork.files.text import decode_text, read_text, save_as_utf8
from graftwork.vision.decode import SUFFIXES
from graftwork_detection.cocoparts import Categories, Objects, id_of, name_of
from graftwork_detection.findings import Notes
from graftwork_detection.foreign import what_it_is
from graftwork_detection.rows import (
    Annotated,
    Read,
    find_picture,
    image_folders,
    pictures_in,
    relative,
    settle,
    side,
    split_folders,
    split_in_name,
    subfolder,
    why_not,
)

_KEYS = ("images", "annotations", "categories")
_EXAMPLES = {
    "images": '[{"id": 1, "file_name": "a.jpg"}]',
    "annotations": '[{"image_id": 1, "category_id": 1, "bbox": [x, y, width, height]}]',
    "categories": '[{"id": 1, "name": "cat"}]',
}
_MARK = re.compile(r'"(images|annotations)"\s*:\s*[\[{]')
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
        peeked = stream.read(_PEEK)
    start = decode_text(peeked, "replace")
    # A damaged file by COCO's own name is COCO's all the same: it is to be named, not passed over.
    is_object = start.lstrip()[:1] == "{"  # a list is Label Studio's or CreateML's
    marks = {found[1] for found in _MARK.finditer(start)}
    # What holds annotations and no images, all of it seen, is another tool's file of one picture.
    is_coco = is_object and ("images" in marks or (len(peeked) == _PEEK and bool(marks)))
    return is_coco or file.name.lower().startswith(("instances", "_annotations.coco"))


def read_coco(root: Path, files: Mapping[str, Path], notes: Notes, boxes: str = "xywh") -> Read:
    """Images and objects of COCO files.

    Class indices follow the order of category ids over all files. `iscrowd` becomes crowd; outlines are used where there is
    no box.

    Args:
        root: the data's folder, or the file itself.
        files: the annotation file of each split.
        boxes: `corners` where boxes are x1, y1, x2, y2.

    Raises:
        DataError: a file is damaged or no COCO file, or an image's id means two things.
    """
    classes = Categories()
    contents = {}
    home = root if root.is_dir() else root.parent
    if root.is_file() and home.name.lower() == "annotations":
        home = home.parent
    for split, file in files.items():
        content = _load(file)
        if not content.get("annotations"):  # a test set whose objects are kept back
            notes.add("unlabelled-split", f"{split} ({relative(file, home)})")
            continue
        classes.take(split, content, str(file), notes)
        contents[split] = (file, content)
    index, names = classes.index(notes)
    splits: dict[str, list[Annotated]] = {}
    seen: set[Path] = set()
    pictures = settle(_find_all(home, contents), home, notes)
    for split, (file, content) in contents.items():
        by_id = _images(home, split, file, content["images"], pictures, notes)
        reader = Objects(by_id, index[split], relative(file, home), boxes == "corners", notes)
        for position, entry in enumerate(content["annotations"]):
            reader.add(position, entry)
        images = list({id(image): image for image in by_id.values() if image is not None}.values())
        splits[split] = images
        seen |= {image.file for image in images}
    for folder in sorted({file.parent for file in seen}):
        for picture in pictures_in(folder):
            if picture not in seen:
                notes.add("image-without-annotation", relative(picture, home))
    return Read(splits, names, classes.ids(names))


def image_ids(root: Path, files: Mapping[str, Path]) -> list[tuple[str, Path | None, int | str]]:
    """Name, file (None where it is not there) and id of every image that COCO files list.

    Raises:
        DataError: a file is damaged or no COCO file.
    """
    home = root if root.is_dir() else root.parent
    if root.is_file() and home.name.lower() == "annotations":
        home = home.parent
    contents = {split: (file, _load(file)) for split, file in files.items()}
    pictures = settle(_find_all(home, contents), home, Notes())
    listed = []
    for split, (_, content) in contents.items():
        for entry in content["images"]:
            key = id_of(entry.get("id")) if isinstance(entry, Mapping) else None
            name = name_of(entry)
            if key is not None and name is not None:
                listed.append((name, pictures[split, name].path, key))
    return listed


def _load(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_text(file))
    except UnicodeDecodeError:
        raise DataError("is not UTF-8 text", where=str(file), hint=save_as_utf8(file)) from None
    except json.JSONDecodeError as error:
        where = f"{file}:{error.lineno}:{error.colno}"
        raise DataError(f"is damaged JSON ({error.msg})", where=where, hint="Export it again") from None
    except (RecursionError, ValueError, OSError) as error:
        raise DataError(f"cannot be read ({str(error) or type(error).__name__})", where=str(file)) from None
    if not isinstance(content, dict) or "images" not in content:
        keys = ", ".join(map(str, list(content)[:6])) if isinstance(content, dict) else f"a {type(content).__name__}"
        told = f"is JSON, but no COCO file: wanted {', '.join(_KEYS)}; found {keys}"
        raise DataError(told, where=str(file), hint=what_it_is(file))
    if "annotations" not in content and (other := what_it_is(file)) is not None:
        raise DataError("is JSON, but no COCO file: it has no annotations", where=str(file), hint=other)
    for key in _KEYS:
        if (key != "annotations" or key in content) and not isinstance(content.setdefault(key, []), list):
            hint = f"Write them as a list, {_EXAMPLES[key]}"
            raise DataError(f"is no COCO file: its {key!r} are no list", where=str(file), hint=hint)
    return content


def _find_all(home: Path, contents: Mapping[str, tuple[Path, Mapping[str, Any]]]) -> dict[tuple[str, str], Found]:
    """What each split's file names lead to; different names never lead to one picture, in no split."""
    files = Files(home, SUFFIXES, outside=False)
    found = {}
    for split, (file, content) in contents.items():
        places, without = image_folders(home, split, file)
        for entry in content["images"]:
            name = name_of(entry)
            if name is not None and (split, name) not in found:
                found[split, name] = find_picture(files, name, places, without)
    return found


def _images(
    home: Path,
    split: str,
    file: Path,
    entries: Sequence[Any],
    pictures: Mapping[tuple[str, str], Found],
    notes: Notes,
) -> dict[int | str, Annotated | None]:
    """Image id to image; None where its file is not there."""
    by_id: dict[int | str, Annotated | None] = {}
    by_file: dict[Path, Annotated] = {}
    called: dict[int | str, str] = {}
    for entry in entries:
        key = id_of(entry.get("id")) if isinstance(entry, Mapping) else None
        name = name_of(entry)
        if name is None:
            told = f"{relative(file, home)}: {str(entry)[:80]} (has no file_name)"
            notes.add("annotation-without-image", told)
            by_id |= {} if key is None else {key: None}
            continue
        if key is None:  # no object can say that it is of this one
            notes.add("image-without-annotation", f"{relative(file, home)}: {name} (has no id)")
            continue
        if called.setdefault(key, name) != name:
            told = f"two images have the id {key}: {called[key]} and {name}"
            hint = "Their objects cannot be told apart: number the images of each file anew when files are joined"
            raise DataError(told, where=str(file), hint=hint)
        picture = pictures[split, name]
        if picture.path is None:
            notes.add("annotation-without-image", f"{relative(file, home)}: {why_not(picture, home)}")
            by_id[key] = None
            continue
        found = picture.path
        if found in by_file:
            notes.add("image-listed-twice", f"{split}: {relative(found, home)}")
            by_id[key] = by_file[found]  # its objects may be spread over both entries
            continue
        width, height = side(entry.get("width")), side(entry.get("height"))
        by_id[key] = by_file[found] = Annotated(found, relative(found, home), width, height)
    return by_id

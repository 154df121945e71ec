"""YOLO: `data.yaml`, or Darknet's folders with `classes.txt`; a text file an image, a line an object."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graftwork.data.folders import is_junk
from graftwork.data.names import class_name
from graftwork.data.splits import canonical_split
from graftwork.errors import DataError, UsageError
from graftwork.files.yaml import read_yaml
from graftwork.vision.decode import SUFFIXES
from graftwork_detection.findings import Notes
from graftwork_detection.rows import (
    Annotated,
    Read,
    pictures_in,
    relative,
    split_folders,
    spoken,
    subfolder,
)

CLASS_FILES = ("classes.txt", "obj.names", "classes.names")


@dataclass(frozen=True)
class Layout:
    """What a YOLO data set consists of.

    Args:
        where: the file that says so, for messages.
        names: class names by index.
        pictures: image files by split, as they are listed.
        keypoints: numbers a line has after its box (poses); 0 for none.
    """

    where: Path
    names: tuple[str, ...]
    pictures: Mapping[str, Sequence[Path]]
    keypoints: int = 0


def find_yolo(root: Path) -> Path | None:
    """The file that describes a YOLO data set: `data.yaml`, or a list of class names; None where there is none.

    Raises:
        DataError: several YAML files could be it.
    """
    if root.is_file():
        return root
    found = []
    for file in sorted(root.iterdir()):
        if file.suffix.lower() in (".yaml", ".yml") and file.is_file() and not is_junk(file.name):
            try:
                content, _ = read_yaml(file)
            except UsageError:
                if file.stem.lower() in ("data", "dataset"):
                    return file  # to be named when it is read
                continue
            keys = {"names", "train", "val"} & set(content)
            if {"names"} < keys or (keys and file.stem.lower() == "data"):
                found.append(file)
    if len(found) > 1:
        listed = ", ".join(file.name for file in found)
        raise DataError(f"has several YOLO descriptions ({listed})", where=str(root), hint="Give one of the files")
    return found[0] if found else next(iter(_class_files(root)), None)


def _class_files(root: Path) -> list[Path]:
    """Lists of class names beside files of labels."""
    places = [root, *(folder for name in ("labels", "data") if (folder := subfolder(root, name)))]
    places += [
        inner for folder in split_folders(root).values() for inner in (folder, subfolder(folder, "labels")) if inner
    ]
    files = [place / name for place in places for name in CLASS_FILES if (place / name).is_file()]
    return files if files and _has_labels(root) else []


def _has_labels(root: Path) -> bool:
    skipped = {"train.txt", "val.txt", "valid.txt", "test.txt", *CLASS_FILES}
    for file in root.rglob("*.txt"):
        if file.name.lower() not in skipped and not is_junk(file.name):
            with file.open("rb") as stream:
                words = stream.readline(4096).split()
            if len(words) >= 5 and spoken(words[0].decode("ascii", "replace")) is not None:
                return True
    return False


def read_yolo(root: Path, description: Path, notes: Notes) -> Read:
    """Images and objects of a YOLO data set.

    A line is `class x-centre y-centre width height` in shares of the upright image's size, or a class and a polygon, of
    which the surrounding box is taken. Sizes come from the headers of the image files; nothing is decoded.

    Raises:
        DataError: the description is damaged or incomplete, or a line has a column too many.
    """
    home = root if root.is_dir() else root.parent
    in_yaml = description.suffix.lower() in (".yaml", ".yml")
    layout = _from_yaml(description, notes) if in_yaml else _from_folders(home, description)
    splits: dict[str, list[Annotated]] = {}
    used: set[Path] = set()
    folders: set[Path] = set()
    for split, files in layout.pictures.items():
        images: list[Annotated] = []
        listed: set[Path] = set()
        for file in files:
            if file in listed:
                notes.add("image-listed-twice", f"{split}: {relative(file, home)}")
                continue
            listed.add(file)
            label = _label_of(file, home)
            used.add(label or file)
            folders.update(path.parent for path in _label_paths(file, home))
            image = _one(file, label, layout, home, notes)
            if image is not None:
                images.append(image)
        splits[split] = images
    for folder in sorted(filter(Path.is_dir, folders)):
        for file in sorted(set(folder.glob("*.txt")) - used):
            if _is_label(file):
                notes.add(
                    "not-in-any-split" if _has_picture(file) else "annotation-without-image", relative(file, home)
                )
    return Read(splits, layout.names)


def _is_label(file: Path) -> bool:
    name = file.name.lower()
    return name not in CLASS_FILES and not canonical_split(file.stem) and not is_junk(name) and "readme" not in name


def _has_picture(label: Path) -> bool:
    at = max((at for at, part in enumerate(label.parts) if part == "labels"), default=None)
    places = [label] if at is None else [label, Path(*label.parts[:at], "images", *label.parts[at + 1 :])]
    return any(place.with_suffix(suffix).exists() for place in places for suffix in SUFFIXES)


def _one(file: Path, label: Path | None, layout: Layout, home: Path, notes: Notes) -> Annotated | None:
    name = relative(file, home)
    if not file.is_file():
        notes.add("annotation-without-image", f"{relative(label, home) if label else name} ({name} is not there)")
        return None
    if label is None:
        notes.add("image-without-annotation", name)
        return None
    called = relative(label, home)
    try:
        lines = label.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = "is not text" if isinstance(error, UnicodeDecodeError) else str(error.strerror)
        notes.add("unreadable-annotation", f"{called}: {reason}")
        return None
    width, height = upright_size(file)
    image = Annotated(file, name, width, height)
    for number, line in enumerate(lines, start=1):
        if line.strip():
            _object(image, line.split(), layout, f"{called}:{number}", notes)
    return image


def _object(image: Annotated, words: Sequence[str], layout: Layout, told: str, notes: Notes) -> None:
    numbers = [spoken(word) for word in words]
    if len(words) == 6 and None not in numbers:
        message = (
            "has six columns: a class, a box and what looks like a confidence, so these are predictions, not labels"
        )
        raise DataError(message, where=told, hint="Keep the class and four numbers a line")
    is_pose = layout.keypoints and len(words) == 5 + layout.keypoints
    is_polygon = not is_pose and len(words) >= 7 and len(words) % 2 == 1
    if None in numbers or not (len(words) == 5 or is_pose or is_polygon):
        notes.add("malformed-line", f"{told} ({' '.join(words)[:60]})")
        return
    index, *shares = (number for number in numbers if number is not None)
    if not math.isfinite(index) or index != int(index) or not 0 <= index < len(layout.names):
        notes.add("unknown-class", f"{told} (class {words[0]} of {len(layout.names)})")
        return
    if is_polygon:
        notes.add("polygon-as-box", told)
        xs, ys = shares[0::2], shares[1::2]
        left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
        box = (left, top, right - left, bottom - top)
    else:
        x, y, width, height = shares[:4]
        box = (x - width / 2, y - height / 2, width, height)
    scale = (image.width, image.height) * 2
    image.add(tuple(value * side for value, side in zip(box, scale, strict=True)), int(index))  # type: ignore[arg-type]


def _label_paths(picture: Path, home: Path) -> list[Path]:
    """Where a picture's labels may lie: `images/` turned into `labels/` (the last one, inside the data), or beside it."""
    name = picture.with_suffix(".txt")
    parts = list(name.parts)
    start = len(home.parts) if name.is_relative_to(home) else 0
    places = [at for at in range(start, len(parts) - 1) if parts[at].lower() == "images"]
    return [Path(*parts[: places[-1]], "labels", *parts[places[-1] + 1 :]), name] if places else [name]


def _label_of(picture: Path, home: Path) -> Path | None:
    return next((path for path in _label_paths(picture, home) if path.is_file()), None)


def upright_size(file: Path) -> tuple[int, int]:
    """Width and height in pixels as people see the image, from its header; zeros where it has none that can be read.

    A PNG's orientation counts where it stands before the pixels, as is usual; the audit compares with the decoded size.
    """
    from PIL import Image

    try:
        with Image.open(file) as image:
            late = image.format == "PNG" and "exif" not in image.info  # Pillow would decode it all to look for more
            turned = not late and image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            return (image.height, image.width) if turned else image.size
    except Exception:  # a library boundary: damaged files raise many kinds; the audit names them
        return 0, 0


def _from_yaml(file: Path, notes: Notes) -> Layout:
    try:
        content, _ = read_yaml(file)
    except UsageError as error:
        raise DataError(error.what, where=error.where, hint=error.hint) from None
    names = _names(content.get("names"), file)
    if isinstance(content.get("nc"), int) and content["nc"] != len(names):
        notes.add("class-count-disagrees", f"{file.name}: nc is {content['nc']}, but there are {len(names)} names")
    base = file.parent
    given = content.get("path")
    if isinstance(given, str):
        # A path that is not here is the author's machine's; what it holds lies beside the description then.
        base = next((place for place in (base / given, Path(given)) if place.is_dir()), base)
    pictures = {}
    for key in ("train", "val", "valid", "validation", "test"):
        split = canonical_split(key)
        if split and split not in pictures and content.get(key):
            entries = content[key] if isinstance(content[key], list) else [content[key]]
            found = [_listed(str(entry), base, f"{file}: {key}", needed=split != "test") for entry in entries]
            pictures[split] = [_tidy(picture) for files in found for picture in files]
    if not pictures:
        raise DataError("names neither train, val nor test", where=str(file), hint="Add train: images/train")
    shape = content.get("kpt_shape")
    numbers = shape if isinstance(shape, list) and all(isinstance(side, int) for side in shape) else [0]
    return Layout(file, names, pictures, math.prod(numbers))


def _names(value: Any, file: Path) -> tuple[str, ...]:
    if isinstance(value, Mapping):
        keys = [int(key) if str(key).isdecimal() else -1 for key in value]
        if sorted(keys) != list(range(len(keys))):
            raise DataError("its names are not numbered 0, 1, 2 and so on", where=str(file))
        value = [name for _, name in sorted(zip(keys, value.values(), strict=True))]
    if not isinstance(value, list) or not value:
        raise DataError("has no names of classes", where=str(file), hint="Add names: [cat, dog]")
    names = tuple(class_name(str(name)) for name in value)
    if len(set(names)) < len(names):
        raise DataError("gives two classes one name", where=str(file))
    return names


def _tidy(path: Path) -> Path:
    """The path without `..`; a link stays a link, since its labels lie beside it and not beside what it points to."""
    return Path(os.path.normpath(path))


def _listed(entry: str, base: Path, where: str, needed: bool) -> list[Path]:
    """Pictures of an entry: a folder with everything below it, or a text file with a picture a line."""
    # Roboflow writes ../train/images for what lies in train/images.
    inside = entry
    while inside.startswith("../"):
        inside = inside[3:]
    found = next((base / name for name in dict.fromkeys([entry, inside]) if (base / name).exists()), None)
    if found is None:
        if not needed:  # exporters write a test entry whether there is one or not
            return []
        raise DataError(f"{entry} is not there", where=where, hint=f"Looked in {base}")
    if found.is_dir():
        pictures = pictures_in(found, deep=True)
        if not pictures and needed:
            raise DataError(f"{entry} holds no image", where=where)
        return pictures
    return _from_list(found, base)


def _from_list(file: Path, base: Path) -> list[Path]:
    """The pictures that a text file lists, relative to itself or to the data's folder; those not there included."""
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read as a list of images ({error})", where=str(file)) from None
    pictures = []
    for line in filter(None, lines):
        # Darknet and CVAT write data/obj_train_data/x.jpg for what lies in obj_train_data/.
        tails = [line, line.partition("/")[2]] if "/" in line else [line]
        tried = [place / tail for tail in tails if tail for place in (file.parent, base)]
        pictures.append(_tidy(next((path for path in tried if path.is_file()), tried[0])))
    return pictures


def _from_folders(root: Path, classes: Path) -> Layout:
    """Darknet and what labelling tools export like it: names in a file, splits as lists, as folders, or none."""
    contents = {file: tuple(line.strip() for line in _lines(file) if line.strip()) for file in _class_files(root)}
    if len(set(contents.values())) > 1:
        told = " and ".join(relative(file, root) for file in contents)
        raise DataError(f"{told} hold different names of classes", where=str(root))
    names = _names(list(contents.get(classes) or _lines(classes)), classes)
    lists = {split: file for file in sorted(root.glob("*.txt")) if (split := canonical_split(file.stem))}
    if lists:
        return Layout(classes, names, {split: _from_list(file, root) for split, file in lists.items()})
    images = subfolder(root, "images")
    for place in (images, root):
        folders = split_folders(place) if place else {}
        if folders:
            pictures = {split: pictures_in(folder, deep=True) for split, folder in folders.items()}
            return Layout(classes, names, {split: files for split, files in pictures.items() if files})
    return Layout(classes, names, {"train": pictures_in(images or root, deep=True)})


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read as a list of classes ({error})", where=str(file)) from None

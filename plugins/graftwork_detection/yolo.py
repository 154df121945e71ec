"""YOLO: `data.yaml`, or Darknet's folders with `classes.txt`; a text file an image, a line an object."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graftwork.data.folders import is_junk
from graftwork.data.names import class_name
from graftwork.data.paths import Files, Found, part_clashes, parts_of
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
from graftwork_detection.units import Numbers
from graftwork_detection.yololines import CLASS_FILES, Labels, add_objects, owners


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
    labels = Labels(home)
    splits: dict[str, list[Annotated]] = {}
    used: set[Path] = set()
    for split, files in layout.pictures.items():
        for file, count in Counter(files).items():
            if count > 1:
                notes.add("image-listed-twice", f"{split}: {relative(file, home)}", count - 1)
        found, shut = owners(list(dict.fromkeys(files)), labels)
        for file in shut:
            notes.add("several-pictures", relative(file, home))
        images: list[Annotated] = []
        numbers = Numbers()
        for file, label in found.items():
            used |= {label} if label else set()
            image = _one(file, label, layout, home, notes)
            if image is not None:
                images.append(image[0])
                numbers.extend(image[1])
        if (doubt := numbers.doubt()) is not None:
            notes.add(doubt[0], f"{split}: {doubt[1]}")
        splits[split] = images
    for file in labels.loose(used):
        notes.add("not-in-any-split" if labels.has_picture(file) else "annotation-without-image", relative(file, home))
    return Read(splits, layout.names)


def _one(file: Path, label: Path | None, layout: Layout, home: Path, notes: Notes) -> tuple[Annotated, Numbers] | None:
    name = relative(file, home)
    if not file.is_file():
        notes.add("annotation-without-image", f"{relative(label, home) if label else name} ({name} is not there)")
        return None
    if label is None:
        notes.add("image-without-annotation", name)
        return None
    called = relative(label, home)
    image = Annotated(file, name, *upright_size(file))
    try:
        return image, add_objects(image, label, called, len(layout.names), layout.keypoints, notes)
    except (OSError, UnicodeDecodeError) as error:
        reason = "is not text" if isinstance(error, UnicodeDecodeError) else str(error.strerror)
        notes.add("unreadable-annotation", f"{called}: {reason}")
        return None


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
        places = (base / given, Path(given), Files(base).tail(given))
        base = next((place for place in places if place is not None and place.is_dir()), base)
    entries = {}
    for key in ("train", "val", "valid", "validation", "test"):
        split = canonical_split(key)
        if split and split not in entries and content.get(key):
            given = content[key] if isinstance(content[key], list) else [content[key]]
            entries[split] = [(f"{file}: {key}", str(entry)) for entry in given]
    pictures = _listed(entries, base)
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


def _listed(entries: Mapping[str, Sequence[tuple[str, str]]], base: Path) -> dict[str, list[Path]]:
    """Pictures of each split's entries: a folder with everything below it, or a text file with a picture a line.

    Args:
        entries: by split, where each stands (for messages) and what it says.

    Raises:
        DataError: an entry of train or validation is not there, or holds nothing.
    """
    surely = {entry: base / entry for of in entries.values() for _, entry in of if (base / entry).exists()}
    guessed = {entry: near for entry in _all_but(entries, surely) if (near := _nearby(entry, base)) is not None}
    # What is guessed is nobody else's: of /x/train/images and /x/valid/images not both are images/ here.
    places = [place.resolve() for place in (*surely.values(), *guessed.values())]
    for entry in list(guessed):
        if sum(_overlap(guessed[entry].resolve(), other) for other in places) > 1:
            del guessed[entry]
    found = {**surely, **guessed}
    pictures: dict[str, list[Path]] = {}
    lists: dict[str, list[Path]] = {}
    for split, of in entries.items():
        for where, entry in of:
            place = found.get(entry)
            if place is None:
                if split == "test":  # exporters write a test entry whether there is one or not
                    continue
                tails = "and for the ends of that path there" if len(parts_of(entry)) > 1 else ""
                raise DataError(f"{entry} is not there", where=where, hint=f"Looked in {base} {tails}".rstrip())
            if place.is_dir():
                inside = pictures_in(place, deep=True)
                if not inside and split != "test":
                    raise DataError(f"{entry} holds no image", where=where)
                pictures.setdefault(split, []).extend(map(_tidy, inside))
            else:
                lists.setdefault(split, []).append(place)
                pictures.setdefault(split, [])
    for split, files in _from_lists(lists, base).items():
        pictures[split] += files
    return pictures


def _all_but(entries: Mapping[str, Sequence[tuple[str, str]]], known: Mapping[str, Path]) -> list[str]:
    return list(dict.fromkeys(entry for of in entries.values() for _, entry in of if entry not in known))


def _nearby(entry: str, base: Path) -> Path | None:
    """What an entry that is not there leads to: Roboflow writes ../train/images, Colab /content/set/train/images."""
    return Files(base).tail(entry)


def _overlap(one: Path, other: Path) -> bool:
    return one == other or one.is_relative_to(other) or other.is_relative_to(one)


def _from_lists(lists: Mapping[str, Sequence[Path]], base: Path) -> dict[str, list[Path]]:
    """The pictures that text files list, relative to themselves or to the data's folder; those not there included.

    Darknet and CVAT write data/obj_train_data/x.jpg for what lies in obj_train_data/.
    """
    files = Files(base, SUFFIXES)
    found: dict[tuple[str, Path, int], Found] = {}
    for split, parts in lists.items():
        for file in parts:
            try:
                lines = file.read_text(encoding="utf-8-sig").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise DataError(f"cannot be read as a list of images ({error})", where=str(file)) from None
            for place, line in enumerate(lines):
                if line.strip():
                    found[split, file, place] = files.look(line.strip(), [file.parent, base])
    pictures: dict[str, list[Path]] = {split: [] for split in lists}
    for (split, _, _), one in part_clashes(found).items():
        pictures[split].append(_tidy(one.path or base / one.name))
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
        return Layout(classes, names, _from_lists({split: [file] for split, file in lists.items()}, root))
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

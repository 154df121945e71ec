"""YOLO: `data.yaml`, or Darknet's folders with `classes.txt`; a text file an image, a line an object."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from graftwork.data.folders import is_junk
from graftwork.data.names import class_name
from graftwork.data.paths import Files, Found, parts_of
from graftwork.data.splits import canonical_split
from graftwork.errors import DataError, UsageError
from graftwork.files.text import text_of
from graftwork.files.yaml import read_yaml
from graftwork.vision.decode import SUFFIXES
from graftwork_detection.findings import Notes
from graftwork_detection.rows import (
    Annotated,
    Read,
    find_picture,
    pictures_in,
    relative,
    settle,
    split_folders,
    subfolder,
)
from graftwork_detection.sizes import upright_size
from graftwork_detection.units import Unit
from graftwork_detection.yololines import (
    Labels,
    Meaning,
    Told,
    add_objects,
    guess_keypoints,
    owners,
)
from graftwork_detection.yolonames import check_first_class, class_files, classes_of, lines_of, merged


@dataclass(frozen=True)
class Layout:
    """What a YOLO data set consists of.

    Args:
        where: the file that says so, for messages.
        classes: class names by their number.
        pictures: image files by split, as they are listed.
        keypoints: numbers a line has after its box (poses); 0 where nothing says so.
    """

    where: Path
    classes: Mapping[int, str]
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
            is_counted = "nc" in content and {"train", "val"} & keys
            if {"names"} < keys or is_counted or (keys and file.stem.lower() == "data"):
                found.append(file)
    if len(found) > 1:
        listed = ", ".join(file.name for file in found)
        raise DataError(f"has several YOLO descriptions ({listed})", where=str(root), hint="Give one of the files")
    return found[0] if found else next(iter(class_files(root)), None)


def read_yolo(root: Path, description: Path, notes: Notes, boxes: str = "xywh", unit: Unit = "usual") -> Read:
    """Images and objects of a YOLO data set.

    A line is `class x-centre y-centre width height` in shares of the upright image's size, or a class and a polygon, of
    which the surrounding box is taken. Sizes come from the headers of the image files; nothing is decoded.

    Args:
        boxes, unit: how the four numbers are meant, as `yololines.Meaning` has it.

    Raises:
        DataError: the description is damaged or incomplete, or a line has a column too many.
    """
    home = root if root.is_dir() else root.parent
    in_yaml = description.suffix.lower() in (".yaml", ".yml")
    layout = _from_yaml(description, notes) if in_yaml else _from_folders(home, description, notes)
    names, index = merged(layout.classes, notes)
    labels = Labels(home)
    found: dict[str, dict[Path, Path | None]] = {}
    for split, files in layout.pictures.items():
        for file, count in Counter(files).items():
            if count > 1:
                notes.add("image-listed-twice", f"{split}: {relative(file, home)}", count - 1)
        found[split], shut = owners(list(dict.fromkeys(files)), labels)
        for file in shut:
            notes.add("several-pictures", relative(file, home))
    used = {label for of in found.values() for label in of.values() if label}
    keypoints = layout.keypoints or guess_keypoints(used)
    if keypoints:
        notes.add("keypoints-not-used", f"{keypoints} numbers after each box")
    meaning = Meaning(index, {name: place for place, name in enumerate(names)}, keypoints, boxes, unit)
    told = {split: Told() for split in found}
    splits: dict[str, list[Annotated]] = {}
    for split, of in found.items():
        read = (_one(file, label, meaning, told[split], home, notes) for file, label in of.items())
        splits[split] = [image for image in read if image is not None]
        if (doubt := told[split].numbers.doubt(boxes, unit)) is not None:
            notes.add(doubt[0], f"{split}: {doubt[1]}")
    check_first_class([one.classes for one in told.values()], layout.classes, notes)
    for file in labels.loose(used):
        notes.add("not-in-any-split" if labels.has_picture(file) else "annotation-without-image", relative(file, home))
    numbers = {place: number for number, place in reversed(index.items())}
    return Read(splits, names, tuple(numbers[place] for place in range(len(names))))


def _one(file: Path, label: Path | None, meaning: Meaning, told: Told, home: Path, notes: Notes) -> Annotated | None:
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
        add_objects(image, label, called, meaning, told, notes)
    except (OSError, UnicodeDecodeError) as error:
        reason = "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error.strerror)
        notes.add("unreadable-annotation", f"{called}: {reason}")
        return None
    return image


def _from_yaml(file: Path, notes: Notes) -> Layout:
    try:
        content, _ = read_yaml(file)
    except UsageError as error:
        raise DataError(error.what, where=error.where, hint=error.hint) from None
    classes = classes_of(content, file, notes)
    if isinstance(content.get("nc"), int) and content["nc"] != len(classes):
        notes.add("class-count-disagrees", f"{file.name}: nc is {content['nc']}, but there are {len(classes)} names")
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
    pictures = _listed(entries, base, notes)
    if not pictures:
        raise DataError("names neither train, val nor test", where=str(file), hint="Add train: images/train")
    shape = content.get("kpt_shape")
    numbers = shape if isinstance(shape, list) and all(isinstance(side, int) for side in shape) else [0]
    return Layout(file, classes, pictures, math.prod(numbers))


def _tidy(path: Path) -> Path:
    """The path without `..`; a link stays a link, since its labels lie beside it and not beside what it points to."""
    return Path(os.path.normpath(path))


def _listed(entries: Mapping[str, Sequence[tuple[str, str]]], base: Path, notes: Notes) -> dict[str, list[Path]]:
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
                hint = f"Looked in {base} {tails}".rstrip() + ". Correct it, or take that entry out"
                raise DataError(f"{entry} is not there", where=where, hint=hint)
            if place.is_dir():
                inside = pictures_in(place, deep=True)
                if not inside and split != "test":
                    raise DataError(f"{entry} holds no image", where=where, hint="Correct it, or take that entry out")
                pictures.setdefault(split, []).extend(map(_tidy, inside))
            else:
                lists.setdefault(split, []).append(place)
                pictures.setdefault(split, [])
    for split, files in _from_lists(lists, base, notes).items():
        pictures[split] += files
    return pictures


def _all_but(entries: Mapping[str, Sequence[tuple[str, str]]], known: Mapping[str, Path]) -> list[str]:
    return list(dict.fromkeys(entry for of in entries.values() for _, entry in of if entry not in known))


def _nearby(entry: str, base: Path) -> Path | None:
    """What an entry that is not there leads to: Roboflow writes ../train/images, Colab /content/set/train/images."""
    return Files(base).tail(entry)


def _overlap(one: Path, other: Path) -> bool:
    return one == other or one.is_relative_to(other) or other.is_relative_to(one)


def _from_lists(lists: Mapping[str, Sequence[Path]], base: Path, notes: Notes) -> dict[str, list[Path]]:
    """The pictures that text files list, relative to themselves or to the data's folder; those not there included.

    Darknet and CVAT write data/obj_train_data/x.jpg for what lies in obj_train_data/.
    """
    files = Files(base, SUFFIXES)
    found: dict[tuple[str, Path, int], Found] = {}
    for split, parts in lists.items():
        for file in parts:
            for place, line in enumerate(text_of(file, "as a list of images").splitlines()):
                if line.strip():
                    found[split, file, place] = find_picture(files, line.strip(), [file.parent, base])
    pictures: dict[str, list[Path]] = {split: [] for split in lists}
    for (split, _, _), one in settle(found, base, notes).items():
        pictures[split].append(_tidy(one.path or base / one.name))
    return pictures


def _from_folders(root: Path, classes: Path, notes: Notes) -> Layout:
    """Darknet and what labelling tools export like it: names in a file, splits as lists, as folders, or none."""
    contents = {file: tuple(line.strip() for line in lines_of(file) if line.strip()) for file in class_files(root)}
    if len(set(contents.values())) > 1:
        told = " and ".join(relative(file, root) for file in contents)
        raise DataError(f"{told} hold different names of classes", where=str(root))
    names = dict(enumerate(map(class_name, contents.get(classes) or lines_of(classes))))
    if not names:
        raise DataError("holds no names of classes", where=str(classes), hint="Put one name a line into it")
    lists = {split: file for file in sorted(root.glob("*.txt")) if (split := canonical_split(file.stem))}
    if lists:
        return Layout(classes, names, _from_lists({split: [file] for split, file in lists.items()}, root, notes))
    images = subfolder(root, "images")
    for place in (images, root):
        folders = split_folders(place) if place else {}
        if folders:
            pictures = {split: pictures_in(folder, deep=True) for split, folder in folders.items()}
            return Layout(classes, names, {split: files for split, files in pictures.items() if files})
    return Layout(classes, names, {"train": pictures_in(images or root, deep=True)})

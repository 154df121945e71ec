"""Pascal VOC: an XML file an image, with or without lists of splits, or a folder a split."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from graftwork.data.folders import is_junk
from graftwork.data.names import class_name
from graftwork.data.paths import Files
from graftwork.data.splits import canonical_split
from graftwork.errors import DataError
from graftwork.files.text import text_of
from graftwork.vision.decode import SUFFIXES
from graftwork_detection.findings import Notes
from graftwork_detection.rows import (
    Annotated,
    Box,
    Read,
    relative,
    split_folders,
    spoken,
    subfolder,
)
from graftwork_detection.vocpairs import Pairs
from graftwork_detection.vocxml import parse_xml

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Folder:
    """Annotations and the images that they are of.

    Args:
        home: where lists of splits would lie.
        split: the split that all of it is; empty where lists say so, or nothing does.
        annotations: the folder of XML files.
        deep: whether folders in it count.
        images: folders of pictures, most likely first.
    """

    home: Path
    split: str
    annotations: Path
    deep: bool
    images: tuple[Path, ...]


def find_voc(root: Path) -> list[Folder]:
    """The folders of annotations: one, whose splits may be listed in ImageSets/Main, or one a split."""
    if root.is_file():
        return []
    whole = _folder(root, "")
    if whole is not None:
        return [whole]
    found = (_folder(folder, split) for split, folder in split_folders(root).items())
    return [folder for folder in found if folder is not None]


def find_voc_below(root: Path) -> list[Folder]:
    """Those of the folders in a folder, such as VOC2007 and VOC2012 of one VOCdevkit; they are read together."""
    inner = [entry for entry in sorted(root.iterdir()) if entry.is_dir() and not is_junk(entry.name)]
    return [found for folder in inner for found in find_voc(folder)]


def _folder(root: Path, split: str) -> Folder | None:
    inner = subfolder(root, "annotations")
    images = subfolder(root, "jpegimages", "images")
    places = tuple(place for place in (images, root) if place is not None)
    if inner is not None and next(_xml_in(inner, deep=True), None):
        return Folder(root, split, inner, True, (*places, inner))
    if next(_xml_in(root, deep=False), None):
        return Folder(root, split, root, False, (root, *places))
    return None


def _xml_in(folder: Path, deep: bool) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if deep and not is_junk(name))
        yield from (Path(here, name) for name in sorted(files) if name.lower().endswith(".xml") and not is_junk(name))


def read_voc(root: Path, folders: Sequence[Folder], notes: Notes, pixels: bool = True) -> Read:
    """Images and objects of VOC annotations; classes in the order of their names.

    VOC counts pixels from 1 and its `xmax` and `ymax` are the last pixels inside. A box becomes x = xmin - 1, y = ymin - 1,
    width = xmax - xmin + 1, height = ymax - ymin + 1, so that (1, 1, W, H) covers the whole image, as in detectron2
    (torchvision's reference scripts subtract nothing). Objects marked `difficult` become crowd: VOC does not score them.

    Args:
        pixels: whether boxes are in pixels; else width = xmax - xmin, and so on, in whatever unit they are.

    Raises:
        DataError: a list of a split is damaged.
    """
    reader = _Reader(root, folders, notes, pixels)
    splits: dict[str, list[Annotated]] = defaultdict(list)
    for folder in folders:
        lists = {} if folder.split else _lists(folder.home)
        for split, stems in lists.items():
            splits[split] += reader.read(split, folder, stems)
        if not lists:
            split = folder.split or "train"
            splits[split] += reader.read(split, folder, None)
            continue
        listed = {stem for stems in lists.values() for stem in stems}
        for file in _xml_in(folder.annotations, folder.deep):
            if file.stem not in listed and _key_of(file, folder.annotations) not in listed:
                notes.add("not-in-any-split", relative(file, root))
    names = tuple(sorted(reader.names))
    index = [names.index(name) for name in reader.names]
    for images in splits.values():
        for image in images:
            image.classes = [index[number] for number in image.classes]
    return Read(splits, names)


def _key_of(file: Path, folder: Path) -> str:
    """A file's path in its folder, without suffix."""
    return file.relative_to(folder).with_suffix("").as_posix()


def _lists(root: Path) -> dict[str, list[str]]:
    """Image names by split from ImageSets/Main; `trainval` only where there is no `train`."""
    sets = subfolder(root, "imagesets")
    main = (subfolder(sets, "main") or sets) if sets else None
    if main is None:
        return {}
    found: dict[str, Path] = {}
    for file in sorted(main.glob("*.txt")):
        split = canonical_split(file.stem)
        if split in found:
            raise DataError(f"{found[split].name} and {file.name} both mean {split}", where=str(main))
        if split:
            found[split] = file
    both = main / "trainval.txt"
    if "train" not in found and both.is_file():
        found["train"] = both
        if "validation" in found:
            told = "has trainval.txt and val.txt but no train.txt, so validation images would be trained on"
            raise DataError(told, where=str(main), hint="Add train.txt, or take val.txt away")
    return {split: _listed(file) for split, file in found.items()} or _lists_of_classes(main)


def _listed(file: Path) -> list[str]:
    # "NAME" or "NAME 1"; names may hold spaces, so only the flag is cut
    lines = [line.strip() for line in text_of(file).splitlines() if line.strip()]
    return [_stem(line) for line in lines]


def _lists_of_classes(main: Path) -> dict[str, list[str]]:
    """Image names by split from the lists that VOC has for each class (`cat_train.txt`), each of which names all images."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for file in sorted(main.glob("*_*.txt")):
        split = canonical_split(file.stem.rpartition("_")[2])
        if split is not None:
            found[split] |= dict.fromkeys(_listed(file))
    return {split: list(stems) for split, stems in found.items()}


def _stem(line: str) -> str:
    head, _, flag = line.rpartition(" ")
    name = head.strip() if flag in ("1", "-1", "0") and head else line
    return Path(name).stem if Path(name).suffix.lower() in (".jpg", ".jpeg", ".png", ".xml") else name


class _Reader:
    def __init__(self, root: Path, folders: Sequence[Folder], notes: Notes, pixels: bool) -> None:
        self.names: dict[str, int] = {}  # in order of appearance
        self._root = root
        self._notes = notes
        self._pixels = pixels
        self._homes = [folder.home for folder in folders if folder.home != root]
        self._files = Files(root, SUFFIXES, outside=False)
        self._pairs: dict[Path, Pairs] = {}
        self._corners: list[list[float]] = []

    def read(self, split: str, folder: Folder, stems: Sequence[str] | None) -> list[Annotated]:
        """The listed images of a folder; all when `stems` is None."""
        if folder.annotations not in self._pairs:
            self._pairs[folder.annotations] = self._pair(folder)
        pairs = self._pairs[folder.annotations]
        wanted = list(dict.fromkeys([*pairs.annotations, *pairs.lonely] if stems is None else stems))
        if stems is not None:
            for stem, count in Counter(stems).items():
                if count > 1:
                    self._notes.add("image-listed-twice", f"{split}: {stem}")
        self._corners = []
        images: dict[Path, Annotated] = {}
        for stem in wanted:
            image = self._one(pairs.key(stem), pairs, split, images)
            if image is not None:
                images[image.file] = image
        if self._pixels and self._corners and all(0 <= corner <= 1 for corners in self._corners for corner in corners):
            self._notes.add("boxes-in-shares", split)
        return list(images.values())

    def _pair(self, folder: Folder) -> Pairs:
        apart = [home for home in self._homes if home != folder.home]
        annotations = {_key_of(file, folder.annotations): file for file in _xml_in(folder.annotations, folder.deep)}
        pairs = Pairs(annotations, folder.images, self._files, apart, _file_name)
        for picture in pairs.shut:
            self._notes.add("several-pictures", relative(picture, self._root))
        return pairs

    def _one(self, key: str, pairs: Pairs, split: str, images: Mapping[Path, Annotated]) -> Annotated | None:
        if key not in pairs.annotations:
            picture = pairs.lonely.get(key)
            told = relative(picture, self._root) if picture else f"{key} (listed in {split}; neither image nor XML)"
            self._notes.add("image-without-annotation", told)
            return None
        called = relative(pairs.annotations[key], self._root)
        try:
            tree = parse_xml(pairs.annotations[key])
        except DataError as error:
            helps = f". {error.hint}" if error.hint else ""
            self._notes.add("unreadable-annotation", f"{called}: {error.what}{helps}")
            return None
        picture = pairs.pictures.get(key)
        if picture is None:
            self._notes.add("annotation-without-image", f"{called} ({pairs.why_not(key)})")
            return None
        sides = [spoken(tree.findtext(f"size/{side}") or "") or 0 for side in ("width", "height")]
        width, height = (int(side) if 0 < side < 1e9 else 0 for side in sides)
        image = images.get(picture)
        if image is None:
            image = Annotated(picture, relative(picture, self._root), width, height)
        else:
            self._notes.add("image-listed-twice", f"{split}: {relative(picture, self._root)}")
        for position, element in enumerate(tree.findall("object"), start=1):
            self._object(image, element, f"{called}: object {position}")
        return image

    def _object(self, image: Annotated, element: Element, told: str) -> None:
        name = class_name(element.findtext("name") or "")
        if not name:
            self._notes.add("object-without-class", told)
            return
        corners = [
            spoken((element.findtext(f"bndbox/{corner}") or "").strip().replace(",", ".")) for corner in _CORNERS
        ]
        if any(corner is None for corner in corners):
            self._notes.add("malformed-box", f"{told} ({name})")
            return
        left, top, right, bottom = numbers = [corner for corner in corners if corner is not None]
        self._corners.append(numbers)
        if self._pixels and (left == 0 or top == 0):
            # Written by a tool that counts from 0. A pixel to the left of the image is no fault to tell of each time.
            self._notes.add("zero-coordinate", f"{told} ({name})")
            left, top = left or 1.0, top or 1.0
        difficult = (element.findtext("difficult") or "").strip() == "1"
        if difficult:
            self._notes.add("difficult-objects", f"{told} ({name})")
        box = from_corners(left, top, right, bottom) if self._pixels else (left, top, right - left, bottom - top)
        image.add(box, self.names.setdefault(name, len(self.names)), difficult)


def _file_name(annotation: Path) -> str:
    """What an annotation says its picture is called; empty where it says nothing, or cannot be read."""
    try:
        return (parse_xml(annotation).findtext("filename") or "").strip()
    except DataError:
        return ""


def from_corners(left: float, top: float, right: float, bottom: float) -> Box:
    """VOC's first and last pixels, from 1, as x, y, width, height from 0."""
    (x, width), (y, height) = _span(left, right), _span(top, bottom)
    return x, y, width, height


def _span(first: float, last: float) -> tuple[float, float]:
    if first == last:
        # One pixel by the letter; annotation tools write it for a click without a drag, so it is no extent.
        return first - 1, 0.0
    if first < last:
        return first - 1, last - first + 1
    return first, last - 1 - first  # swapped: from behind the last pixel back to the first, so a negative extent

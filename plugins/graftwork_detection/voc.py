"""Pascal VOC: an XML file an image, with or without lists of splits, or a folder a split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.parsers import expat

from graftwork.data.folders import is_junk
from graftwork.data.names import class_name
from graftwork.data.splits import canonical_split
from graftwork.errors import DataError
from graftwork_detection.findings import Notes
from graftwork_detection.rows import (
    Annotated,
    Box,
    Read,
    pictures_in,
    relative,
    split_folders,
    spoken,
    subfolder,
)

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_LIMIT = 16 << 20  # bytes; the XML of one image
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Folder:
    """Annotations and the images that they are of."""

    annotations: Path
    images: tuple[Path, ...]


def find_voc(root: Path) -> dict[str, Folder]:
    """The folders of annotations, by split; `` is the one whose splits are listed in ImageSets/Main, or not at all."""
    if root.is_file():
        return {}
    whole = _folder(root)
    if whole is not None:
        return {"": whole}
    return {split: found for split, folder in split_folders(root).items() if (found := _folder(folder)) is not None}


def _folder(root: Path) -> Folder | None:
    inner = subfolder(root, "annotations")
    images = subfolder(root, "jpegimages", "images")
    places = tuple(place for place in (images, root) if place is not None)
    if inner is not None and _has_xml(inner):
        return Folder(inner, (*places, inner))
    if _has_xml(root):
        return Folder(root, (root, *places))
    return None


def _has_xml(folder: Path) -> bool:
    return any(_is_xml(entry) for entry in folder.iterdir())


def _is_xml(file: Path) -> bool:
    return file.suffix.lower() == ".xml" and not is_junk(file.name)


def read_voc(root: Path, folders: Mapping[str, Folder], notes: Notes) -> Read:
    """Images and objects of VOC annotations; classes in the order of their names.

    VOC counts pixels from 1 and its `xmax` and `ymax` are the last pixels inside. A box becomes x = xmin - 1, y = ymin - 1,
    width = xmax - xmin + 1, height = ymax - ymin + 1, so that (1, 1, W, H) covers the whole image, as in detectron2
    (torchvision's reference scripts subtract nothing). Objects marked `difficult` become crowd: VOC does not score them.

    Raises:
        DataError: a list of a split is damaged.
    """
    reader = _Reader(root, notes)
    splits: dict[str, list[Annotated]] = {}
    for split, folder in folders.items():
        if split:
            splits[split] = reader.read(split, folder, None)
            continue
        lists = _lists(root)
        if not lists:
            splits["train"] = reader.read("train", folder, None)
            continue
        for name, stems in lists.items():
            splits[name] = reader.read(name, folder, stems)
        listed = {stem for stems in lists.values() for stem in stems}
        for file in sorted(filter(_is_xml, folder.annotations.iterdir())):
            if file.stem not in listed:
                notes.add("not-in-any-split", relative(file, root))
    names = tuple(sorted(reader.names))
    index = [names.index(name) for name in reader.names]
    for images in splits.values():
        for image in images:
            image.classes = [index[number] for number in image.classes]
    return Read(splits, names)


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
    lists = {}
    for split, file in found.items():
        try:
            # "NAME" or "NAME 1"; names may hold spaces, so only the flag is cut
            lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot be read ({error})", where=str(file)) from None
        lists[split] = [_stem(line) for line in lines]
    return lists


def _stem(line: str) -> str:
    head, _, flag = line.rpartition(" ")
    name = head.strip() if flag in ("1", "-1", "0") and head else line
    return Path(name).stem if Path(name).suffix.lower() in (".jpg", ".jpeg", ".png", ".xml") else name


class _Reader:
    def __init__(self, root: Path, notes: Notes) -> None:
        self.names: dict[str, int] = {}  # in order of appearance
        self._root = root
        self._notes = notes
        self._pictures: dict[Path, dict[str, Path]] = {}

    def read(self, split: str, folder: Folder, stems: Sequence[str] | None) -> list[Annotated]:
        """The listed images of a folder; all when `stems` is None."""
        pictures = self._by_stem(folder.images)
        files = {file.stem: file for file in sorted(filter(_is_xml, folder.annotations.iterdir()))}
        wanted = list(dict.fromkeys([*files, *pictures] if stems is None else stems))
        for stem in {stem for stem in wanted if stems is not None and stems.count(stem) > 1} if stems else ():
            self._notes.add("image-listed-twice", f"{split}: {stem}")
        images = []
        for stem in wanted:
            image = self._one(stem, files.get(stem), pictures, split)
            if image is not None:
                images.append(image)
        return images

    def _by_stem(self, folders: Iterable[Path]) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for folder in folders:
            if folder not in self._pictures:
                self._pictures[folder] = {file.stem: file for file in reversed(pictures_in(folder))}
            found = {**self._pictures[folder], **found}
        return found

    def _one(self, stem: str, file: Path | None, pictures: Mapping[str, Path], split: str) -> Annotated | None:
        picture = pictures.get(stem)
        if file is None:
            told = relative(picture, self._root) if picture else f"{stem} (listed in {split}; neither image nor XML)"
            self._notes.add("image-without-annotation", told)
            return None
        called = relative(file, self._root)
        try:
            tree = parse_xml(file)
        except DataError as error:
            self._notes.add("unreadable-annotation", f"{called}: {error.what}")
            return None
        picture = picture or pictures.get(Path((tree.findtext("filename") or "").strip()).stem)
        if picture is None:
            self._notes.add("annotation-without-image", called)
            return None
        sides = [spoken(tree.findtext(f"size/{side}") or "") or 0 for side in ("width", "height")]
        width, height = (int(side) if 0 < side < 1e9 else 0 for side in sides)
        image = Annotated(picture, relative(picture, self._root), width, height)
        for position, element in enumerate(tree.findall("object"), start=1):
            self._object(image, element, f"{called}: object {position}")
        return image

    def _object(self, image: Annotated, element: Element, told: str) -> None:
        name = class_name(element.findtext("name") or "")
        if not name:
            self._notes.add("object-without-class", told)
            return
        corners = [spoken((element.findtext(f"bndbox/{corner}") or "").strip()) for corner in _CORNERS]
        if any(corner is None for corner in corners):
            self._notes.add("malformed-box", f"{told} ({name})")
            return
        left, top, right, bottom = (corner for corner in corners if corner is not None)
        if left == 0 or top == 0:
            # Written by a tool that counts from 0. A pixel to the left of the image is no fault to tell of each time.
            self._notes.add("zero-coordinate", f"{told} ({name})")
            left, top = left or 1.0, top or 1.0
        difficult = (element.findtext("difficult") or "").strip() == "1"
        if difficult:
            self._notes.add("difficult-objects", f"{told} ({name})")
        image.add(from_corners(left, top, right, bottom), self.names.setdefault(name, len(self.names)), difficult)


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


def parse_xml(file: Path) -> Element:
    """The root of an XML file. A document type or entities are refused: no annotation needs them, and bombs do.

    Raises:
        DataError: the file is damaged, too large, or declares a document type; `what` says so without the file's name.
    """
    from xml.etree.ElementTree import TreeBuilder

    builder = TreeBuilder()
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data

    def refuse(*_: object) -> None:
        raise DataError("declares a document type, which is refused", where=str(file))

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        if file.stat().st_size > _LIMIT:
            raise DataError(f"is larger than {_LIMIT >> 20} MB", where=str(file))
        parser.Parse(file.read_bytes(), True)
    except expat.ExpatError as error:
        raise DataError(f"is damaged XML ({error})", where=str(file)) from None
    except (OSError, LookupError, ValueError) as error:  # an unknown encoding is a LookupError or a ValueError
        raise DataError(f"cannot be read ({error})", where=str(file)) from None
    root = builder.close()
    if root.find("object") is None and root.tag != "annotation":
        raise DataError(f"is XML, but no annotation (its root is <{root.tag[:40]}>)", where=str(file))
    return root

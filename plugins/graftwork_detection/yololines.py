"""YOLO's label files: which is a picture's, and the objects of its lines."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from graftwork.data.folders import is_junk
from graftwork.data.names import class_name
from graftwork.data.paths import Files
from graftwork.data.splits import canonical_split
from graftwork.errors import DataError
from graftwork.files.text import read_text
from graftwork.vision.decode import SUFFIXES
from graftwork_detection.findings import Notes
from graftwork_detection.rows import Annotated, spoken
from graftwork_detection.units import Numbers, Unit, sides_in

CLASS_FILES = ("classes.txt", "obj.names", "classes.names", "_darknet.labels")
_SLACK = 0.02  # of a side; so far a point may lie outside its box
_PICTURES = ("images", "jpegimages", "imgs", "img")  # folders of pictures whose labels lie in `labels` beside


class Labels:
    """The label files of a data set, and the picture that each is of.

    A picture's labels are called like it and lie in `labels/` where it lies in `images/` or the like (the last such folder
    inside the data), or beside it; letters may be written another way (`Labels/`, percent-encoded, composed or not).
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._labels = Files(home, frozenset({".txt"}))
        self._pictures = Files(home, SUFFIXES)
        self._folders: set[Path] = set()

    def of(self, picture: Path) -> Path | None:
        """The label file of a picture."""
        places = self._places(picture, _PICTURES, ("labels",))
        for called in (
            f"{name}.txt" for suffix in ("", picture.suffix) for place in places for name in [f"{place}{suffix}"]
        ):
            found = self._labels.at(called)
            if found is not None:
                self._folders.add(found.parent)
                return found
        self._folders |= {place.parent for place in places}
        return None

    def has_picture(self, label: Path) -> bool:
        """Whether there is a picture that a label file would be of."""
        return any(self._pictures.at(str(place)) is not None for place in self._places(label, ("labels",), _PICTURES))

    def loose(self, used: set[Path]) -> list[Path]:
        """Label files in the folders where some were looked for, which belong to no picture that is used."""
        return [
            file
            for folder in sorted(filter(Path.is_dir, self._folders))
            for file in sorted(folder.glob("*.txt"))
            if file not in used and _is_label(file)
        ]

    def _places(self, file: Path, here: Sequence[str], there: Sequence[str]) -> list[Path]:
        """What a file's other half may be called, without suffix."""
        name = file.with_suffix("")
        parts = list(name.parts)
        start = len(self._home.parts) if name.is_relative_to(self._home) else 0
        places = [at for at in range(start, len(parts) - 1) if parts[at].lower() in here]
        others = there if places else ()
        return [*(Path(*parts[: places[-1]], folder, *parts[places[-1] + 1 :]) for folder in others), name]


def owners(pictures: Sequence[Path], labels: Labels) -> tuple[dict[Path, Path | None], list[Path]]:
    """The label file of each picture, and pictures that would share one with another.

    Of pictures that are called alike but for their suffix one is kept: that with the suffix of most others.
    """
    found = {picture: labels.of(picture) for picture in pictures}
    sharing: dict[Path, list[Path]] = defaultdict(list)
    for picture, label in found.items():
        if label is not None:
            sharing[label].append(picture)
    usual = Counter(group[0].suffix.lower() for group in sharing.values() if len(group) == 1)
    shut: list[Path] = []
    for label, group in sharing.items():
        if len(group) > 1:
            group.sort(key=lambda file: (file.stem != label.stem, -usual[file.suffix.lower()], file))
            shut += group[1:]
    for picture in shut:
        del found[picture]
    return found, shut


def _is_label(file: Path) -> bool:
    name = file.name.lower()
    return name not in CLASS_FILES and not canonical_split(file.stem) and not is_junk(name) and "readme" not in name


@dataclass(frozen=True)
class Meaning:
    """How the lines of a data set's label files are to be read.

    Args:
        index: class index by the number that stands for it.
        names: class index by name, for lines that have it in place of the number.
        keypoints: numbers a line has after its box (poses); 0 for none.
        boxes: `xywh` (centre, width, height), `corners` (x1, y1, x2, y2) or `top-left` (left, top, width, height).
        unit: of these and of polygons; `usual` is shares of the picture's sides.
    """

    index: Mapping[int, int]
    names: Mapping[str, int]
    keypoints: int = 0
    boxes: str = "xywh"
    unit: Unit = "usual"


class Told:
    """What label files say, over all of a split.

    Attributes:
        numbers: of its boxes, as they stand there.
        classes: how many objects each class number has, numbers that are not declared among them.
    """

    def __init__(self) -> None:
        self.numbers = Numbers()
        self.classes: Counter[int] = Counter()


def add_objects(image: Annotated, label: Path, called: str, meaning: Meaning, told: Told, notes: Notes) -> None:
    """Adds the objects of a label file to its image, and what it says to that of the split.

    Args:
        called: the label file in messages.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is no text.
        DataError: a line has a column too many.
    """
    for number, line in enumerate(read_text(label).splitlines(), start=1):
        if line.strip():
            box = _object(image, line, meaning, told, f"{called}:{number}", notes)
            if box is not None:
                told.numbers.add(box, image.width, image.height)


def split_line(line: str, names: Container[str] = ()) -> tuple[list[str], str | None]:
    """The class of a line and its numbers as words, and the finding about how it is written; None where it is as usual.

    Commas and semicolons may part the words, commas may be those of decimals, and a class may be called by its name.

    Example:
        >>> split_line("0,0.5,0.5,0.1,0.2")
        (['0', '0.5', '0.5', '0.1', '0.2'], 'commas-in-lines')
        >>> split_line("traffic light 0,5 0,5 0,1 0,2", ["traffic light"])
        (['traffic light', '0.5', '0.5', '0.1', '0.2'], 'commas-in-lines')
    """
    words, code = line.split(), None
    if "," in line or ";" in line:
        decimal = line.replace(",", ".").replace(";", " ").split()
        parted = re.split(r"[\s,;]+", line.strip(" \t,;\r\n"))
        for way in (decimal, parted):
            if len(way) >= 5 and all(spoken(word) is not None for word in way[-4:]):
                words, code = way, "commas-in-lines"
                break
    if words and spoken(words[0]) is None:
        for count in range(1, len(words) - 3):
            name = class_name(" ".join(words[:count]))
            if name in names and all(spoken(word) is not None for word in words[count:]):
                return [name, *words[count:]], code or "names-in-lines"
    return words, code


def _object(
    image: Annotated, line: str, meaning: Meaning, split: Told, told: str, notes: Notes
) -> tuple[float, ...] | None:
    """Adds the object of a line; gives the box's four numbers as they stand there, None where it is none."""
    words, code = split_line(line, meaning.names)
    named = meaning.names.get(words[0]) if spoken(words[0]) is None else None
    numbers = [spoken(word) for word in words[1:]]
    first = spoken(words[0]) if named is None else 0.0
    keypoints = meaning.keypoints
    if len(words) == 6 and None not in (first, *numbers):
        message = (
            "has six columns: a class, a box and what looks like a confidence, so these are predictions, not labels"
        )
        raise DataError(message, where=told, hint="Keep the class and four numbers a line")
    is_pose = keypoints and len(words) == 5 + keypoints
    is_polygon = not is_pose and len(words) >= 7 and len(words) % 2 == 1
    if None in numbers or not (len(words) == 5 or is_pose or is_polygon):
        notes.add("malformed-line", f"{told} ({' '.join(words)[:60]})")
        return None
    if first is None:
        notes.add("unknown-class", f"{told} (class {words[0]})")
        return None
    whole = int(first) if math.isfinite(first) and first == int(first) else -1
    if named is None:
        split.classes[whole] += 1
        named = meaning.index.get(whole)
    if named is None:
        notes.add("unknown-class", f"{told} (class {words[0]} of {len(meaning.index)})")
        return None
    if code is not None:
        notes.add(code, told)
    shares = [number for number in numbers if number is not None]
    if is_polygon:
        notes.add("polygon-as-box", told)
        xs, ys = shares[0::2], shares[1::2]
        left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
        shares = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
        box = (left, top, right - left, bottom - top)
    else:
        x, y, width, height = shares[:4]
        if meaning.boxes == "corners":
            box = (x, y, width - x, height - y)
        elif meaning.boxes == "top-left":
            box = (x, y, width, height)
        else:
            box = (x - width / 2, y - height / 2, width, height)
    scale = sides_in(meaning.unit, image.width, image.height) * 2
    image.add(tuple(value * side for value, side in zip(box, scale, strict=True)), named)  # type: ignore[arg-type]
    return tuple(shares[:4])


_ALIKE = 5  # lines, fewer do not show how they are made
_ENOUGH = 200  # lines that are looked at


def guess_keypoints(labels: Iterable[Path]) -> int:
    """How many numbers follow the box in every line, where that is what they are: points that lie in their boxes.

    Of polygons, which have other lengths and whose first corners are no box around the others, that is never so for all lines.

    Returns:
        0 where lines are something else, or too few to tell.
    """
    lines: list[list[float]] = []
    for label in sorted(labels):
        try:
            content = read_text(label).splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        for line in filter(str.strip, content):
            numbers = [spoken(word) for word in split_line(line)[0]]
            known = [number for number in numbers if number is not None]
            if len(known) < len(numbers) or len(known) < 7 or len(known) != len(lines[0] if lines else known):
                return 0
            lines.append(known)
        if len(lines) >= _ENOUGH:
            break
    more = len(lines[0]) - 5 if len(lines) >= _ALIKE else 0
    for sides in (3, 2):
        if more and not more % sides and all(_holds_points(line, sides) for line in lines):
            return more
    return 0


def _holds_points(line: Sequence[float], sides: int) -> bool:
    """Whether the points after a box lie in it; those at 0, 0 are not visible."""
    x, y, width, height = line[1:5]
    points = [line[at : at + sides] for at in range(5, len(line), sides)]
    if sides == 3 and any(point[2] not in (0, 1, 2) for point in points):
        return False
    seen = [point for point in points if point[0] or point[1]]
    reach = (width / 2 + _SLACK, height / 2 + _SLACK)
    return bool(seen) and all(abs(point[0] - x) <= reach[0] and abs(point[1] - y) <= reach[1] for point in seen)

"""YOLO's label files: which is a picture's, and the objects of its lines."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from graftwork.data.folders import is_junk
from graftwork.data.paths import Files
from graftwork.data.splits import canonical_split
from graftwork.errors import DataError
from graftwork.vision.decode import SUFFIXES
from graftwork_detection.findings import Notes
from graftwork_detection.rows import Annotated, spoken
from graftwork_detection.units import Numbers

CLASS_FILES = ("classes.txt", "obj.names", "classes.names")


class Labels:
    """The label files of a data set, and the picture that each is of.

    A picture's labels are called like it and lie in `labels/` where it lies in `images/` (the last one, inside the data), or
    beside it; letters may be written another way (`Labels/`, percent-encoded, composed or not).
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._labels = Files(home, frozenset({".txt"}))
        self._pictures = Files(home, SUFFIXES)
        self._folders: set[Path] = set()

    def of(self, picture: Path) -> Path | None:
        """The label file of a picture."""
        places = self._places(picture, "images", "labels")
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
        return any(self._pictures.at(str(place)) is not None for place in self._places(label, "labels", "images"))

    def loose(self, used: set[Path]) -> list[Path]:
        """Label files in the folders where some were looked for, which belong to no picture that is used."""
        return [
            file
            for folder in sorted(filter(Path.is_dir, self._folders))
            for file in sorted(folder.glob("*.txt"))
            if file not in used and _is_label(file)
        ]

    def _places(self, file: Path, here: str, there: str) -> list[Path]:
        """What a file's other half may be called, without suffix."""
        name = file.with_suffix("")
        parts = list(name.parts)
        start = len(self._home.parts) if name.is_relative_to(self._home) else 0
        places = [at for at in range(start, len(parts) - 1) if parts[at].lower() == here]
        return [Path(*parts[: places[-1]], there, *parts[places[-1] + 1 :]), name] if places else [name]


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


def add_objects(image: Annotated, label: Path, called: str, classes: int, keypoints: int, notes: Notes) -> Numbers:
    """Adds the objects of a label file to its image, and gives their numbers as they stand there.

    Args:
        called: the label file in messages.
        classes: how many there are.
        keypoints: numbers a line has after its box.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is no text.
        DataError: a line has a column too many.
    """
    numbers = Numbers()
    for number, line in enumerate(label.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if line.strip():
            box = _object(image, line.split(), (classes, keypoints), f"{called}:{number}", notes)
            if box is not None:
                numbers.add(box, image.width, image.height)
    return numbers


def _object(
    image: Annotated, words: Sequence[str], layout: tuple[int, int], told: str, notes: Notes
) -> tuple[float, ...] | None:
    """Adds the object of a line; gives the box's four numbers as they stand there, None where it is none."""
    classes, keypoints = layout
    numbers = [spoken(word) for word in words]
    if len(words) == 6 and None not in numbers:
        message = (
            "has six columns: a class, a box and what looks like a confidence, so these are predictions, not labels"
        )
        raise DataError(message, where=told, hint="Keep the class and four numbers a line")
    is_pose = keypoints and len(words) == 5 + keypoints
    is_polygon = not is_pose and len(words) >= 7 and len(words) % 2 == 1
    if None in numbers or not (len(words) == 5 or is_pose or is_polygon):
        notes.add("malformed-line", f"{told} ({' '.join(words)[:60]})")
        return None
    index, *shares = (number for number in numbers if number is not None)
    if not math.isfinite(index) or index != int(index) or not 0 <= index < classes:
        notes.add("unknown-class", f"{told} (class {words[0]} of {classes})")
        return None
    if is_polygon:
        notes.add("polygon-as-box", told)
        xs, ys = shares[0::2], shares[1::2]
        left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
        shares = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
        box = (left, top, right - left, bottom - top)
    else:
        x, y, width, height = shares[:4]
        box = (x - width / 2, y - height / 2, width, height)
    scale = (image.width, image.height) * 2
    image.add(tuple(value * side for value, side in zip(box, scale, strict=True)), int(index))  # type: ignore[arg-type]
    return tuple(shares[:4])

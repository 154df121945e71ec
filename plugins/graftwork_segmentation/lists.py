"""Lists that say which pictures are in which split: `train.txt`, `splits/val.txt`."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

from graftwork.data.splits import canonical_split
from graftwork.files.text import text_of
from graftwork.vision.decode import SUFFIXES

_FOLDERS = (".", "splits", "split", "lists", "ImageSets", "ImageSets/Segmentation", "annotations")


def split_lists(root: Path, stems: Set[str]) -> dict[str, tuple[Path, tuple[str, ...]]]:
    """The list of each split and what it names, where lists lie beside the pictures, one of them of the training split.

    Args:
        root: the folder in which they, or folders of them, lie.
        stems: the pictures' names without suffix; a file of which less than half is among these is no list of them.
    """
    for folder in _FOLDERS:
        found: dict[str, tuple[Path, tuple[str, ...]]] = {}
        files = sorted((root / folder).glob("*.txt"))
        both = [file for file in files if file.stem.lower() == "trainval"]  # only where there is no list of train alone
        for file in (*(file for file in files if file not in both), *both):
            split = "train" if file in both else canonical_split(file.stem)
            if split is None or split in found:
                continue
            listed = stems_in(file)
            if listed and 2 * sum(stem in stems for stem in listed) >= len(listed):
                found[split] = file, listed
        if "train" in found:
            return found
    return {}


def stems_in(file: Path) -> tuple[str, ...]:
    """The names without suffix that a list has, one a line; what stands behind the first is not looked at.

    Raises:
        DataError: it cannot be read.
    """
    names = [Path(line.split()[0]) for line in text_of(file).splitlines() if line.strip()]
    return tuple(dict.fromkeys(name.stem if name.suffix.lower() in SUFFIXES else name.name for name in names))

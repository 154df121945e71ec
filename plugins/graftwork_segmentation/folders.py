"""Folders of pictures and of masks: which they are by their names, and what is in them."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from graftwork.data.folders import is_junk
from graftwork.errors import DataError
from graftwork.vision.decode import SUFFIXES
from graftwork_segmentation.joined import shows_object
from graftwork_segmentation.naming import (
    FOLDER_OPTION,
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    OTHER_KINDS,
    kind_of_words,
    mask_keys,
    picture_stem,
    plain,
    split_and_kind,
    split_within,
    without_number,
)

_DEEPEST = 3
_GAP = re.compile(r"[\s_.-]+")
_WORD = re.compile(r"[^\W\d_]{2}.*")


@dataclass(frozen=True)
class Names:
    """Names that the user gives to folders, empty where it is the usual ones."""

    images: str = ""
    masks: str = ""


def pair_of(
    folder: Path, names: Names, lead: tuple[str, frozenset[str]] = ("", frozenset())
) -> tuple[Path, Path] | None:
    """The folder of pictures and that of masks in a folder, where it has both; `lead` is as `lead_of` gives it."""
    images = candidates(folder, IMAGE_FOLDERS, names.images)
    masks = [one for one in candidates(folder, MASK_FOLDERS, names.masks) if plain(one.name) not in lead[1]]
    masks.sort(key=lambda one: plain(one.name) != lead[0])
    if not images or not masks:
        return None
    return _inside(images[0], masks[0], IMAGE_FOLDERS), _inside(masks[0], images[0], MASK_FOLDERS)


def candidates(folder: Path, usual: Sequence[str], named: str) -> list[Path]:
    """Folders of pictures in a folder by their usual names, most likely first; or the one that the user names."""
    if named:
        inner = folder / named
        called = [inner] if inner.is_dir() else [sub for sub in folders_in(folder) if plain(sub.name) == plain(named)]
        return [sub for sub in called if has_pictures(sub)]
    by_name = {plain(sub.name): sub for sub in reversed(folders_in(folder))}
    found = [by_name[name] for name in usual if name in by_name and has_pictures(by_name[name])]
    if found:
        return found
    wanted = "images" if usual is IMAGE_FOLDERS else "masks"
    other = MASK_FOLDERS if usual is IMAGE_FOLDERS else IMAGE_FOLDERS
    worded = (sub for name, sub in sorted(by_name.items()) if name not in other and split_and_kind(sub.name)[0] is None)
    return [
        sub
        for sub in worded
        if kind_of_words(sub.name) == wanted and split_within(sub.name) is None and has_pictures(sub)
    ]


def case_of(folder: Path) -> tuple[Path, Path] | None:
    """The picture and the mask in a folder of one picture, by their usual names (`img.png` and `label.png`)."""
    files = [file for file in sorted(folder.iterdir()) if is_picture(file.name)]
    by_name = {plain(file.stem): file for file in reversed(files)}
    image, mask = (
        next((by_name[name] for name in usual if name in by_name), None) for usual in (IMAGE_FOLDERS, MASK_FOLDERS)
    )
    return None if image is None or mask is None else (image, mask)


def is_mixed(folder: Path) -> bool:
    """Whether masks lie beside their pictures: `a.jpg` and `a_mask.png`, or `a.bmp` and `a.png`."""
    files = [file for file in folder.iterdir() if is_picture(file.name)]
    stems = {file.stem for file in files}
    shared = {*stems, *map(picture_stem, stems)}
    bases = (base for stem in stems for base in (stem, without_number(stem)) if base)
    if any(key in shared for base in bases for key, _ in mask_keys(base)[1:]):
        return True
    pairs = len(files) - len(stems)
    formats = 0 < len(stems) <= 2 * pairs and len({file.suffix.lower() for file in files}) == 2
    return formats or bool(worded_masks(files))


def worded_masks(files: Sequence[Path]) -> list[Path]:
    """Of files in one folder those that are called like another and a word that comes again (`0_cup.png`, `0_disc.png` of
    `0.jpg`), where they look like masks of one object."""
    stems = {file.stem for file in files}
    by_word: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        for gap in reversed(list(_GAP.finditer(file.stem))):
            word = file.stem[gap.end() :].lower()
            if file.stem[: gap.start()] in stems and _WORD.fullmatch(word):
                by_word[word].append(file)
                break
    found = [file for group in by_word.values() for file in group]
    pictures = len(files) - len(found)
    again = [len(group) for group in by_word.values() if len(group) > 1]
    # Else some pictures were made of others (0_small.jpg).
    if not found or 2 * max(again, default=0) < pictures or not all(map(shows_object, found[:: len(found) // 8 + 1])):
        return []
    return sorted(found)


def what_is_lacking(path: Path) -> str | None:
    """Which half is not there where the other one is, and where it would be looked for, as a hint; None where both or neither
    are."""
    root = path
    for _ in range(_DEEPEST):
        inner = folders_in(root)
        if len(inner) != 1 or has_pictures(root, deep=False) or _kind(inner[0]):
            break
        root = inner[0]
    by_kind: dict[str, list[Path]] = defaultdict(list)
    for folder in folders_in(root):
        if has_pictures(folder):
            by_kind[_kind(folder)].append(folder)
    if by_kind["images"] and by_kind[""] and not by_kind["masks"]:
        others = by_kind[""]
        told = ", ".join(f"{folder.name}/" for folder in others[:4])
        option = FOLDER_OPTION.replace("NAME", others[0].name)
        hint = f"if {told} hold masks, {option} takes those of one"
        return hint + ("; where each shows one class, move them into masks/" if len(others) > 1 else "")
    masks = [folder for folder in by_kind["masks"] if plain(folder.name) not in OTHER_KINDS]
    if has_pictures(root, deep=False) or by_kind[""] or bool(masks) == bool(by_kind["images"]):
        return None
    there = (masks or by_kind["images"])[0]
    stem = min(pictures_below(there)).stem
    if not masks:
        wanted = f"masks/ beside it, called like the pictures ({stem}.png)"
        return f"{there.name}/ holds pictures, and masks are not there; looked for in {wanted}; {FOLDER_OPTION} names another"
    beside = "JPEGImages/" if there.name.startswith("SegmentationClass") else "images/"
    wanted = f"{beside} beside it, called like the masks ({stem}.jpg)"
    cvat = "; CVAT exports them with 'Save images'" if beside != "images/" else ""
    return f"{there.name}/ holds masks, and their pictures are not there: they are looked for in {wanted}{cvat}"


def _kind(folder: Path) -> str:
    """`images` or `masks` by a folder's name; empty where it says neither."""
    name = plain(folder.name)
    if name in MASK_FOLDERS or name in OTHER_KINDS:
        return "masks"
    return "images" if name in IMAGE_FOLDERS else kind_of_words(folder.name) or ""


def lead_of(masks: Mapping[str, Sequence[Path]]) -> tuple[str, frozenset[str]]:
    """The most likely folder of masks in any split, and what the folders beside it are called.

    What lies beside the masks in one split is no folder of masks in another: DRIVE's test set may have its fields of view
    alone.
    """
    every = [folder for folders in masks.values() for folder in folders]
    if not every:
        return "", frozenset()
    lead = plain(min(every, key=_rank).name)
    beside = [{plain(folder.name) for folder in folders} for folders in masks.values()]
    return lead, frozenset(name for called in beside if lead in called for name in called if name != lead)


def what_is_there(path: Path) -> str:
    """What a folder holds, in few words."""
    folders = [f"{folder.name}/" for folder in folders_in(path)]
    kinds: Counter[str] = Counter()
    for _, _, files in os.walk(path):
        kinds.update(Path(name).suffix.lower() or "no suffix" for name in files if not is_junk(name))
    found = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(4)) or "no files"
    shown = ", ".join(folders[:6]) + (", …" if len(folders) > 6 else "")
    return f"Found {found}" + (f" in {shown}" if folders else "")


def has_pictures(folder: Path, deep: bool = True) -> bool:
    """Whether a picture lies in a folder, or, if deep, anywhere below it."""
    for _, folders, files in os.walk(folder):
        if any(is_picture(name) for name in files):
            return True
        if not deep:
            folders.clear()
    return False


def is_picture(name: str) -> bool:
    """Whether a file's name is a picture's."""
    return Path(name).suffix.lower() in SUFFIXES and not is_junk(name)


def pictures_below(folder: Path) -> list[Path]:
    """All pictures in a folder and below."""
    return [Path(here, name) for here, _, files in os.walk(folder) for name in files if is_picture(name)]


def folders_in(path: Path) -> list[Path]:
    """The folders in a folder, but for hidden and system ones.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return sorted(entry for entry in path.iterdir() if entry.is_dir() and not is_junk(entry.name))
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", where=str(path)) from None


def _inside(folder: Path, other: Path, usual: Sequence[str]) -> Path:
    """The only folder below one that holds pictures (annotations/trimaps), or the usual one of several."""
    for _ in range(_DEEPEST):
        inner = [sub for sub in folders_in(folder) if has_pictures(sub)]
        theirs = {sub.name.lower() for sub in folders_in(other)}
        if has_pictures(folder, deep=False) or any(sub.name.lower() in theirs for sub in inner):
            return folder
        known = [sub for name in usual for sub in inner if plain(sub.name) == name]
        kinds = [sub for sub in inner if plain(sub.name) not in OTHER_KINDS]
        if len(inner) != 1 and not known and len(kinds) != 1:
            return folder
        folder = inner[0] if len(inner) == 1 else known[0] if known else kinds[0]
    return folder


def _rank(folder: Path) -> int:
    name = plain(folder.name)
    return MASK_FOLDERS.index(name) if name in MASK_FOLDERS else -1

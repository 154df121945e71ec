"""Where pictures and masks lie in a folder: which folders of each belong together, by split. Files are paired in `pairs`."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from graftwork.data.folders import is_junk
from graftwork.data.splits import SPLITS, canonical_split
from graftwork.errors import DataError
from graftwork.vision.decode import SUFFIXES
from graftwork_segmentation.naming import IMAGE_FOLDERS, MASK_FOLDERS, mask_keys

WANTED = (
    "Wanted images/ and masks/, the same inside train/ and so on, Pascal VOC, or a table with image and mask columns"
)

_BESIDE = re.compile(r"(.+?)[ _-]?(annotations?|annots?|labels?|masks?|gt)", re.IGNORECASE)
_DEEPEST = 3


@dataclass(frozen=True)
class Part:
    """One split's folders.

    Args:
        images, masks: folders; the same one where masks lie beside their pictures.
        stems: file names without suffix that belong to the split; None for all.
    """

    images: Path
    masks: Path
    stems: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Layout:
    """How a folder is arranged.

    Args:
        root: the folder whose entries are the parts.
        parts: by split; `train` alone where the data has no splits.
        voc: whether it is Pascal VOC's arrangement.
        unlabelled: split folders or lists without masks.
        unused: names of splits or folders in the root that are not used.
    """

    root: Path
    parts: dict[str, Part]
    voc: bool = False
    unlabelled: tuple[str, ...] = ()
    unused: tuple[str, ...] = field(default=())


def find_layout(path: Path) -> Layout | None:
    """The arrangement of a folder, or of the only folder in it (VOCdevkit/VOC2012); None where it is none of ours.

    Raises:
        DataError: two folders mean the same split, or a folder cannot be read.
    """
    for _ in range(_DEEPEST):
        layout = _voc(path) or _split_folders(path) or _pair(path) or _beside_each_other(path)
        if layout is not None:
            return layout
        folders = _folders(path)
        if len(folders) != 1 or has_pictures(path, deep=False):
            return None
        path = folders[0]
    return None


def what_is_there(path: Path) -> str:
    """What a folder holds, in few words."""
    folders = [f"{folder.name}/" for folder in _folders(path)]
    kinds: Counter[str] = Counter()
    for _, _, files in os.walk(path):
        kinds.update(Path(name).suffix.lower() or "no suffix" for name in files if not is_junk(name))
    found = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(4)) or "no files"
    shown = ", ".join(folders[:6]) + (", …" if len(folders) > 6 else "")
    return f"Found {found}" + (f" in {shown}" if folders else "")


def has_pictures(folder: Path, deep: bool = True) -> bool:
    """Whether a picture lies in a folder, or, if deep, anywhere below it."""
    for _, folders, files in os.walk(folder):
        if any(Path(name).suffix.lower() in SUFFIXES and not is_junk(name) for name in files):
            return True
        if not deep:
            folders.clear()
    return False


def _voc(root: Path) -> Layout | None:
    by_name = {folder.name: folder for folder in _folders(root)}
    images = by_name.get("JPEGImages")
    masks = by_name.get("SegmentationClass")
    if images is None or masks is None:
        return None
    lists = sorted((root / "ImageSets" / "Segmentation").glob("*.txt"))
    if not lists:
        return Layout(root, {"train": Part(images, masks)}, voc=True)
    named = {split: file for file in lists if (split := canonical_split(file.stem)) is not None}
    if "train" not in named:
        whole = [file for file in lists if file.stem in ("trainval", "default")]
        if whole or len(lists) == 1:
            named["train"] = (whole or lists)[0]
    parts = {split: Part(images, masks, _stems(file)) for split, file in named.items()}
    unused = [f"ImageSets/Segmentation/{file.name}" for file in lists if file not in named.values()]
    return Layout(root, _ordered(parts), voc=True, unused=tuple(unused)) if parts else None


def _stems(file: Path) -> tuple[str, ...]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read ({error})", where=str(file)) from None
    names = [Path(line.split()[0]) for line in lines if line.strip()]
    return tuple(dict.fromkeys(name.stem if name.suffix.lower() in SUFFIXES else name.name for name in names))


def _split_folders(root: Path) -> Layout | None:
    """`train/images` and `train/masks`, or `train/` with masks beside the pictures."""
    named = _by_split(_folders(root), root)
    parts: dict[str, Part] = {}
    unlabelled = []
    for split, folder in named.items():
        pair = _pair_of(folder)
        if pair is not None:
            parts[split] = Part(*pair)
        elif _mixed(folder):
            parts[split] = Part(folder, folder)
        elif has_pictures(folder):
            unlabelled.append(f"{folder.name}/")
    if not parts:
        return None
    used = {folder.name for folder in named.values()}
    others = [f"{folder.name}/" for folder in _folders(root) if folder.name not in used]
    return Layout(root, _ordered(parts), unlabelled=tuple(unlabelled), unused=tuple(others))


def _pair(root: Path) -> Layout | None:
    """`images/` and `masks/`, each with folders named after splits in it or without."""
    pair = _pair_of(root)
    if pair is None:
        return Layout(root, {"train": Part(root, root)}) if _mixed(root) else None
    images, masks = pair
    others = tuple(f"{folder.name}/" for folder in _folders(root) if folder not in pair)
    image_splits, mask_splits = _by_split(_folders(images), images), _by_split(_folders(masks), masks)
    both = [split for split in image_splits if split in mask_splits]
    if not both:
        return Layout(root, {"train": Part(images, masks)}, unused=others)
    parts = {split: Part(image_splits[split], mask_splits[split]) for split in both}
    alone = tuple(f"{images.name}/{image_splits[split].name}/" for split in image_splits if split not in both)
    return Layout(root, _ordered(parts), unlabelled=alone, unused=others)


def _beside_each_other(root: Path) -> Layout | None:
    """`train/` and `train_labels/` (or trainannot), as copies of CamVid come."""
    folders = {folder.name.lower(): folder for folder in _folders(root)}
    parts: dict[str, Part] = {}
    for name, folder in folders.items():
        match = _BESIDE.fullmatch(name)
        split = canonical_split(match[1]) if match else None
        if match and split and match[1] in folders and has_pictures(folder):
            parts.setdefault(split, Part(folders[match[1]], folder))
    if not parts:
        return None
    used = {folder for part in parts.values() for folder in (part.images, part.masks)}
    rest = [folder for folder in folders.values() if folder not in used]
    alone = tuple(f"{folder.name}/" for folder in rest if canonical_split(folder.name))
    others = tuple(f"{folder.name}/" for folder in rest if not canonical_split(folder.name))
    return Layout(root, _ordered(parts), unlabelled=alone, unused=others)


def _pair_of(folder: Path) -> tuple[Path, Path] | None:
    by_name = {sub.name.lower(): sub for sub in reversed(_folders(folder))}
    images = [by_name[name] for name in IMAGE_FOLDERS if name in by_name and has_pictures(by_name[name])]
    masks = [by_name[name] for name in MASK_FOLDERS if name in by_name and has_pictures(by_name[name])]
    return (images[0], masks[0]) if images and masks else None


def _mixed(folder: Path) -> bool:
    """Whether masks lie beside their pictures: `a.jpg` and `a_mask.png`."""
    stems = {file.stem for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and not is_junk(file.name)}
    return any(key in stems for stem in stems for key, _ in mask_keys(stem)[1:])


def _by_split(folders: Sequence[Path], where: Path) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for folder in folders:
        split = canonical_split(folder.name)
        if split is None:
            continue
        if split in named:
            raise DataError(f"{named[split].name}/ and {folder.name}/ both mean {split}", where=str(where))
        named[split] = folder
    return named


def _folders(path: Path) -> list[Path]:
    try:
        return sorted(entry for entry in path.iterdir() if entry.is_dir() and not is_junk(entry.name))
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", where=str(path)) from None


def _ordered(parts: dict[str, Part]) -> dict[str, Part]:
    return {split: parts[split] for split in SPLITS if split in parts}

"""Where pictures and masks lie in a folder: which folders of each belong together, by split. Files are paired in `pairs`."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from graftwork.data.folders import is_junk
from graftwork.data.splits import SPLITS, canonical_split
from graftwork.errors import DataError
from graftwork.vision.decode import SUFFIXES
from graftwork_segmentation.naming import (
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    OTHER_KINDS,
    mask_keys,
    plain,
    split_and_kind,
    split_within,
    without_number,
)

WANTED = (
    "Wanted images/ and masks/, the same inside train/ and so on, Pascal VOC, COCO or labelme JSON, or a table with image "
    "and mask columns; --set task_options.image_folder=NAME and mask_folder=NAME name other folders"
)

_DEEPEST = 3
_FOLDERS_SEEN = 200  # of a folder a picture, to tell the arrangement by


@dataclass(frozen=True)
class Names:
    """Names that the user gives to folders, empty where it is the usual ones."""

    images: str = ""
    masks: str = ""


@dataclass(frozen=True)
class Part:
    """One split's folders.

    Args:
        images, masks: folders; the same one where masks lie beside their pictures.
        stems: file names without suffix that belong to the split; None for all.
        each: whether it is a folder a picture, in it one for the picture and one for its masks.
    """

    images: Path
    masks: Path
    stems: tuple[str, ...] | None = None
    each: bool = False


@dataclass(frozen=True)
class Layout:
    """How a folder is arranged.

    Args:
        root: the folder whose entries are the parts.
        parts: by split; `train` alone where the data has no splits.
        voc: whether it is Pascal VOC's arrangement.
        unlabelled: split folders or lists without masks.
        unused: names of lists or folders in the root that are not used and hold no pictures.
        passed: folders of pictures that are not used.
    """

    root: Path
    parts: dict[str, Part]
    voc: bool = False
    unlabelled: tuple[str, ...] = ()
    unused: tuple[str, ...] = field(default=())
    passed: tuple[Path, ...] = ()


def find_layout(path: Path, names: Names | None = None) -> Layout | None:
    """The arrangement of a folder, or of the only folder in it (VOCdevkit/VOC2012); None where it is none of ours.

    Raises:
        DataError: two folders mean the same split, a folder cannot be read, or one that the user names is not there.
    """
    names = names or Names()
    top = path
    for _ in range(_DEEPEST):
        layout = None
        for find in (_voc, _split_folders, _pair, _beside_each_other, _picture_folders):
            layout = layout or find(path, names)
        if layout is not None:
            return replace(layout, passed=tuple(_passed(layout)))
        folders = _folders(path)
        if len(folders) != 1 or has_pictures(path, deep=False):
            break
        path = folders[0]
    if names.masks or names.images:
        given = " and ".join(filter(None, (names.images, names.masks)))
        raise DataError(f"has no such folders of pictures and masks ({given})", where=str(top), hint=what_is_there(top))
    return _deep(top)


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
        if any(is_picture(name) for name in files):
            return True
        if not deep:
            folders.clear()
    return False


def is_picture(name: str) -> bool:
    """Whether a file's name is a picture's."""
    return Path(name).suffix.lower() in SUFFIXES and not is_junk(name)


def _voc(root: Path, names: Names) -> Layout | None:
    by_name = {folder.name: folder for folder in _folders(root)}
    images = by_name.get(names.images or "JPEGImages")
    masks = by_name.get(names.masks or "SegmentationClass")
    if images is None or masks is None or "JPEGImages" not in by_name:
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


def _split_folders(root: Path, names: Names) -> Layout | None:
    """`train/images` and `train/masks`, or `train/` with masks beside the pictures."""
    named = _by_split(_folders(root), root)
    if not any(pair_of(folder, names) or _mixed(folder) for folder in named.values()):
        named = _by_word(_folders(root)) or named
    masks = {split: _candidates(folder, MASK_FOLDERS, names.masks) for split, folder in named.items()}
    lead = _lead(masks)
    parts: dict[str, Part] = {}
    unlabelled = []
    for split, folder in named.items():
        pair = pair_of(folder, names, lead)
        if pair is not None:
            parts[split] = Part(*pair)
        elif _mixed(folder) and not names.masks:
            parts[split] = Part(folder, folder)
        elif has_pictures(folder):
            unlabelled.append(f"{folder.name}/")
    if not parts:
        return None
    used = {folder.name for folder in named.values()}
    others = [f"{folder.name}/" for folder in _folders(root) if folder.name not in used and not has_pictures(folder)]
    return Layout(root, _ordered(parts), unlabelled=tuple(unlabelled), unused=tuple(others))


def _lead(masks: Mapping[str, Sequence[Path]]) -> tuple[str, frozenset[str]]:
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


def _rank(folder: Path) -> int:
    name = plain(folder.name)
    return MASK_FOLDERS.index(name) if name in MASK_FOLDERS else -1


def _pair(root: Path, names: Names) -> Layout | None:
    """`images/` and `masks/`, each with folders named after splits in it or without."""
    pair = pair_of(root, names)
    if pair is None:
        mixed = _mixed(root) and not names.masks
        return Layout(root, {"train": Part(root, root)}) if mixed else None
    images, masks = pair
    others = tuple(
        f"{folder.name}/"
        for folder in _folders(root)
        if not has_pictures(folder) and not any(used.is_relative_to(folder) for used in pair)
    )
    image_splits, mask_splits = _by_split(_folders(images), images), _by_split(_folders(masks), masks)
    both = [split for split in image_splits if split in mask_splits]
    if not both:
        return Layout(root, {"train": Part(images, masks)}, unused=others)
    parts = {split: Part(image_splits[split], mask_splits[split]) for split in both}
    alone = tuple(f"{images.name}/{image_splits[split].name}/" for split in image_splits if split not in both)
    return Layout(root, _ordered(parts), unlabelled=alone, unused=others)


def _beside_each_other(root: Path, names: Names) -> Layout | None:
    """`train/` and `train_labels/` (or trainannot), as copies of CamVid come; `train_images/` and `train_masks/`."""
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for folder in _folders(root):
        split, kind = split_and_kind(folder.name)
        if split and has_pictures(folder):
            found[split].setdefault(kind, folder)
    parts: dict[str, Part] = {}
    alone = []
    for split, kinds in found.items():
        images = [kinds[kind] for kind in (plain(names.images), *IMAGE_FOLDERS, "") if kind in kinds]
        masks = [kinds[kind] for kind in (plain(names.masks), *MASK_FOLDERS) if kind and kind in kinds]
        if images and masks:
            parts[split] = Part(images[0], masks[0])
        else:
            alone += [f"{folder.name}/" for folder in images]
    return Layout(root, _ordered(parts), unlabelled=tuple(alone)) if parts else None


def _picture_folders(root: Path, names: Names) -> Layout | None:
    """A folder a picture, in each one for the picture and one for its masks, as DSB2018 comes; maybe inside split folders."""
    if _is_each(root, names):
        return Layout(root, {"train": Part(root, root, each=True)})
    folders = _folders(root)
    named = _by_word(folders)
    parts = {split: Part(folder, folder, each=True) for split, folder in named.items() if _is_each(folder, names)}
    if not parts:
        return None
    alone = [folder for folder in folders if folder not in {part.images for part in parts.values()}]
    return Layout(
        root, _ordered(parts), unlabelled=tuple(f"{folder.name}/" for folder in alone if has_pictures(folder))
    )


def _is_each(folder: Path, names: Names) -> bool:
    folders = _folders(folder)[:_FOLDERS_SEEN]
    pairs = [pair for one in folders if (pair := pair_of(one, names)) is not None]
    single = [pair for pair in pairs if sum(is_picture(file.name) for file in pair[0].iterdir()) == 1]
    return len(folders) > 1 and 2 * len(single) > len(folders)


def _deep(root: Path) -> Layout | None:
    """Masks beside their pictures in any folders, which mean no splits."""
    found = any(_mixed(Path(here)) for here, _, _ in os.walk(root))
    return Layout(root, {"train": Part(root, root)}) if found else None


def pair_of(
    folder: Path, names: Names, lead: tuple[str, frozenset[str]] = ("", frozenset())
) -> tuple[Path, Path] | None:
    """The folder of pictures and that of masks in a folder, where it has both; `lead` is as `_lead` gives it."""
    images = _candidates(folder, IMAGE_FOLDERS, names.images)
    masks = [one for one in _candidates(folder, MASK_FOLDERS, names.masks) if plain(one.name) not in lead[1]]
    masks.sort(key=lambda one: plain(one.name) != lead[0])
    if not images or not masks:
        return None
    return _inside(images[0], masks[0], IMAGE_FOLDERS), _inside(masks[0], images[0], MASK_FOLDERS)


def _candidates(folder: Path, usual: Sequence[str], named: str) -> list[Path]:
    """Folders of pictures in a folder by their usual names, most likely first; or the one that the user names."""
    if named:
        inner = folder / named
        called = [inner] if inner.is_dir() else [sub for sub in _folders(folder) if plain(sub.name) == plain(named)]
        return [sub for sub in called if has_pictures(sub)]
    by_name = {plain(sub.name): sub for sub in reversed(_folders(folder))}
    return [by_name[name] for name in usual if name in by_name and has_pictures(by_name[name])]


def _inside(folder: Path, other: Path, usual: Sequence[str]) -> Path:
    """The only folder below one that holds pictures (annotations/trimaps), or the usual one of several."""
    for _ in range(_DEEPEST):
        inner = [sub for sub in _folders(folder) if has_pictures(sub)]
        theirs = {sub.name.lower() for sub in _folders(other)}
        if has_pictures(folder, deep=False) or any(sub.name.lower() in theirs for sub in inner):
            return folder
        known = [sub for name in usual for sub in inner if plain(sub.name) == name]
        kinds = [sub for sub in inner if plain(sub.name) not in OTHER_KINDS]
        if len(inner) != 1 and not known and len(kinds) != 1:
            return folder
        folder = inner[0] if len(inner) == 1 else known[0] if known else kinds[0]
    return folder


def _mixed(folder: Path) -> bool:
    """Whether masks lie beside their pictures: `a.jpg` and `a_mask.png`, or `a.bmp` and `a.png`."""
    files = [file for file in folder.iterdir() if is_picture(file.name)]
    stems = {file.stem for file in files}
    bases = (base for stem in stems for base in (stem, without_number(stem)) if base)
    if any(key in stems for base in bases for key, _ in mask_keys(base)[1:]):
        return True
    pairs = len(files) - len(stems)
    return 0 < len(stems) <= 2 * pairs and len({file.suffix.lower() for file in files}) == 2


def _passed(layout: Layout) -> list[Path]:
    """Folders of pictures below the root that are neither used nor splits without masks."""
    used = {folder for part in layout.parts.values() for folder in (part.images, part.masks)}
    alone = {layout.root / name for name in layout.unlabelled}
    found: list[Path] = []
    pending = [layout.root]
    while pending:
        for folder in _folders(pending.pop()):
            if folder in alone or any(folder.is_relative_to(one) for one in used):
                continue
            if any(one.is_relative_to(folder) for one in used):
                pending.append(folder)
            elif has_pictures(folder):
                found.append(folder)
    return sorted(found)


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


def _by_word(folders: Sequence[Path]) -> dict[str, Path]:
    """Folders by the split that a word of their names means (`stage1_train`); none where two mean the same."""
    named: dict[str, list[Path]] = defaultdict(list)
    for folder in folders:
        split = split_within(folder.name)
        if split is not None:
            named[split].append(folder)
    return {split: group[0] for split, group in named.items() if len(group) == 1}


def _folders(path: Path) -> list[Path]:
    try:
        return sorted(entry for entry in path.iterdir() if entry.is_dir() and not is_junk(entry.name))
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", where=str(path)) from None


def _ordered(parts: dict[str, Part]) -> dict[str, Part]:
    return {split: parts[split] for split in SPLITS if split in parts}

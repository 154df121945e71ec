"""Where pictures and masks lie in a folder: which folders of each belong together, by split. Files are paired in `pairs`."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from graftwork.data.splits import SPLITS, canonical_split
from graftwork.errors import DataError
from graftwork_segmentation.folders import (
    Names,
    candidates,
    case_of,
    folders_in,
    has_pictures,
    is_mixed,
    is_picture,
    lead_of,
    pair_of,
    pictures_below,
    what_is_there,
)
from graftwork_segmentation.lists import split_lists, stems_in
from graftwork_segmentation.naming import (
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    plain,
    split_and_kind,
    split_and_kind_of_words,
    split_within,
)
from graftwork_segmentation.parts import Layout, Part

_DEEPEST = 3
_DEEPEST_PAIR = 5
_VOC_MASKS = ("SegmentationClass", "SegmentationClassPNG", "SegmentationClassAug", "SegmentationClassContext")
_FOLDERS_SEEN = 200  # of a folder a picture, to tell the arrangement by


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
        folders = folders_in(path)
        if len(folders) != 1 or has_pictures(path, deep=False):
            break
        path = folders[0]
    nested = _nested(top, names)
    if nested is not None:
        return replace(nested, passed=tuple(_passed(nested)))
    if names.masks or names.images:
        given = " and ".join(filter(None, (names.images, names.masks)))
        raise DataError(f"has no such folders of pictures and masks ({given})", where=str(top), hint=what_is_there(top))
    return _deep(top)


def _voc(root: Path, names: Names) -> Layout | None:
    by_name = {folder.name: folder for folder in folders_in(root)}
    images = by_name.get(names.images or "JPEGImages")
    wanted = (names.masks,) if names.masks else _VOC_MASKS
    masks = next((by_name[name] for name in wanted if name in by_name and has_pictures(by_name[name])), None)
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
    parts = {split: Part(images, masks, stems_in(file)) for split, file in named.items()}
    unused = [f"ImageSets/Segmentation/{file.name}" for file in lists if file not in named.values()]
    return Layout(root, _ordered(parts), voc=True, unused=tuple(unused)) if parts else None


def _split_folders(root: Path, names: Names) -> Layout | None:
    """`train/images` and `train/masks`, or `train/` with masks beside the pictures."""
    named = _by_split(folders_in(root), root)
    if not any(pair_of(folder, names) or is_mixed(folder) for folder in named.values()):
        named = _by_word(folders_in(root)) or named
    masks = {split: candidates(folder, MASK_FOLDERS, names.masks) for split, folder in named.items()}
    lead = lead_of(masks)
    parts: dict[str, Part] = {}
    unlabelled = []
    for split, folder in named.items():
        pair = pair_of(folder, names, lead)
        if pair is not None:
            parts[split] = Part(*pair)
        elif is_mixed(folder) and not names.masks:
            parts[split] = Part(folder, folder)
        elif has_pictures(folder):
            unlabelled.append(f"{folder.name}/")
    if not parts:
        return None
    used = {folder.name for folder in named.values()}
    others = [f"{folder.name}/" for folder in folders_in(root) if folder.name not in used and not has_pictures(folder)]
    return Layout(root, _ordered(parts), unlabelled=tuple(unlabelled), unused=tuple(others))


def _pair(root: Path, names: Names) -> Layout | None:
    """`images/` and `masks/`, each with folders named after splits in it or without."""
    pair = pair_of(root, names)
    if pair is None:
        mixed = is_mixed(root) and not names.masks
        return Layout(root, {"train": Part(root, root)}) if mixed else None
    images, masks = pair
    others = tuple(
        f"{folder.name}/"
        for folder in folders_in(root)
        if not has_pictures(folder) and not any(used.is_relative_to(folder) for used in pair)
    )
    image_splits, mask_splits = _by_split(folders_in(images), images), _by_split(folders_in(masks), masks)
    both = [split for split in image_splits if split in mask_splits]
    if not both:
        lists = split_lists(root, {file.stem for file in pictures_below(images)})
        parts = {split: Part(images, masks, stems) for split, (_, stems) in lists.items()}
        files = tuple(file for file, _ in lists.values())
        return Layout(root, _ordered(parts) or {"train": Part(images, masks)}, unused=others, lists=files)
    parts = {split: Part(image_splits[split], mask_splits[split]) for split in both}
    alone = tuple(f"{images.name}/{image_splits[split].name}/" for split in image_splits if split not in both)
    return Layout(root, _ordered(parts), unlabelled=alone, unused=others)


def _beside_each_other(root: Path, names: Names) -> Layout | None:
    """`train/` and `train_labels/` (or trainannot), as copies of CamVid come; `train_images/` and `train_masks/`."""
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for say in (split_and_kind, split_and_kind_of_words):
        for folder in folders_in(root):
            split, kind = say(folder.name)
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
    folders = folders_in(root)
    named = _by_word(folders)
    parts = {split: Part(folder, folder, each=True) for split, folder in named.items() if _is_each(folder, names)}
    if not parts:
        return None
    alone = [folder for folder in folders if folder not in {part.images for part in parts.values()}]
    return Layout(
        root, _ordered(parts), unlabelled=tuple(f"{folder.name}/" for folder in alone if has_pictures(folder))
    )


def _is_each(folder: Path, names: Names) -> bool:
    folders = folders_in(folder)[:_FOLDERS_SEEN]
    pairs = [pair for one in folders if (pair := pair_of(one, names)) is not None]
    single = [pair for pair in pairs if sum(is_picture(file.name) for file in pair[0].iterdir()) == 1]
    cases = sum(case_of(one) is not None for one in folders)
    return len(folders) > 1 and 2 * max(len(single), cases) > len(folders)


def _nested(root: Path, names: Names) -> Layout | None:
    """Pictures and masks side by side in several folders at any depth (LoveDA's `Train/Rural/images_png`), by the split that
    a folder above them is called after; all train where none is."""
    pairs: dict[str | None, list[tuple[Path, Path]]] = defaultdict(list)
    pending: list[tuple[Path, str | None, int]] = [(root, None, 0)]
    while pending:
        folder, split, depth = pending.pop()
        pair = pair_of(folder, names)
        if pair is not None:
            pairs[split].append(pair)
        elif depth < _DEEPEST_PAIR:
            pending += [
                (sub, split or canonical_split(sub.name) or split_within(sub.name), depth + 1)
                for sub in reversed(folders_in(folder))
            ]
    if not pairs:
        return None
    named = {split: tuple(found) for split, found in pairs.items() if split is not None}
    parts = {split: Part(root, root, pairs=found) for split, found in (named or {"train": tuple(pairs[None])}).items()}
    alone = [
        f"{folder.name}/"
        for folder in folders_in(root)
        if (canonical_split(folder.name) or "train") not in parts and has_pictures(folder)
    ]
    return Layout(root, _ordered(parts), unlabelled=tuple(alone))


def _deep(root: Path) -> Layout | None:
    """Masks beside their pictures in any folders, which mean no splits."""
    found = any(is_mixed(Path(here)) for here, _, _ in os.walk(root))
    return Layout(root, {"train": Part(root, root)}) if found else None


def _passed(layout: Layout) -> list[Path]:
    """Folders of pictures below the root that are neither used nor splits without masks."""
    used = {folder for part in layout.parts.values() for folder in part.folders}
    alone = {layout.root / name for name in layout.unlabelled}
    found: list[Path] = []
    pending = [layout.root]
    while pending:
        for folder in folders_in(pending.pop()):
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


def _ordered(parts: dict[str, Part]) -> dict[str, Part]:
    return {split: parts[split] for split in SPLITS if split in parts}

"""Which mask belongs to which picture, by their names."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from graftwork.data.folders import is_junk
from graftwork.errors import DataError
from graftwork.interfaces import Finding
from graftwork.vision.audit import named
from graftwork.vision.decode import SUFFIXES
from graftwork_segmentation.layouts import WANTED, Layout, Part, what_is_there
from graftwork_segmentation.naming import IMAGE_SUFFIXES, mask_keys

Matched = tuple[list[Path], dict[Path, Path], list[Path]]
"""Pictures, the mask of each that has one, and masks without a picture."""


@dataclass
class Paired:
    """Pictures with their masks, by split, and what was met on the way and left out; names are relative to the source."""

    home: Path
    rows: dict[str, list[tuple[Path, Path]]] = field(default_factory=dict)
    lonely_images: list[str] = field(default_factory=list)
    lonely_masks: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    by_suffix: list[str] = field(default_factory=list)
    other_masks: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    junk: list[str] = field(default_factory=list)

    def name(self, path: Path) -> str:
        return path.relative_to(self.home).as_posix()

    def findings(self, layout: Layout) -> list[Finding]:
        """What was left out or guessed."""
        suffix = "masks that were matched to a picture by name without what they add to it"
        unlisted = "pictures with a mask that no list of ImageSets/Segmentation names, not used"
        return [
            *named("image-without-mask", "warning", "images without a mask, left out", self.lonely_images),
            *named("mask-without-image", "warning", "masks without an image, left out", self.lonely_masks),
            *named("unlabelled-split", "warning", "splits without masks, not used", layout.unlabelled),
            *named("mask-by-suffix", "note", suffix, self.by_suffix),
            *named("unused-masks", "note", "further masks of a picture, not used", self.other_masks),
            *named("not-in-lists", "note", unlisted, self.unlisted),
            *named("unused-splits", "note", "lists and folders that mean no split, not used", layout.unused),
            *named(
                "other-files",
                "note",
                "files that are no images by their name, or lie beside the folders, not used",
                self.others,
            ),
            *named("hidden-files", "note", "hidden or system files and folders, left out", self.junk),
        ]


def pair_files(layout: Layout, home: Path) -> Paired:
    """Every split's pictures with their masks.

    Args:
        layout: the folders.
        home: the source; names in findings start from it.

    Raises:
        DataError: no picture has a mask.
    """
    paired = Paired(home)
    matched: dict[tuple[Path, Path], Matched] = {}
    for split, part in layout.parts.items():
        folders = (part.images, part.masks)
        if folders not in matched:  # all lists of Pascal VOC are about the same two
            matched[folders] = _match(part, paired)
        _take(split, part, matched[folders], paired)
    listed = {stem for part in layout.parts.values() for stem in part.stems or ()}
    if listed:
        paired.unlisted += [
            paired.name(image) for _, masks, _ in matched.values() for image in masks if image.stem not in listed
        ]
    if not paired.rows:
        part = next(iter(layout.parts.values()))
        what = f"no image in {paired.name(part.images)}/ has a mask in {paired.name(part.masks)}/"
        first = [names[0] for names in (paired.lonely_images, paired.lonely_masks) if names]
        hint = f"Give both the same name; here: {', '.join(first)}" if first else f"{what_is_there(home)}. {WANTED}"
        raise DataError(what, where=str(home), hint=hint)
    return paired


def _take(split: str, part: Part, matched: Matched, paired: Paired) -> None:
    """One split's rows, and what of it lacks its other half."""
    images, masks, lonely = matched
    if part.stems is not None:
        wanted = set(part.stems)
        images = [image for image in images if image.stem in wanted]
        lonely = [mask for mask in lonely if mask.stem in wanted]
        gone = wanted - {file.stem for file in (*images, *lonely)}
        paired.lonely_images += [f"{split}: {stem} (listed, not there)" for stem in sorted(gone)]
    rows = [(image, masks[image]) for image in images if image in masks]
    if rows:
        paired.rows[split] = rows
    paired.lonely_images += [paired.name(image) for image in images if image not in masks]
    paired.lonely_masks += [paired.name(mask) for mask in lonely]


def _match(part: Part, paired: Paired) -> Matched:
    images = _walk(part.images, paired)
    masks = _walk(part.masks, paired) if part.masks != part.images else images
    if part.masks == part.images:  # a mask is what is called like another picture and a suffix
        stems = {_key(part.images, file) for file in images}
        masks = [file for file in images if any(key in stems for key, _ in _keys(part.images, file)[1:])]
        images = [file for file in images if file not in set(masks)]
    by_key: dict[str, Path] = {}
    for strip in (False, True):
        for image in images:
            by_key.setdefault(_key(part.images, image, strip), image)
    candidates: dict[Path, list[tuple[int, bool, Path]]] = defaultdict(list)
    lonely = []
    for mask in masks:
        found = next(((by_key[key], rank) for key, rank in _keys(part.masks, mask) if key in by_key), None)
        if found is None:
            lonely.append(mask)
        else:
            candidates[found[0]].append((found[1], mask.suffix.lower() != ".png", mask))
    chosen = {image: min(group)[2] for image, group in candidates.items()}
    _tell(chosen, candidates, paired)
    return images, chosen, lonely


def _tell(
    chosen: Mapping[Path, Path], candidates: Mapping[Path, Sequence[tuple[int, bool, Path]]], paired: Paired
) -> None:
    for image, mask in chosen.items():
        if image.stem != mask.stem:
            paired.by_suffix.append(f"{paired.name(image)} = {paired.name(mask)}")
        paired.other_masks += [paired.name(other) for _, _, other in candidates[image] if other != mask]


def _key(folder: Path, file: Path, strip: bool = False) -> str:
    stem = file.stem
    if strip:
        suffix = next((s for s in IMAGE_SUFFIXES if stem.lower().endswith(s) and stem.lower() != s), "")
        stem = stem[: len(stem) - len(suffix)]
    return (file.parent.relative_to(folder) / stem).as_posix()


def _keys(folder: Path, mask: Path) -> list[tuple[str, int]]:
    parent = mask.parent.relative_to(folder)
    return [((parent / stem).as_posix(), rank) for stem, rank in mask_keys(mask.stem)]


def _walk(folder: Path, paired: Paired) -> list[Path]:
    """Pictures below a folder, sorted; follows links, but never in a circle."""
    found: list[Path] = []
    visited: set[str] = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        paired.junk += [paired.name(Path(here, name)) for name in (*folders, *files) if is_junk(name)]
        folders[:] = sorted(name for name in folders if not is_junk(name))
        for name in files:
            if not is_junk(name):
                path = Path(here, name)
                (found.append(path) if path.suffix.lower() in SUFFIXES else paired.others.append(paired.name(path)))
    return sorted(found)

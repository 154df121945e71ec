"""Which mask belongs to which picture, by their names."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from graftwork.data.folders import is_junk
from graftwork.data.paths import shown
from graftwork.errors import DataError
from graftwork.interfaces import Finding
from graftwork.vision.audit import named
from graftwork.vision.decode import SUFFIXES
from graftwork_segmentation.brushes import join_tags, match_tasks, tagged
from graftwork_segmentation.joined import Mask, look_like_masks
from graftwork_segmentation.labelmap import LabelMap
from graftwork_segmentation.layouts import WANTED, Layout, Names, Part, pair_of, what_is_there
from graftwork_segmentation.naming import (
    FOLDER_OPTION,
    IMAGE_SUFFIXES,
    OTHER_KINDS,
    core_names,
    mask_keys,
    plain,
    without_number,
)

Ranked = tuple[int, bool, Path]
"""How a mask's name was found, whether it is no PNG, and the mask: the smallest is the best."""

Matched = tuple[list[Path], dict[Path, Mask], list[Path]]
"""Pictures, the mask of each that has one, and masks without a picture."""

_CANDIDATES = 20  # pairs of files that are looked at to tell pictures from masks


@dataclass
class Paired:
    """Pictures with their masks, by split, and what was met on the way and left out; names are relative to the source."""

    home: Path
    rows: dict[str, list[tuple[Path, Mask]]] = field(default_factory=dict)
    labels: LabelMap | None = None
    lonely_images: list[str] = field(default_factory=list)
    lonely_masks: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    by_suffix: list[str] = field(default_factory=list)
    by_order: list[str] = field(default_factory=list)
    joined: list[str] = field(default_factory=list)
    other_masks: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    junk: list[str] = field(default_factory=list)

    def name(self, path: Path) -> str:
        return shown(path.relative_to(self.home).as_posix() if path.is_relative_to(self.home) else path)

    def findings(self, layout: Layout) -> list[Finding]:
        """What was left out or guessed."""
        suffix = "masks that were matched to a picture by name without what they add to it"
        unlisted = "pictures with a mask that no list of ImageSets/Segmentation names, not used"
        order = (
            "masks named by Label Studio's tasks, which were given to the pictures in their order; look at some of them"
        )
        return [
            *named("image-without-mask", "warning", "images without a mask, left out", self.lonely_images),
            *named("mask-without-image", "warning", "masks without an image, left out", self.lonely_masks),
            *named("unlabelled-split", "warning", "splits without masks, not used", layout.unlabelled),
            *named("paired-by-order", "warning", order, self.by_order),
            *self._passed(layout),
            *named("mask-by-suffix", "note", suffix, self.by_suffix),
            *named("joined-masks", "note", "pictures whose masks, one an object, were joined", self.joined),
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

    def _passed(self, layout: Layout) -> list[Finding]:
        """Folders of pictures that are not used; a warning where one of them may have been meant."""
        rows = [image for rows in self.rows.values() for image, _ in rows]
        stems = {_folded(key) for image in rows for key in (image.stem, _stripped(image.stem))}
        fitting, other = [], []
        for folder in layout.passed:
            files = _pictures_below(folder)
            fits = any(_folded(key) in stems for file in files for key, _ in _stems(file.name))
            odd = plain(folder.name) in OTHER_KINDS
            (fitting if fits and not odd else other).append(f"{self.name(folder)}/ ({len(files):,} files)")
        message = f"folders of pictures that are not used ({FOLDER_OPTION} takes masks from one of them)"
        return named("unused-folders", "warning" if fitting else "note", message, [*fitting, *other])


def pair_files(layout: Layout, home: Path) -> Paired:
    """Every split's pictures with their masks.

    Args:
        layout: the folders.
        home: the source; names in findings start from it.

    Raises:
        DataError: no picture has a mask, or nothing tells whose masks they are.
    """
    paired = Paired(home)
    matched: dict[tuple[Path, Path], Matched] = {}
    for split, part in layout.parts.items():
        folders = (part.images, part.masks)
        if folders not in matched:  # all lists of Pascal VOC are about the same two
            matched[folders] = _match(part, paired, layout.root)
        _take(split, part, matched[folders], paired)
    listed = {stem for part in layout.parts.values() for stem in part.stems or ()}
    if listed:
        paired.unlisted += [
            paired.name(image) for _, masks, _ in matched.values() for image in masks if image.stem not in listed
        ]
    if paired.joined and paired.labels is None:  # then a picture's only mask shows one object too
        paired.labels = join_tags(["object"])
        paired.rows = {
            split: [(image, Mask(tuple((file, 1) for file, _ in mask.files))) for image, mask in rows]
            for split, rows in paired.rows.items()
        }
    if not paired.rows:
        part = next(iter(layout.parts.values()))
        what = f"no image in {paired.name(part.images)}/ has a mask in {paired.name(part.masks)}/"
        first = [names[0] for names in (paired.lonely_images, paired.lonely_masks) if names]
        hint = (
            f"Their names do not tell which belong together; here: {', '.join(first)}. Give both the same name, or a table "
            "with an image and a mask column"
        )
        raise DataError(what, where=str(home), hint=hint if first else f"{what_is_there(home)}. {WANTED}")
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


def _match(part: Part, paired: Paired, root: Path) -> Matched:
    if part.each:
        return _match_each(part.images, paired)
    images, masks = _files(part, paired)
    if sum(tagged(mask) for mask in masks) * 2 > len(masks):
        return _match_tags(images, masks, paired, root)
    found, lonely = _by_name(part, images, masks)
    if not found and len(masks) > 1:
        found, lonely = _by_core(images, masks)
    chosen = {image: _choose(image, group, paired) for image, group in found.items()}
    return images, chosen, lonely


def _files(part: Part, paired: Paired) -> tuple[list[Path], list[Path]]:
    """Pictures and masks; from one folder, masks are what is called like another picture and a suffix, or like it but
    for the format."""
    images = _walk(part.images, paired)
    if part.masks != part.images:
        return images, _walk(part.masks, paired)
    stems = {_key(part.images, file) for file in images}
    masks = {file for file in images if any(key in stems for key, _ in _keys(part.images, file)[1:])}
    if not masks:
        masks = _of_other_format(images)
    return [file for file in images if file not in masks], sorted(masks)


def _of_other_format(files: Sequence[Path]) -> set[Path]:
    """Of files that come in pairs of one name and two formats, those of the format that masks have."""
    by_stem: dict[Path, list[Path]] = defaultdict(list)
    for file in files:
        by_stem[file.with_suffix("")].append(file)
    pairs = [sorted(group, key=lambda file: file.suffix.lower()) for group in by_stem.values() if len(group) == 2]
    if not pairs:
        return set()
    few = [sum(look_like_masks(pair[side], pair[1 - side]) for pair in pairs[:_CANDIDATES]) for side in (0, 1)]
    side = 0 if few[0] > few[1] else 1
    return {pair[side] for pair in pairs}


def _by_name(part: Part, images: Sequence[Path], masks: Sequence[Path]) -> tuple[dict[Path, list[Ranked]], list[Path]]:
    """Masks by picture: of the same name, of one without a suffix, or of one that is the same but for its letters."""
    by_key: dict[str, Path] = {image.relative_to(part.images).as_posix(): image for image in images}
    for strip in (False, True):
        for image in images:
            by_key.setdefault(_key(part.images, image, strip), image)
    alike: dict[str, set[Path]] = defaultdict(set)
    for key, image in by_key.items():
        alike[_folded(key)].add(image)
    found: dict[Path, list[Ranked]] = defaultdict(list)
    lonely = []
    for mask in masks:
        keys = _keys(part.masks, mask)
        image, rank = next(((by_key[key], rank) for key, rank in keys if key in by_key), (None, 0))
        if image is None:
            single = ((alike[_folded(key)], rank) for key, rank in keys if len(alike.get(_folded(key), ())) == 1)
            group, rank = next(single, (set(), 0))
            image = next(iter(group), None)
        if image is None:
            lonely.append(mask)
        else:
            found[image].append((rank, mask.suffix.lower() != ".png", mask))
    return found, lonely


def _by_core(images: Sequence[Path], masks: Sequence[Path]) -> tuple[dict[Path, list[Ranked]], list[Path]]:
    """Masks by picture where all pictures add one thing to the common name and all masks another (img_01, truth-01)."""
    called: dict[str, list[Path]] = defaultdict(list)
    for image, core in zip(images, core_names([image.stem for image in images]), strict=True):
        called[core].append(image)
    cores = core_names([mask.stem for mask in masks])
    found = {called[core][0]: mask for mask, core in zip(masks, cores, strict=True) if core and len(called[core]) == 1}
    taken = set(found.values())
    if len(set(cores)) < len(cores) or len(found) * 2 < min(len(images), len(masks)):
        return {}, list(masks)
    return {image: [(0, False, mask)] for image, mask in found.items()}, [mask for mask in masks if mask not in taken]


def _choose(image: Path, candidates: Sequence[Ranked], paired: Paired) -> Mask:
    """The best of a picture's masks; all, where they differ in a number alone."""
    best = min(candidates)
    base = without_number(best[2].stem) or best[2].stem
    parts = [mask for _, _, mask in sorted(candidates) if (without_number(mask.stem) or mask.stem) == base]
    if len(parts) > 1 and any(without_number(mask.stem) for mask in parts):
        paired.joined.append(f"{paired.name(image)} ({len(parts)} masks)")
    else:
        parts = [best[2]]
    if image.stem != best[2].stem:
        paired.by_suffix.append(f"{paired.name(image)} = {paired.name(best[2])}")
    paired.other_masks += [paired.name(other) for _, _, other in candidates if other not in parts]
    return _mask_of(parts)


def _mask_of(files: Sequence[Path]) -> Mask:
    """One file as it is, several joined."""
    return Mask(tuple((file, 1) for file in files)) if len(files) > 1 else Mask(((files[0], None),))


def _match_each(folder: Path, paired: Paired) -> Matched:
    """A folder a picture: its masks are one an object, and are joined."""
    images: list[Path] = []
    chosen: dict[Path, Mask] = {}
    lonely: list[Path] = []
    for one in sorted(entry for entry in folder.iterdir() if entry.is_dir() and not is_junk(entry.name)):
        pair = pair_of(one, Names())
        pictures = _walk(pair[0] if pair else one, paired)
        masks = _walk(pair[1], paired) if pair else []
        images += pictures
        if len(pictures) != 1:
            lonely += masks
        elif masks:
            chosen[pictures[0]] = _mask_of(masks)
    several = [image for image, mask in chosen.items() if len(mask.files) > 1]
    paired.joined += [f"{paired.name(image)} ({len(chosen[image].files)} masks)" for image in several]
    return images, chosen, lonely


def _match_tags(images: list[Path], masks: Sequence[Path], paired: Paired, root: Path) -> Matched:
    """Label Studio's brush masks, one a tag: named by task, not by picture."""
    chosen, lonely, labels, ordered = match_tasks(images, masks, root)
    paired.labels = labels
    paired.joined += [f"{paired.name(image)} ({len(mask.files)} masks)" for image, mask in chosen.items()]
    paired.by_order += [f"{paired.name(image)} = {paired.name(chosen[image].files[0][0])}" for image in ordered]
    return images, chosen, lonely


def _key(folder: Path, file: Path, strip: bool = False) -> str:
    stem = _stripped(file.stem) if strip else file.stem
    return (file.parent.relative_to(folder) / stem).as_posix()


def _stripped(stem: str) -> str:
    suffix = next((s for s in IMAGE_SUFFIXES if stem.lower().endswith(s) and stem.lower() != s), "")
    return stem[: len(stem) - len(suffix)]


def _keys(folder: Path, mask: Path) -> list[tuple[str, int]]:
    parent = mask.parent.relative_to(folder)
    return [((parent / stem).as_posix(), rank) for stem, rank in _stems(mask.name)]


def _stems(name: str) -> list[tuple[str, int]]:
    """What a mask's picture may be called, most likely first: `0.jpg.png` is of 0.jpg, or of 0."""
    stem = Path(name).stem
    keys = mask_keys(stem)
    inner = Path(stem)
    if inner.suffix.lower() in SUFFIXES and inner.stem:
        keys += [(key, max(rank, 0)) for key, rank in mask_keys(inner.stem)]
    base = without_number(stem)
    if base:
        keys += [(key, max(rank, 0)) for key, rank in mask_keys(base)[1:]]
    return keys


def _folded(key: str) -> str:
    """A name whatever the case of its letters, how its accents are composed, and whether it is percent-encoded."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", unquote(key)).casefold())


def _pictures_below(folder: Path) -> list[Path]:
    return [
        Path(here, name)
        for here, _, files in os.walk(folder)
        for name in files
        if Path(name).suffix.lower() in SUFFIXES and not is_junk(name)
    ]


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

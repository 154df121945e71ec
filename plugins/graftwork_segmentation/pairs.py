"""Which mask belongs to which picture, by their names."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from graftwork.data.folders import is_junk
from graftwork.errors import DataError
from graftwork.vision.decode import SUFFIXES
from graftwork_segmentation.brushes import match_tasks, tagged
from graftwork_segmentation.folders import Names, case_of, pair_of, what_is_there, worded_masks
from graftwork_segmentation.joined import Mask
from graftwork_segmentation.labelnames import with_one_numbering
from graftwork_segmentation.matching import Ranked, by_core, by_name, key_of_file, keys_of, of_other_format
from graftwork_segmentation.naming import without_number
from graftwork_segmentation.paired import Paired
from graftwork_segmentation.parts import WANTED, Layout, Part
from graftwork_segmentation.tags import OBJECT, is_background, join_tags, match_tags, tags_of

Matched = tuple[list[Path], dict[Path, Mask], list[Path]]
"""Pictures, the mask of each that has one, and masks without a picture."""


def pair_files(layout: Layout, home: Path) -> Paired:
    """Every split's pictures with their masks.

    Args:
        layout: the folders.
        home: the source; names in findings start from it.

    Raises:
        DataError: no picture has a mask, or nothing tells whose masks they are.
    """
    paired = Paired(home)
    matched: dict[tuple[Path, ...], Matched] = {}
    for split, part in layout.parts.items():
        folders = part.folders
        if folders not in matched:  # all lists of Pascal VOC are about the same two
            matched[folders] = _match(part, paired, layout.root)
        _take(split, part, matched[folders], paired)
    listed = {stem for part in layout.parts.values() for stem in part.stems or ()}
    if listed:
        paired.unlisted += [
            paired.name(image) for _, masks, _ in matched.values() for image in masks if image.stem not in listed
        ]
    _join(paired)
    if paired.labels is None and (named := with_one_numbering(paired.rows)) is not None:
        paired.rows, paired.labels = named
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


def _join(paired: Paired) -> None:
    """Masks of one class each become one mask a picture, where any has several; a picture's only mask shows an object too."""
    every = [*paired.tags.values(), *paired.words.values()]
    if not paired.tasks and all(len(files) == 1 for files in every):
        return
    folders = set(paired.folders)
    paired.folders.clear()
    words = [(image, file, word) for image, files in paired.words.items() for file, word in files]
    for (image, file, _), tag in zip(words, tags_of([(image, word) for image, _, word in words]), strict=True):
        paired.tags.setdefault(image, []).append((file, tag))
    files = {
        image: paired.tags.get(image)
        or [(file, file.parent.name if file.parent.name in folders else OBJECT) for file, _ in mask.files]
        for rows in paired.rows.values()
        for image, mask in rows
    }
    labels = join_tags(sorted({tag for tags in files.values() for _, tag in tags}))
    value = {name: number for number, name in enumerate(labels.names)}
    joined = {
        image: Mask(tuple((file, 0 if is_background(tag) else value[tag]) for file, tag in tags))
        for image, tags in files.items()
    }
    paired.labels = labels
    paired.joined += [f"{paired.name(image)} ({len(tags)} masks)" for image, tags in files.items() if len(tags) > 1]
    paired.rows = {split: [(image, joined[image]) for image, _ in rows] for split, rows in paired.rows.items()}


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
    if part.pairs:
        every = [_match(Part(*pair), paired, root) for pair in part.pairs]
        chosen = {image: mask for _, masks, _ in every for image, mask in masks.items()}
        return (
            [image for images, _, _ in every for image in images],
            chosen,
            [m for _, _, lonely in every for m in lonely],
        )
    if part.each:
        return _match_each(part.images, paired)
    images, masks = _files(part, paired)
    if sum(tagged(mask) for mask in masks) * 2 > len(masks):
        return _match_tags(images, masks, paired, root)
    found, lonely = by_name(part, images, masks)
    in_folders = part.images != part.masks and any(mask.parent != part.masks for mask in masks)
    if not found and len(masks) > 1 and not in_folders:
        found, lonely = by_core(images, masks)
    if not found and masks:
        return _match_classes(part, images, masks, paired)
    chosen = {image: _choose(image, group, paired) for image, group in found.items()}
    return images, chosen, lonely


def _match_classes(part: Part, images: list[Path], masks: list[Path], paired: Paired) -> Matched:
    """Masks of one class each, told apart by folders or names; or masks in folders that mean nothing."""
    tagged = match_tags(images, masks, part.images, part.masks)
    if tagged is None:
        found, lonely = by_core(images, masks) if len(masks) > 1 else ({}, masks)
        return images, {image: _choose(image, group, paired) for image, group in found.items()}, list(lonely)
    into = paired.tags if tagged.by_folder else paired.words
    into.update({image: list(files) for image, files in tagged.files.items()})
    every = [(image, file, word) for image, files in tagged.files.items() for file, word in files]
    if tagged.by_folder:
        paired.folders |= {word for _, _, word in every}
    else:
        paired.by_suffix += [f"{paired.name(image)} = {paired.name(file)}" for image, file, _ in every]
    chosen = {image: _mask_of([file for file, _ in files]) for image, files in tagged.files.items()}
    return images, chosen, list(tagged.lonely)


def _files(part: Part, paired: Paired) -> tuple[list[Path], list[Path]]:
    """Pictures and masks; from one folder, masks are what is called like another picture and a suffix, or like it but
    for the format."""
    images = _walk(part.images, paired)
    if part.masks != part.images:
        return images, _walk(part.masks, paired)
    stems = {key_of_file(part.images, file, strip) for file in images for strip in (False, True)}
    masks = {file for file in images if any(key in stems for key, _ in keys_of(part.images, file)[1:])}
    if not masks:
        by_folder: dict[Path, list[Path]] = defaultdict(list)
        for file in images:
            by_folder[file.parent].append(file)
        masks = {mask for files in by_folder.values() for mask in worded_masks(files)} or of_other_format(images)
    return [file for file in images if file not in masks], sorted(masks)


def _choose(image: Path, candidates: Sequence[Ranked], paired: Paired) -> Mask:
    """The best of a picture's masks; all, where they differ in a number alone."""
    best = min(candidates)
    base = without_number(best[2].stem) or best[2].stem
    parts = [mask for _, _, mask in sorted(candidates) if (without_number(mask.stem) or mask.stem) == base]
    if len(parts) > 1 and any(without_number(mask.stem) for mask in parts):
        paired.tags[image] = [(mask, OBJECT) for mask in parts]
    else:
        parts = [best[2]]
    if image.stem != best[2].stem:
        paired.by_suffix.append(f"{paired.name(image)} = {paired.name(best[2])}")
    paired.other_masks += [paired.name(other) for _, _, other in candidates if other not in parts]
    return _mask_of(parts)


def _mask_of(files: Sequence[Path]) -> Mask:
    """One file as it is; of several it is said later which value each has."""
    return Mask(tuple((file, None) for file in files))


def _match_each(folder: Path, paired: Paired) -> Matched:
    """A folder a picture: its masks are one an object, or one a class, and are joined."""
    images: list[Path] = []
    chosen: dict[Path, Mask] = {}
    lonely: list[Path] = []
    for one in sorted(entry for entry in folder.iterdir() if entry.is_dir() and not is_junk(entry.name)):
        pair = pair_of(one, Names())
        case = case_of(one) if pair is None else None
        if case is not None:
            images.append(case[0])
            chosen[case[0]] = _mask_of([case[1]])
            continue
        pictures = _walk(pair[0] if pair else one, paired)
        masks = _walk(pair[1], paired) if pair else []
        images += pictures
        if len(pictures) != 1:
            lonely += masks
        elif masks:
            chosen[pictures[0]] = _mask_of(masks)
    paired.words.update({image: [(file, file.stem) for file, _ in mask.files] for image, mask in chosen.items()})
    return images, chosen, lonely


def _match_tags(images: list[Path], masks: Sequence[Path], paired: Paired, root: Path) -> Matched:
    """Label Studio's brush masks, one a tag: named by task, not by picture."""
    found, lonely, ordered = match_tasks(images, masks, root)
    paired.tags.update(found)
    paired.tasks = True
    paired.by_order += [f"{paired.name(image)} = {paired.name(found[image][0][0])}" for image in ordered]
    return images, {image: _mask_of([file for file, _ in files]) for image, files in found.items()}, lonely


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

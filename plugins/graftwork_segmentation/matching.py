"""Whose mask a file is, by its name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from graftwork_segmentation.joined import look_like_masks
from graftwork_segmentation.naming import (
    core_names,
    folded,
    mask_stems,
    picture_stem,
)
from graftwork_segmentation.parts import Part

Ranked = tuple[int, bool, Path]
"""How a mask's name was found, whether it is no PNG, and the mask: the smallest is the best."""

_CANDIDATES = 20  # pairs of files that are looked at to tell pictures from masks


def of_other_format(files: Sequence[Path]) -> set[Path]:
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


def by_name(part: Part, images: Sequence[Path], masks: Sequence[Path]) -> tuple[dict[Path, list[Ranked]], list[Path]]:
    """Masks by picture: of the same name, of one without a suffix, or of one that is the same but for its letters."""
    by_key: dict[str, Path] = {image.relative_to(part.images).as_posix(): image for image in images}
    for strip in (False, True):
        for image in images:
            by_key.setdefault(key_of_file(part.images, image, strip), image)
    alike: dict[str, set[Path]] = defaultdict(set)
    for key, image in by_key.items():
        alike[folded(key)].add(image)
    found: dict[Path, list[Ranked]] = defaultdict(list)
    lonely: list[Path] = []
    for mask in masks:
        keys = keys_of(part.masks, mask)
        exact = ((by_key[key], rank) for key, rank in keys if key in by_key)
        nearly = ((alike[folded(key)], rank) for key, rank in keys if len(alike.get(folded(key), ())) == 1)
        hit = next(exact, None) or next(((next(iter(group)), rank) for group, rank in nearly), None)
        if hit is None:
            lonely.append(mask)
        else:
            found[hit[0]].append((hit[1], mask.suffix.lower() != ".png", mask))
    return found, lonely


def by_core(images: Sequence[Path], masks: Sequence[Path]) -> tuple[dict[Path, list[Ranked]], list[Path]]:
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


def key_of_file(folder: Path, file: Path, strip: bool = False) -> str:
    """What a picture is called below its folder, without what pictures add to the name where `strip`."""
    stem = picture_stem(file.stem) if strip else file.stem
    return (file.parent.relative_to(folder) / stem).as_posix()


def keys_of(folder: Path, mask: Path) -> list[tuple[str, int]]:
    """What a mask's picture may be called below its folder, most likely first, with a rank each."""
    parent = mask.parent.relative_to(folder)
    return [((parent / stem).as_posix(), rank) for stem, rank in mask_stems(mask.name)]

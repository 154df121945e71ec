"""Checks of classes by their pixels, for which rows need not be read again."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from graftwork.data.audit import FEW_ROWS, similar_names
from graftwork.interfaces import Finding
from graftwork.vision.audit import named
from graftwork_segmentation.lookup import key_of_code
from graftwork_segmentation.masks import MaskLook

IMBALANCE = 10.0
"""Pixels of the largest class by the smallest's, in training; from here on reported, from 100 times on as a warning.
Street scenes have 50 to 100 times as much road as poles, and are trained on without ado."""


class Scored(Protocol):
    """What `check_scored` looks at; `audit.Judged` says what each is."""

    @property
    def origin(self) -> str: ...
    @property
    def mask(self) -> MaskLook: ...
    @property
    def void(self) -> Mapping[int, int]: ...
    @property
    def unscored(self) -> int: ...
    @property
    def moved(self) -> int: ...


def check_pixels(pixels: Mapping[str, Sequence[NDArray[np.int64]]], names: Sequence[str]) -> list[Finding]:
    """Classes without pixels, in one split only, in few pictures; imbalance by pixels; similar names.

    Args:
        pixels: of every class, int64 [classes], a row, by split.
        names: class names by index.
    """
    tables = {split: np.array(rows).reshape(len(rows), len(names)) for split, rows in pixels.items()}
    shown = {split: (table > 0).sum(axis=0) for split, table in tables.items()}
    total = np.sum(list(shown.values()), axis=0) if shown else np.zeros(len(names), dtype=np.int64)
    present = [index for index in range(len(names)) if total[index]]
    findings = similar_names(names)
    if len(present) < 2:
        only = f"only one class, {names[present[0]]!r}" if present else "no class"
        message = f"the masks show {only}; at least two are needed"
        return [*findings, Finding("one-class-only", "error", message, (), len(present))]
    absent = [names[index] for index in range(len(names)) if not total[index]]
    findings += named("empty-class", "warning", "classes of the label map without any pixel", absent)
    findings += _missing(shown, present, names)
    if "train" in tables:
        few = [f"{names[i]} ({shown['train'][i]})" for i in present if 0 < shown["train"][i] < FEW_ROWS]
        findings += named("few-rows", "warning", f"classes in fewer than {FEW_ROWS} training images", few)
        findings += _imbalance(tables["train"].sum(axis=0), names)
    return findings


def check_scored(judged: Sequence[Scored], guessed: bool) -> list[Finding]:
    """How many pixels are not scored, and how many were taken for the nearest value.

    Args:
        judged: rows that are used.
        guessed: whether it was not the data that said which values are not scored.
    """
    total = sum(judge.mask.width * judge.mask.height for judge in judged)
    findings = []
    unscored = sum(judge.unscored for judge in judged)
    if unscored:
        pixels: Counter[str] = Counter()
        for judge in judged:
            for value, count in judge.void.items():
                pixels[key_of_code(value, judge.mask.by_colour)] += count
        rest = unscored - sum(pixels.values())
        told = [f"{key} ({count:,} pixels)" for key, count in pixels.most_common(4)]
        told += [f"values outside the label map ({rest:,} pixels)"] if rest else []
        concerned = sum(judge.unscored > 0 for judge in judged)
        message = f"{_percent(unscored / total)} of all pixels are not scored; masks with such pixels: {concerned:,}"
        findings.append(Finding("unscored-pixels", "warning" if guessed else "note", message, tuple(told), concerned))
    moved = sum(judge.moved for judge in judged)
    if moved:
        told = [f"{judge.origin} ({judge.moved:,} pixels)" for judge in judged if judge.moved]
        message = f"masks with pixels that were taken for the nearest class ({_percent(moved / total)} of all)"
        findings += named("nearest-mask-value", "note", message, told)
    return findings


def check_palettes(palettes: Iterable[Mapping[int, int]]) -> tuple[list[Finding], bool]:
    """Whether palettes give an index several colours, and whether all these are grey, so that the levels are the values.

    Args:
        palettes: of every mask, the colours of its values.
    """
    seen: dict[int, set[int]] = defaultdict(set)
    for palette in palettes:
        for value, colour in palette.items():
            seen[value].add(colour)
    several = [value for value, colours in sorted(seen.items()) if len(colours) > 1]
    if not several:
        return [], False
    grey = all(colour >> 8 == colour & 0xFFFF for colours in seen.values() for colour in colours)
    if grey:
        message = (
            "palettes differ from mask to mask, so that an index means nothing; the grey levels in them are the values"
        )
    else:
        message = (
            "palettes give an index several colours, and the label map counts indices; where a colour is the class, "
            'write colours ("#rrggbb": name) into labels.yaml'
        )
    told = [
        f"index {value}: {', '.join(key_of_code(colour, True) for colour in sorted(seen[value])[:3])}"
        for value in several[:5]
    ]
    return [Finding("palettes-differ", "warning", message, tuple(told), len(several))], grey


def masks_by_alpha(count: int) -> Finding:
    """What is said where masks are of one colour, and their alpha channel shows what they mean."""
    message = "all masks are of one colour, and their alpha channel has several levels: these are the values"
    return Finding("alpha-masks", "warning", message, (), count)


def same_shape(picture: Sequence[int], mask: Sequence[int]) -> bool:
    """Whether two sizes are of one shape, but for a pixel of the smaller."""
    small, large = sorted((tuple(picture), tuple(mask)))
    return any(
        abs(small[side] - large[side] * small[1 - side] / large[1 - side]) <= 1 and min(small) > 0 for side in (0, 1)
    )


def _percent(share: float) -> str:
    return "less than 0.1 %" if share < 0.001 else f"{100 * share:.1f} %"


def _missing(shown: Mapping[str, NDArray[np.int64]], present: Sequence[int], names: Sequence[str]) -> list[Finding]:
    homes = {index: [split for split in shown if shown[split][index]] for index in present}
    lonely = [f"{names[i]} (only {splits[0]})" for i, splits in homes.items() if len(splits) == 1 < len(shown)]
    findings = named("label-in-one-split-only", "warning", "classes that occur in one split only", lonely)
    for split in sorted(shown):
        missing = [names[i] for i, splits in homes.items() if len(splits) > 1 and split not in splits]
        findings += named("class-missing-in-split", "warning", f"classes without {split} pixels", missing)
    return findings


def _imbalance(train: NDArray[np.int64], names: Sequence[str]) -> list[Finding]:
    order = sorted((int(count), name) for count, name in zip(train, names, strict=True) if count)
    if len(order) < 2 or order[-1][0] < IMBALANCE * order[0][0]:
        return []
    (small, smallest), (large, largest) = order[0], order[-1]
    message = (
        f"the largest class, {largest!r} ({large / train.sum():.1%} of training pixels), has {large / small:,.0f} times the "
        f"pixels of the smallest, {smallest!r} ({small:,}); look at mean IoU, or use --imbalance"
    )
    level = "warning" if large >= 100 * small else "note"
    return [Finding("class-imbalance", level, message, (smallest, largest), len(order))]  # type: ignore[arg-type]

"""A look at every picture and mask before a step is spent: what cannot be used is taken out, what is odd is named.

Pictures are looked at by `graftwork.vision.audit`; a row is judged in `judging`; what a table's classes show is in `checks`.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from graftwork.data.arrow import Texts
from graftwork.data.columns import add_column
from graftwork.data.fingerprint import CONTENT
from graftwork.interfaces import Finding, Tables
from graftwork.vision.audit import Seen, check_alike, check_shapes, named, see_pictures
from graftwork.vision.decode import read_cell
from graftwork.vision.look import Looks
from graftwork_segmentation.checks import check_pixels, check_scored
from graftwork_segmentation.classes import facts_of, strata
from graftwork_segmentation.judging import LISTED, SAME_SHAPE, Judged, judge_all
from graftwork_segmentation.labelmap import REST, VOID, to_json
from graftwork_segmentation.lookup import key_of_code
from graftwork_segmentation.masks import CLASS_PIXELS
from graftwork_segmentation.naming import NEAREST_OPTION, SCALE_OPTION
from graftwork_segmentation.smoothed import FEWEST

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["audit_segmentation", "facts_of", "strata"]


_SHOWN = 5
_LEFT_OUT = {
    "missing-mask-file": "masks that are not there",
    "unreadable-mask": "masks that are empty, damaged or no pictures",
    "jpeg-mask": f"masks in a lossy format, which changes their values ({NEAREST_OPTION} reads them)",
    "mask-of-other-kind": "masks of another kind than the label map's: colours against values",
    "mask-size-differs": "masks that are not of their picture's size",
    "all-void-mask": "masks in which no pixel is scored",
}
_TRAITS = {
    "grey-as-rgb": ("grey-mask-as-rgb", "masks with three equal channels, read as values"),
    "palette-by-colour": (
        "palette-mask-by-colour",
        "palette masks whose colours count, since the label map has colours",
    ),
}


def audit_segmentation(tables: Tables) -> tuple[Tables, list[Finding]]:
    """Decode every picture and mask once; check that they fit, classes, duplicates and leakage.

    Args:
        tables: splits with `image`, `mask`, `mask_map` and `origin`, all splits already made.

    Returns:
        The tables without rows that cannot be used, and what was found. Columns are added: `width`, `height` (pixels,
        upright), `content` (hex digest over picture, mask and label map), `class_pixels`. Values outside the label map
        are added to `mask_map` as not scored. A split that keeps no row is a finding of level `error`.
    """
    seen = see_pictures(tables)
    seen, judged, palettes = judge_all(seen, len(tables.names))
    kept = {split: [row for row, judge in enumerate(rows) if judge.problem is None] for split, rows in judged.items()}
    findings = [*seen.findings, *palettes, *_left_out(judged)]
    for split, rows in kept.items():
        if judged[split] and not rows:
            problem, count = Counter(judge.problem for judge in judged[split]).most_common(1)[0]
            said = _said(str(problem), judged[split])
            message = f"none of the {len(judged[split]):,} {split} rows can be used: {count:,} {said}"
            findings.append(Finding("split-without-usable-rows", "error", message, (split,), len(judged[split])))
    usable = {split: [judged[split][row] for row in rows] for split, rows in kept.items()}
    extended = _extend(seen.tables.splits, judged)
    splits = {}
    for split, rows in seen.tables.splits.items():
        whole = _add_columns(rows, seen.looks[split], judged[split], extended) if len(rows) else rows
        splits[split] = whole if len(kept[split]) == len(whole) else whole.select(kept[split])
    looks = {split: seen.looks[split].select(rows) for split, rows in kept.items()}
    left = Seen(replace(tables, splits=splits), looks, [])
    every = [judge for rows in usable.values() for judge in rows]
    findings += _values(every)
    findings += check_scored(every, any(finding.code == "no-label-map" for finding in tables.findings))
    findings += check_pixels({split: [judge.pixels for judge in rows] for split, rows in usable.items()}, tables.names)
    findings += _one_class(every, tables.names)
    findings += _same_masks(every)
    findings += _same_pictures(left, usable)
    findings += check_shapes(left)
    findings += _turned(splits, usable)
    for trait, (code, message) in _TRAITS.items():
        findings += named(code, "note", message, [judge.origin for judge in every if judge.mask.trait == trait])
    return replace(tables, splits=splits), findings


def _said(problem: str, judged: Sequence[Judged]) -> str:
    """What is wrong with masks, and the way out where there is one."""
    if problem == "mask-size-differs" and any(judge.reason.endswith(SAME_SHAPE) for judge in judged):
        return f"{_LEFT_OUT[problem]} ({SCALE_OPTION} brings those of its shape to it)"
    return _LEFT_OUT[problem]


def _left_out(judged: Mapping[str, Sequence[Judged]]) -> list[Finding]:
    findings = []
    every = [judge for rows in judged.values() for judge in rows]
    for code in _LEFT_OUT:
        lost = [
            judge.origin + (f" ({judge.reason})" if judge.reason else "") for judge in every if judge.problem == code
        ]
        findings += named(code, "warning", f"{_said(code, every)}, left out", lost)
    return findings


def _extend(splits: Mapping[str, Dataset], judged: Mapping[str, Sequence[Judged]]) -> dict[str, str]:
    """Every label map with the values that it lacks in usable masks, as not scored."""
    unknown: dict[str, set[str]] = defaultdict(set)
    for split, rows in splits.items():
        for text, judge in zip(rows["mask_map"][:], judged[split], strict=True):
            keys = unknown[text]
            if judge.problem is None:
                keys.update(key_of_code(value, judge.mask.by_colour) for value in judge.unknown)
                if judge.unlisted[0] or len(keys) > LISTED:
                    unknown[text] = {REST}
    return {text: to_json({**json.loads(text), **dict.fromkeys(keys, VOID)}) for text, keys in unknown.items()}


def _add_columns(rows: Dataset, looks: Looks, judged: Sequence[Judged], extended: Mapping[str, str]) -> Dataset:
    import pyarrow as pa

    maps = list(rows["mask_map"][:])
    contents = [
        hashlib.sha256(f"{content} {judge.mask.content} {text}".encode()).hexdigest()[:32]
        for content, text, judge in zip(Texts(looks.content), maps, judged, strict=True)
    ]
    pixels = pa.array([judge.pixels.tolist() for judge in judged], pa.list_(pa.int64()))
    rows = add_column(rows, "mask_map", pa.array([extended[text] for text in maps], pa.string()))
    rows = add_column(rows, "width", pa.array(looks.sizes[:, 0], pa.int64()))
    rows = add_column(rows, "height", pa.array(looks.sizes[:, 1], pa.int64()))
    rows = add_column(rows, CONTENT, pa.array(contents, pa.string()))
    return add_column(rows, CLASS_PIXELS, pixels)


def _values(every: Sequence[Judged]) -> list[Finding]:
    """Values outside the label map, by value; smoothed masks, which have thousands, by mask."""
    smoothed = [
        f"{judge.origin} ({judge.unlisted[0]:,} colours, {judge.unlisted[1]:,} pixels)"
        for judge in every
        if judge.smoothed
    ]
    blurred = "colour masks smoothed by resizing or JPEG; colours near or between known ones are not scored"
    pixels: dict[str, int] = defaultdict(int)
    homes: dict[str, list[str]] = defaultdict(list)
    concerned = [judge for judge in every if judge.unknown]
    for judge in concerned:
        for value, count in judge.unknown.items():
            key = key_of_code(value, judge.mask.by_colour)
            pixels[key] += count
            homes[key].append(judge.origin)
    told = [
        f"{key} ({pixels[key]:,} pixels, masks: {len(homes[key]):,}, first {homes[key][0]})"
        for key in sorted(pixels, key=lambda key: (-pixels[key], key))
    ]
    more = " or more" if any(judge.unlisted[0] for judge in concerned) else ""
    remedy = f" ({NEAREST_OPTION} takes the nearest that is in it)" if len(told) >= FEWEST else ""
    message = f"masks with values outside the label map ({len(told):,}{more}), which are not scored{remedy}: {len(concerned):,}"
    found = Finding("unknown-mask-value", "warning", message, tuple(told[:_SHOWN]), len(concerned))
    return [*named("smoothed-mask", "warning", blurred, smoothed), *([found] if told else [])]


def _one_class(every: Sequence[Judged], names: Sequence[str]) -> list[Finding]:
    alone = [
        f"{judge.origin} ({names[int(judge.pixels.argmax())]})"
        for judge in every
        if np.count_nonzero(judge.pixels) == 1
    ]
    return named("one-class-mask", "note", "masks that show a single class", alone)


def _same_masks(every: Sequence[Judged]) -> list[Finding]:
    """One mask of several classes for most pictures: what it says is about the camera, not about what it shows."""
    drawn = [judge for judge in every if np.count_nonzero(judge.pixels) > 1]
    homes: dict[str, list[str]] = defaultdict(list)
    for judge in drawn:
        homes[judge.mask.content].append(judge.origin)
    most = max(homes.values(), key=len, default=[])
    if len(most) < _SHOWN or 2 * len(most) <= len(drawn):
        return []
    return named("same-mask", "warning", "pictures with the very same mask; perhaps it is a field of view", most)


def _same_pictures(seen: Seen, usable: Mapping[str, Sequence[Judged]]) -> list[Finding]:
    """Duplicates and near duplicates; two masks of one picture are told by the start of their digest."""
    numbers: dict[str, int] = {}
    labels = {
        split: [numbers.setdefault(judge.mask.content, len(numbers)) for judge in rows]
        for split, rows in usable.items()
    }
    return check_alike(seen, labels, [f"mask {content[:8]}" for content in numbers])


def _turned(splits: Mapping[str, Dataset], usable: Mapping[str, Sequence[Judged]]) -> list[Finding]:
    """Pictures that EXIF turns without a change of size, so that nothing tells whether their masks were turned too."""
    unsure = []
    for split, judged in usable.items():
        for row, judge in enumerate(judged):
            if not judge.rotated:
                continue
            with Image.open(io.BytesIO(read_cell(splits[split][row]["image"]))) as image:
                stored = image.size
            if stored == (judge.mask.width, judge.mask.height):
                unsure.append(judge.origin)
    message = (
        "images that EXIF turns or mirrors within the same size: look whether their masks were drawn before or after"
    )
    return named("exif-turn-unsure", "warning", message, unsure)

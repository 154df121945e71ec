"""A look at every image before a step is spent: what cannot be used is taken out, what is odd is named.

One image is looked at in `look`; class counts and duplicates are counted in `graftwork.data.audit`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from graftwork.data.audit import check_classes, check_duplicates, check_groups, check_near_duplicates
from graftwork.data.columns import add_column
from graftwork.data.fingerprint import CONTENT
from graftwork.interfaces import Finding, Tables
from graftwork_images.look import DETAIL, Look, likenesses, look_at

if TYPE_CHECKING:
    from datasets import Dataset

TINY = 16
"""Pixels; a shorter side is reported, unless half of all images are that small."""

HUGE = 8000
"""Pixels; a longer side is reported."""

NARROW = 6.0
"""Longer by shorter side; from here on a square crop sees little of an image."""

NEAR_BITS = 10
NEAR_CORRELATION = 0.97
"""Bits of 64, and correlation of 16×16 grey pixels. On CIFAR-10's test against train this names 73 of 10,000 rows, all or
nearly all rightly by eye; at 0.96 seascapes of different ships begin to pair."""

_SHOWN = 5
_BATCH = 256

_PROBLEMS = {
    "missing-file": "files of the table that are not there",
    "empty-file": "empty files (zero bytes)",
    "not-an-image": "files that are no images",
    "unreadable-image": "truncated or damaged images",
    "too-many-pixels": "images so large that they may be decompression bombs",
}
_TRAITS = {
    "grey": ("grey-image", "grey images (their channel is used three times)"),
    "alpha": ("alpha-image", "images with transparency (laid on white)"),
    "palette": ("palette-image", "images with a palette (converted to RGB)"),
    "cmyk": ("cmyk-image", "CMYK images (converted to RGB)"),
    "deep": ("deep-image", "images with more than 8 bits a channel (scaled to 8)"),
    "rotated": ("exif-rotated-image", "images turned upright as their EXIF orientation says"),
    "animated": ("animated-image", "images with several frames (the first is used)"),
}


def audit_images(tables: Tables) -> tuple[Tables, list[Finding]]:
    """Decode every image once and check classes, duplicates and leakage.

    Args:
        tables: splits with `image`, `label` and `origin`, all splits already made.

    Returns:
        The tables without rows that cannot be decoded, with a column `content` (a hash of each file, which
        `graftwork.data.fingerprint` takes), and what was found. A split that keeps no row is a finding of level `error`.
    """
    looks = {split: look_at_all(rows) for split, rows in tables.splits.items()}
    origins = {split: list(rows["origin"][:]) for split, rows in tables.splits.items()}
    findings = _unusable(looks, origins)
    kept = {split: [row for row, look in enumerate(seen) if look.problem is None] for split, seen in looks.items()}
    for split, rows in kept.items():
        if not rows:
            message = f"none of the {len(looks[split]):,} {split} images can be read"
            findings.append(Finding("split-without-usable-rows", "error", message, (split,), len(looks[split])))
    splits = {split: _keep(rows, kept[split], looks[split]) for split, rows in tables.splits.items()}
    looks = {split: [seen[row] for row in kept[split]] for split, seen in looks.items()}
    origins = {split: [names[row] for row in kept[split]] for split, names in origins.items()}
    labels = {split: list(rows["label"][:]) for split, rows in splits.items()}
    contents = {split: [look.content for look in seen] for split, seen in looks.items()}
    alike = {split: likenesses(seen) for split, seen in looks.items()}
    hashes, views = ({split: pair[part] for split, pair in alike.items()} for part in (0, 1))
    findings += check_classes(labels, tables.names)
    findings += check_duplicates(contents, labels, origins, tables.names)
    findings += check_groups(
        {split: rows["group"][:] for split, rows in splits.items() if "group" in rows.column_names}
    )
    findings += check_near_duplicates(hashes, views, contents, origins, NEAR_BITS, NEAR_CORRELATION)
    findings += _sizes(looks, origins)
    findings += _traits(looks, origins)
    return replace(tables, splits=splits), findings


def look_at_all(rows: Dataset) -> list[Look]:
    """`look_at` every row, in threads: Pillow decodes outside the interpreter's lock."""
    looks: list[Look] = []
    images = rows.select_columns("image")
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore")  # odd metadata and large pictures: what matters is in the findings
        for batch in images.iter(batch_size=_BATCH):
            looks += pool.map(look_at, batch["image"])
    return looks


def _keep(rows: Dataset, kept: Sequence[int], looks: Sequence[Look]) -> Dataset:
    rows = add_column(rows, CONTENT, [look.content for look in looks])
    return rows if len(kept) == len(rows) else rows.select(kept)


def _unusable(looks: dict[str, list[Look]], origins: dict[str, list[str]]) -> list[Finding]:
    findings = []
    for code, message in _PROBLEMS.items():
        named = []
        for split, seen in looks.items():
            for row, look in enumerate(seen):
                if look.problem == code:
                    named.append(origins[split][row] + (f" ({look.reason})" if look.reason else ""))
        findings += _found(code, "warning", f"{message}, left out", named)
    return findings


def _traits(looks: dict[str, list[Look]], origins: dict[str, list[str]]) -> list[Finding]:
    findings = []
    for trait, (code, message) in _TRAITS.items():
        named = [origins[split][row] for split, row, look in _every(looks) if trait in look.traits]
        findings += _found(code, "note", message, named)
    return findings


def _sizes(looks: dict[str, list[Look]], origins: dict[str, list[str]]) -> list[Finding]:
    tiny: list[str] = []
    huge: list[str] = []
    narrow: list[str] = []
    shorter = [min(look.width, look.height) for _, _, look in _every(looks)]
    all_small = bool(shorter) and float(np.median(shorter)) < TINY
    for split, row, look in _every(looks):
        told = f"{origins[split][row]} ({look.width}×{look.height})"
        if min(look.width, look.height) < TINY and not all_small:
            tiny.append(told)
        if max(look.width, look.height) > HUGE:
            huge.append(told)
        if max(look.width, look.height) >= NARROW * min(look.width, look.height):
            narrow.append(told)
    small = [origins[split][row] for split, row, look in _every(looks) if min(look.width, look.height) < DETAIL]
    unlike = f"images under {DETAIL} pixels, too small to look for near duplicates"
    return [
        *_found("near-duplicates-not-checked", "note", unlike, small if len(looks) > 1 else []),
        *_found("tiny-image", "warning", f"images with a side under {TINY} pixels", tiny),
        *_found("huge-image", "warning", f"images with a side over {HUGE} pixels, slow to decode", huge),
        *_found(
            "narrow-image",
            "warning",
            f"images {NARROW:g} times as long as wide, or more, of which a crop sees little",
            narrow,
        ),
    ]


def _every(looks: dict[str, list[Look]]) -> list[tuple[str, int, Look]]:
    return [(split, row, look) for split, seen in looks.items() for row, look in enumerate(seen)]


def _found(code: str, level: Literal["error", "warning", "note"], message: str, named: Sequence[Any]) -> list[Finding]:
    if not named:
        return []
    return [Finding(code, level, f"{message}: {len(named):,}", tuple(named[:_SHOWN]), len(named))]

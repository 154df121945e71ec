"""A look at every picture before a step is spent: what cannot be used is taken out, what is odd is named.

For every task on pictures. One picture is looked at in `look`; what its annotations say is the task's own business.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from graftwork.data.audit import check_duplicates, check_groups, check_near_duplicates
from graftwork.data.columns import add_column
from graftwork.data.fingerprint import CONTENT
from graftwork.errors import DataError
from graftwork.interfaces import Finding, Tables
from graftwork.vision.look import DETAIL, Look, likenesses, look_at

if TYPE_CHECKING:
    from datasets import Dataset

TINY = 16
"""Pixels; a shorter side is reported, unless half of all images are that small."""

HUGE = 8000
"""Pixels; a longer side is reported."""

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


@dataclass(frozen=True)
class Seen:
    """Pictures that can be read, and what looking at them showed.

    Args:
        tables: the rows that can be used, with a column `content` (a hash of each file, which
            `graftwork.data.fingerprint` takes).
        looks: a Look a row, by split.
        findings: what was left out. A split that keeps no row is a finding of level `error`.
    """

    tables: Tables
    looks: dict[str, list[Look]]
    findings: list[Finding]

    def every(self) -> Iterator[tuple[str, Look]]:
        """Every row's origin and look."""
        for split, looks in self.looks.items():
            yield from zip(self.tables.splits[split]["origin"][:], looks, strict=True)


def see_pictures(tables: Tables) -> Seen:
    """Decode every picture once, and leave out those that cannot be.

    Args:
        tables: splits with `image` and `origin`, all splits already made.
    """
    looks = {split: look_at_all(rows) for split, rows in tables.splits.items()}
    findings = _unusable(looks, {split: list(rows["origin"][:]) for split, rows in tables.splits.items()})
    kept = {split: [row for row, look in enumerate(seen) if look.problem is None] for split, seen in looks.items()}
    for split, rows in kept.items():
        if not rows:
            message = f"none of the {len(looks[split]):,} {split} images can be read"
            findings.append(Finding("split-without-usable-rows", "error", message, (split,), len(looks[split])))
    splits = {split: _keep(rows, kept[split], looks[split]) for split, rows in tables.splits.items()}
    usable = {split: [seen[row] for row in kept[split]] for split, seen in looks.items()}
    return Seen(replace(tables, splits=splits), usable, findings)


def check_alike(seen: Seen, labels: Mapping[str, Sequence[int]], names: Sequence[str]) -> list[Finding]:
    """Pictures that are the same or nearly so, within a split and across splits.

    Args:
        labels: for every row, by split, a number that is equal where annotations are equal.
        names: what these numbers are called.
    """
    splits = seen.tables.splits
    origins = {split: list(rows["origin"][:]) for split, rows in splits.items()}
    contents = {split: [look.content for look in looks] for split, looks in seen.looks.items()}
    alike = {split: likenesses(looks) for split, looks in seen.looks.items()}
    hashes, views = ({split: pair[part] for split, pair in alike.items()} for part in (0, 1))
    groups = {split: rows["group"][:] for split, rows in splits.items() if "group" in rows.column_names}
    return [
        *check_duplicates(contents, labels, origins, names),
        *check_groups(groups),
        *check_near_duplicates(hashes, views, contents, origins, NEAR_BITS, NEAR_CORRELATION),
    ]


def check_shapes(seen: Seen) -> list[Finding]:
    """Pictures that are very small or large, and traits of their files."""
    tiny: list[str] = []
    huge: list[str] = []
    shorter = [min(look.width, look.height) for _, look in seen.every()]
    all_small = bool(shorter) and float(np.median(shorter)) < TINY
    for origin, look in seen.every():
        told = f"{origin} ({look.width}×{look.height})"
        if min(look.width, look.height) < TINY and not all_small:
            tiny.append(told)
        if max(look.width, look.height) > HUGE:
            huge.append(told)
    small = [origin for origin, look in seen.every() if min(look.width, look.height) < DETAIL]
    unlike = f"images under {DETAIL} pixels, too small to look for near duplicates"
    findings = [
        *named("near-duplicates-not-checked", "note", unlike, small if len(seen.looks) > 1 else []),
        *named("tiny-image", "warning", f"images with a side under {TINY} pixels", tiny),
        *named("huge-image", "warning", f"images with a side over {HUGE} pixels, slow to decode", huge),
    ]
    for trait, (code, message) in _TRAITS.items():
        findings += named(code, "note", message, [origin for origin, look in seen.every() if trait in look.traits])
    return findings


def to_measure_on(tables: Tables, audited: Tables, found: Sequence[Finding]) -> Tables:
    """Audited data for a model that is trained already: that a class is rare or absent there says nothing against it.

    Args:
        tables: as they were before the audit, for what reading found.

    Raises:
        DataError: a split has no picture that can be read.
    """
    lost = [finding.message for finding in found if finding.code == "split-without-usable-rows"]
    if lost:
        raise DataError("; ".join(lost))
    told = tuple(finding for finding in found if finding.level != "error")
    return Tables(audited.splits, (*tables.findings, *told), audited.names)


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
        lost = []
        for split, seen in looks.items():
            for row, look in enumerate(seen):
                if look.problem == code:
                    lost.append(origins[split][row] + (f" ({look.reason})" if look.reason else ""))
        findings += named(code, "warning", f"{message}, left out", lost)
    return findings


def named(code: str, level: Literal["error", "warning", "note"], message: str, things: Sequence[Any]) -> list[Finding]:
    """A finding about these things, with their number and the first of them; none where there is none."""
    if not things:
        return []
    return [Finding(code, level, f"{message}: {len(things):,}", tuple(things[:_SHOWN]), len(things))]

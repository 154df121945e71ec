"""A look at every picture before a step is spent: what cannot be used is taken out, what is odd is named.

For every task on pictures. One picture is looked at in `look`; what its annotations say is the task's own business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from graftwork.data.arrow import Texts
from graftwork.data.audit import check_duplicates, check_groups, first_rows
from graftwork.data.columns import add_column
from graftwork.data.fingerprint import CONTENT
from graftwork.data.splits import row_keys
from graftwork.errors import DataError
from graftwork.interfaces import Facts, Finding, Tables
from graftwork.vision.earlier import EarlierLooks
from graftwork.vision.levels import FEW, HIGH, KIND, LOW, Ranges, in_words, levels_left, range_fact, ranges_of
from graftwork.vision.likeness import near_across
from graftwork.vision.look import DETAIL, Looks

if TYPE_CHECKING:
    from datasets import Dataset

TINY = 16
"""Pixels; a shorter side is reported, unless half of all images are that small."""

HUGE = 8000
"""Pixels; a longer side is reported."""

Level = Literal["error", "warning", "note"]

_SHOWN = 5

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
    "rotated": ("exif-rotated-image", "images turned upright as their EXIF orientation says"),
}


_OF_OWN_RANGE = ("few-levels", "mixed-depths")


@dataclass(frozen=True)
class Seen:
    """Pictures that can be read, and what looking at them showed.

    Args:
        tables: the rows that can be used, with a column `content` (a hash of each file, which
            `graftwork.data.fingerprint` takes), and where some picture has more than 8 bits a channel the columns of
            `graftwork.vision.levels`.
        looks: what looking at its rows showed, by split.
        findings: what was left out. A split that keeps no row is a finding of level `error`.
    """

    tables: Tables
    looks: dict[str, Looks]
    findings: list[Finding]

    def found(
        self,
        code: str,
        level: Level,
        message: str,
        test: Callable[[Looks], NDArray[np.bool_]],
        sizes: bool = False,
    ) -> list[Finding]:
        """A finding about the pictures that pass a test, with their number and the first of them; none where none does.

        Args:
            sizes: whether a picture's size is told with its name.
        """
        which = {split: test(looks) for split, looks in self.looks.items()}
        count = sum(int(rows.sum()) for rows in which.values())
        if not count:
            return []
        told = []
        for split, row in first_rows(which):
            width, height = self.looks[split].sizes[row].tolist()
            told.append(self.tables.splits[split][row]["origin"] + (f" ({width}×{height})" if sizes else ""))
        return [Finding(code, level, f"{message}: {count:,}", tuple(told), count)]


def see_pictures(tables: Tables) -> Seen:
    """Decode every picture once, and leave out those that cannot be.

    Args:
        tables: splits with `image` and `origin`, all splits already made.
    """
    earlier = EarlierLooks()
    looks = {split: earlier.look_at_all(rows) for split, rows in tables.splits.items()}
    earlier.keep(looks.values())
    findings = _unusable(looks, {split: row_keys(rows) for split, rows in tables.splits.items()})
    kept = {split: np.delete(np.arange(len(seen)), list(seen.problems)) for split, seen in looks.items()}
    for split, rows in kept.items():
        if not len(rows):
            message = f"none of the {len(looks[split]):,} {split} images can be read"
            findings.append(Finding("split-without-usable-rows", "error", message, (split,), len(looks[split])))
    deep = any(seen.has("deep").any() for seen in looks.values())
    splits = {split: _keep(rows, kept[split], looks[split], deep) for split, rows in tables.splits.items()}
    usable = {split: seen.select(kept[split]) for split, seen in looks.items()}
    return Seen(replace(tables, splits=splits), usable, findings)


def check_alike(seen: Seen, labels: Mapping[str, Sequence[int]], names: Sequence[str]) -> list[Finding]:
    """Pictures that are the same or nearly so, within a split and across splits.

    Args:
        labels: for every row, by split, a number that is equal where annotations are equal.
        names: what these numbers are called.
    """
    splits = seen.tables.splits
    origins = {split: row_keys(rows) for split, rows in splits.items()}
    contents = {split: Texts(looks.content) for split, looks in seen.looks.items()}
    groups = {split: rows["group"][:] for split, rows in splits.items() if "group" in rows.column_names}
    return [
        *check_duplicates(contents, labels, origins, names),
        *check_groups(groups),
        *near_across(seen.looks, contents, origins),
    ]


def check_shapes(seen: Seen) -> list[Finding]:
    """Pictures that are very small or large, and traits of their files."""
    findings = check_levels(seen)
    message = "images with several frames or pages, of which only the first is used"
    findings += seen.found("animated-image", "warning", message, partial(Looks.has, trait="animated"))
    if len(seen.looks) > 1:
        unlike = f"images under {DETAIL} pixels, too small to look for near duplicates"
        findings += seen.found("near-duplicates-not-checked", "note", unlike, lambda looks: looks.shorter < DETAIL)
    sides = [looks.shorter for looks in seen.looks.values() if len(looks)]
    if sides and float(np.median(np.concatenate(sides))) >= TINY:
        message = f"images with a side under {TINY} pixels"
        findings += seen.found("tiny-image", "warning", message, lambda looks: looks.shorter < TINY, sizes=True)
    message = f"images with a side over {HUGE} pixels, slow to decode"
    findings += seen.found("huge-image", "warning", message, lambda looks: looks.longer > HUGE, sizes=True)
    for trait, (code, message) in _TRAITS.items():
        findings += seen.found(code, "note", message, partial(Looks.has, trait=trait))
    return findings


def check_levels(seen: Seen) -> list[Finding]:
    """Pictures of more than 8 bits a channel: the range that becomes 8 bits, and what is lost by it."""
    deep = partial(Looks.has, trait="deep")
    ranges = ranges_of(range_fact(seen.tables.splits.get("train")))
    how = f"{in_words(ranges)} become 0 to 255, here and in the model" if ranges else "scaled to 8"
    findings = seen.found("deep-image", "note", f"images with more than 8 bits a channel ({how})", deep)
    if findings and any(not looks.has("deep").all() for looks in seen.looks.values()):
        message = "images of 8 bits a channel beside deeper ones: their levels stay, those of the others are scaled"
        findings += seen.found("mixed-depths", "warning", message, lambda looks: ~looks.has("deep"))
    message = "images with pixels that have no value (NaN, -9999, GDAL's nodata), which become 0"
    findings += seen.found("no-value-pixels", "warning", message, partial(Looks.has, trait="gaps"))
    message = f"images of which the range of all ({in_words(ranges)}) leaves fewer than {FEW} of 256 levels"
    return [*findings, *seen.found("few-levels", "warning", message, partial(_few_left, ranges=ranges))]


def _few_left(looks: Looks, ranges: Ranges) -> NDArray[np.bool_]:
    deep, floats = looks.has("deep"), looks.has("float")
    few = np.zeros(len(looks), np.bool_)
    for row in np.flatnonzero(deep).tolist():
        ends = ranges.get("float" if floats[row] else "integer")
        few[row] = ends is not None and levels_left(looks.levels[row, 0], looks.levels[row, 1], ends) < FEW
    return few


def check_depths(tables: Tables, facts: Facts) -> list[Finding]:
    """Audited pictures whose levels are others than those that a model was trained on."""
    ranges = ranges_of(facts)
    unlike: list[str] = []
    few: list[str] = []
    for rows in tables.splits.values():
        deep = KIND in rows.column_names
        if not deep and not ranges:
            continue
        columns = [rows[name][:] if deep else [None] * len(rows) for name in (KIND, LOW, HIGH)]
        for row, (kind, low, high) in enumerate(zip(*columns, strict=True)):
            if (kind in ranges) if ranges else kind is None:
                if kind is not None and levels_left(low, high, ranges[kind]) < FEW:
                    few.append(rows[row]["origin"])
            else:
                unlike.append(rows[row]["origin"])
    known = f"deeper images, {in_words(ranges)}" if ranges else "images of 8 bits a channel"
    return [
        *named("other-depth", "warning", f"images of another depth than the model was trained on ({known})", unlike),
        *named("few-levels", "warning", f"images of which the model's {known} leave fewer than {FEW} levels", few),
    ]


def to_measure_on(tables: Tables, audited: Tables, found: Sequence[Finding], facts: Facts) -> Tables:
    """Audited data for a model that is trained already: that a class is rare or absent there says nothing against it.

    Args:
        tables: as they were before the audit, for what reading found.
        facts: of the model.

    Raises:
        DataError: a split has no picture that can be read.
    """
    lost = [finding.message for finding in found if finding.code == "split-without-usable-rows"]
    if lost:
        raise DataError("; ".join(lost))
    # What the range of these pictures would leave of them is not what the model's does.
    told = tuple(finding for finding in found if finding.level != "error" and finding.code not in _OF_OWN_RANGE)
    return Tables(audited.splits, (*tables.findings, *told, *check_depths(audited, facts)), audited.names)


def _keep(rows: Dataset, kept: NDArray[np.int64], looks: Looks, deep: bool) -> Dataset:
    import pyarrow as pa

    rows = add_column(rows, CONTENT, looks.content)
    if deep:
        plain, floats = ~looks.has("deep"), looks.has("float")
        rows = add_column(rows, KIND, pa.array(np.where(floats, "float", "integer"), pa.string(), mask=plain))
        for name, end in ((LOW, 0), (HIGH, 1)):
            rows = add_column(rows, name, pa.array(looks.levels[:, end], mask=plain))
    return rows if len(kept) == len(rows) else rows.select(kept)


def _unusable(looks: Mapping[str, Looks], origins: Mapping[str, Sequence[str]]) -> list[Finding]:
    findings = []
    for code, message in _PROBLEMS.items():
        lost = []
        for split, seen in looks.items():
            for row, (problem, reason) in seen.problems.items():
                if problem == code:
                    lost.append(origins[split][row] + (f" ({reason})" if reason else ""))
        findings += named(code, "warning", f"{message}, left out", lost)
    return findings


def named(code: str, level: Level, message: str, things: Sequence[Any]) -> list[Finding]:
    """A finding about these things, with their number and the first of them; none where there is none."""
    if not things:
        return []
    return [Finding(code, level, f"{message}: {len(things):,}", tuple(things[:_SHOWN]), len(things))]
